"""Which files of a dataset hold its examples: its splits once it is curated, all in one before."""

from __future__ import annotations

from pathlib import Path

from pipelines.dataset.files import EXAMPLES, split_file
from pipelines.errors import DataError
from pipelines.operation import Context
from pipelines.records import SPLITS, Split


def find_dataset(name: str, context: Context) -> Path:
    """Return the folder of a dataset.

    Raises:
        DataError: There is none of that name; the message says which there are.
    """
    folder = context.workspace.dataset(name)
    if not folder.is_dir():
        known = ", ".join(context.workspace.names("datasets")) or "none"
        raise DataError(
            f"there is no dataset {name!r}; known: {known}",
            path=folder,
            hint=f"Make it with: assistant data generate {name}",
        )
    return folder


def is_curated(folder: Path) -> bool:
    """Whether a dataset has been divided into splits."""
    return any((folder / split_file(split)).is_file() for split in SPLITS)


def split_files(folder: Path) -> dict[Split, Path]:
    """Return the file of each split; what is not curated is all for training.

    Raises:
        DataError: The dataset has no examples yet.
    """
    if is_curated(folder):
        files = {split: folder / split_file(split) for split in SPLITS}
        return {split: path for split, path in files.items() if path.is_file()}
    if (folder / EXAMPLES).is_file():
        return {"train": folder / EXAMPLES}
    raise DataError(
        f"the dataset {folder.name!r} has no examples yet",
        path=folder,
        hint=f"Write them with: assistant data generate {folder.name}",
    )
