"""A workspace: the folder that holds the settings and everything that was made.

assistant.toml          settings, and the version of this layout
documents/              a place for documents; others may lie anywhere
datasets/NAME/          examples, splits, rejections, manifest
adapters/NAME/          adapter, metrics, checkpoint, report
searches/NAME/          trials of parameters for a dataset, and their report
knowledge/NAME/         ledger of documents, Chroma, keyword index
bots/NAME/              which model serves, its evaluation, its conversations
calls.sqlite            every answer a model ever gave
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from pipelines.errors import DataError, SettingsError
from pipelines.settings import SETTINGS_FILE

WORKSPACE_VERSION = 1
STAGING = ".partial"
_TEMPLATE = f"""\
# Settings of this workspace; `ASSISTANT_*` variables win over them.
workspace_version = {WORKSPACE_VERSION}

# A remote teacher (any OpenAI-compatible endpoint). Without one, the embedded model teaches.
# Keys do not belong in this file: export ASSISTANT_TEACHER_KEY next to ASSISTANT_TEACHER_URL.
# teacher_url = "https://example.org/v1"
# teacher_model = "name"
"""
_NAME = re.compile(r"\w[\w.\-]{0,63}")


class Workspace:
    """The folders of one workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def calls(self) -> Path:
        """File that keeps the answers of models."""
        return self.root / "calls.sqlite"

    @property
    def documents(self) -> Path:
        """Folder offered for documents."""
        return self.root / "documents"

    def dataset(self, name: str) -> Path:
        """Folder of the dataset `name`."""
        return self._folder("datasets", name)

    def adapter(self, name: str) -> Path:
        """Folder of the adapter `name`."""
        return self._folder("adapters", name)

    def search(self, dataset: str) -> Path:
        """Folder of the search for parameters to learn `dataset` with."""
        return self._folder("searches", dataset)

    def knowledge(self, name: str) -> Path:
        """Folder of the collection `name`."""
        return self._folder("knowledge", name)

    def chunks(self, collection: str) -> Path:
        """File that lists the chunks of a collection, for whoever makes datasets of them."""
        return self.knowledge(collection) / "chunks.jsonl"

    def bot(self, name: str) -> Path:
        """Folder of the chatbot `name`."""
        return self._folder("bots", name)

    def names(self, kind: str) -> list[str]:
        """Names of what was made of one kind: datasets, adapters, knowledge or bots."""
        folder = self.root / kind
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def is_made(self) -> bool:
        """Whether the folder has been made a workspace."""
        return (self.root / SETTINGS_FILE).is_file()

    def make(self) -> bool:
        """Create what a workspace needs; return whether anything was missing."""
        if self.is_made():
            return False
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / SETTINGS_FILE).write_text(_TEMPLATE, encoding="utf-8")
        return True

    def check_version(self) -> None:
        """Refuse a workspace that another version of the layout made.

        Raises:
            SettingsError: Its version is not ours.
        """
        path = self.root / SETTINGS_FILE
        if not path.is_file():
            return
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8")).get("workspace_version")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}") from error
        if found != WORKSPACE_VERSION:
            raise SettingsError(
                f"the workspace {self.root} was made by another version: "
                f"workspace_version is {found!r}, expected {WORKSPACE_VERSION}",
                hint="Use the version of assistant that made it, or start a new one with: assistant init FOLDER",
            )

    def _folder(self, kind: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{name!r} is not a usable name",
                hint="Use up to 64 letters, digits, dots, hyphens and underscores, with a letter or digit first.",
            )
        return self.root / kind / name


def find_workspace(start: Path) -> Workspace:
    """Return the workspace that `start` lies in, or `start` itself as one not yet made."""
    for folder in (start, *start.parents):
        if (folder / SETTINGS_FILE).is_file():
            return Workspace(folder)
    return Workspace(start)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process, so that two runs cannot write into it at once.

    Raises:
        DataError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"another command is working in {folder}", path=folder, hint="Wait until it has ended, then try again."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Write a file that appears only when it is complete and on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a place within `folder` to write into; what is left in it afterwards, however it ended, is gone.

    Raises:
        DataError: Another process has such a place in `folder`.
    """
    is_new = not folder.exists()
    place = folder / STAGING
    try:
        with locked(place):
            shutil.rmtree(place / "files", ignore_errors=True)  # of a process that was killed
            (place / "files").mkdir()
            try:
                yield place / "files"
            finally:
                shutil.rmtree(place, ignore_errors=True)
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def write_json(path: Path, value: object) -> None:
    """Write `value` as readable JSON, replacing the file at once."""
    with replacing(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
