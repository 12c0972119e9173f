"""Where exports stand: a folder a format, whole or absent, never overwritten by another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from pipelines import workspace
from pipelines.errors import DataError, TrainingError
from pipelines.manifest import Manifest, file_hash
from pipelines.training.place import why_unwritten

MANIFEST = "manifest.json"
CARD = "README.md"  # a person may work on it


class ExportedFormat(BaseModel):
    """One format of an export, and how it compares with the original."""

    format: str
    path: str
    size_mb: float
    loss: float | None
    original_loss: float | None
    difference_percent: float | None
    tokens_equal: bool | None


class _Stored(BaseModel):
    """What a folder records of itself: the result, and the files that it must hold."""

    result: ExportedFormat
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of one format, and what it is made from."""

    folder: Path
    inputs: Mapping[str, object]

    def finished(self) -> ExportedFormat | None:
        """Return the result of an earlier export with the same inputs; None if there is none.

        Raises:
            DataError: The folder holds something else.
        """
        stored = Manifest(path=self.folder / MANIFEST, inputs=self.inputs).finished(_Stored)
        if stored is None and self.folder.exists() and not (self.folder.is_dir() and _is_empty(self.folder)):
            raise DataError(
                f"{self.folder} holds something else, and is not overwritten",
                path=self.folder,
                hint="Name another folder with --output, or remove that one.",
            )
        if stored is None or any(file_hash(self.folder / name) != known for name, known in stored.files.items()):
            return None
        return stored.result.model_copy(update={"path": str(self.folder)})

    def publish(self, staging: Path, result: ExportedFormat) -> ExportedFormat:
        """Move what was written in `staging` to its place, in one step."""
        files = {
            path.relative_to(staging).as_posix(): file_hash(path)
            for path in sorted(staging.rglob("*"))
            if path.is_file() and path.name != CARD
        }
        # The folder's place on this machine does not belong into what is given away.
        stored = _Stored(result=result.model_copy(update={"path": ""}), files=files)
        Manifest(path=staging / MANIFEST, inputs=self.inputs).finish(stored)
        _settle(staging)
        if self.folder.exists():  # damaged: its inputs are the same, its files are not
            shutil.rmtree(self.folder)
        staging.rename(self.folder)
        return result.model_copy(update={"path": str(self.folder)})


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yield a folder to write into; what is left in it afterwards, however it ended, is gone.

    Raises:
        DataError: Another process exports into the same folder, or it is a file.
        TrainingError: What is written does not fit on the disk.
    """
    if output.exists() and not output.is_dir():
        raise DataError(f"{output} is a file", path=output, hint="Name a folder that does not exist yet.")
    try:
        with workspace.staged(output) as staging:
            yield staging
    except OSError as error:
        raise unwritable(output, error) from error


def unwritable(folder: Path, error: Exception) -> TrainingError:
    """Return the error for an export that cannot be written."""
    return TrainingError(
        f"the export cannot be written to {folder}: {why_unwritten(error)}",
        hint="Free some disk space, or name another folder with --output; what was finished is kept.",
    )


def check_space(output: Path, *, needed: int) -> None:
    """Refuse to start where an export of `needed` bytes will not fit.

    Raises:
        TrainingError: There is too little space.
    """
    existing = next(folder for folder in (output, *output.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise TrainingError(
            f"the export needs about {needed >> 20} MiB, but {existing} has {free >> 20} MiB free",
            hint="Free some disk space, choose fewer --formats, or name another folder with --output.",
        )


def size_mb(folder: Path) -> float:
    """Return the size of a folder's files, in MB."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1_000_000, 3)


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def _settle(folder: Path) -> None:
    """Have every file on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
