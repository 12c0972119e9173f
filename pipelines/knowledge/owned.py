"""A vector index in a folder of its own: one process has it open, and damage is found before it is.

Chroma writes its HNSW files in place, without a sync to the disk, and reading torn ones ends the
process (chroma issues 7238, 6979). So the sizes and hashes of all files are written down at the last
clean close, in a seal beside the folder; the seal is taken away while the folder is open. A folder
whose files differ from its seal is made again. One without a seal was not closed, because its process
was killed, and is first tried in a child process. Nothing is lost: the vectors are in the ledger's file.

The seal tells damage, not malice: whoever can write the folder can write the seal. The metadata
file is a pickle, but chroma 1.5 reads it with a decoder in Rust that knows no code to run.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from pipelines.knowledge.stored import IndexVersion, StoredVectors, Vectors
from pipelines.lazy import lazy_import
from pipelines.operation import Context
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.knowledge import chroma
else:
    chroma = lazy_import("pipelines.knowledge.chroma", extra="docs")

State = Literal["current", "outdated", "damaged", "absent"]
# How the child says what it found; a crash or an error is any other code.
CURRENT, OUTDATED = 0, 3
_SEAL, _LOCK, _PID = _BESIDE = (".json", ".lock", ".pid")  # what lies beside an index
_PROBE_S = 600
_WAIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class _Open:
    """An index that this process has open, and what it holds."""

    index: chroma.ChromaIndex
    stamp: str
    lock: FileLock


# One client for each folder, whoever asks: a second one would be another copy of the index in memory.
_OPEN: dict[Path, _Open] = {}
_OPENING = threading.RLock()


class OwnedIndex:
    """The index of one version in `folder`, which is of the collection in `collection`."""

    def __init__(self, collection: Path, version: IndexVersion) -> None:
        self._collection = collection
        self._version = version
        self._folder = collection / "chroma" / version.key

    def nearest(self, vector: Vectors, *, limit: int, stamp: str) -> list[str] | None:
        """Return the keys of the nearest texts, best first.

        None where another process has the index open, or where it does not hold what `stamp` names.
        A search never changes the index: whoever adds documents does.
        """
        with _OPENING:
            opened = _OPEN.get(self._folder)
            if opened is None:
                opened = self._open_current(stamp)
            if opened is None:
                return None
            if opened.stamp != stamp:
                close_index(self._folder)
                return None
            return opened.index.nearest(vector, limit=limit)

    def fill(self, stored: StoredVectors, context: Context) -> bool:
        """Make the index hold what is stored; return whether it was free for that."""
        stamp = stored.stamp(self._version.embedder)
        with _OPENING:
            close_index(self._folder)
            lock = self._take(wait_s=0)
        lock = lock or self._take(wait_s=_WAIT_S)
        if lock is None:
            return False
        try:
            state = self._state(stamp)
            if state == "damaged":
                context.notice("the vector index is damaged and is made again from the stored vectors")
            if state in ("damaged", "absent"):
                shutil.rmtree(self._folder, ignore_errors=True)
            if state != "current":
                self._fill(stored, stamp, context)
        finally:
            lock.release()
        return True

    def drop(self) -> bool:
        """Remove the index; return whether it was free for that."""
        with _OPENING:
            close_index(self._folder)
            lock = self._take(wait_s=0)
            if lock is None:
                return False
            shutil.rmtree(self._folder, ignore_errors=True)
            for suffix in _BESIDE:
                _beside(self._folder, suffix).unlink(missing_ok=True)
            lock.release()
        return True

    def holder(self) -> str:
        """Return who has the index open, as it is told to people."""
        try:
            return f"process {int(_beside(self._folder, _PID).read_text())}"
        except (OSError, ValueError):
            return "another process"

    def _open_current(self, stamp: str) -> _Open | None:
        lock = self._take(wait_s=0)
        if lock is None:
            return None
        if self._state(stamp) != "current":
            lock.release()
            return None
        opened = _OPEN[self._folder] = _Open(index=self._unsealed(), stamp=stamp, lock=lock)
        return opened

    def _fill(self, stored: StoredVectors, stamp: str, context: Context) -> None:
        # Outside of _OPENING, which searches of other threads would wait for.
        index = self._unsealed()
        reached = ""
        try:
            for done, total in index.bring_to(stored):
                context.progress("filling the vector index", done, total)
            reached = stamp
        finally:
            index.close()
            _write_seal(self._folder, reached)

    def _unsealed(self) -> chroma.ChromaIndex:
        _beside(self._folder, _SEAL).unlink(missing_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        return chroma.open_folder(self._folder, self._version)

    def _take(self, *, wait_s: float) -> FileLock | None:
        path = _beside(self._folder, _LOCK)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            return None
        _beside(self._folder, _PID).write_text(str(os.getpid()))  # the lock's own file is emptied by whoever tries it
        return lock

    def _state(self, stamp: str) -> State:
        """Tell whether the folder can be opened, and whether it then holds what `stamp` names."""
        if not (self._folder / "chroma.sqlite3").is_file():
            return "absent"
        seal = _read_seal(self._folder)
        if seal is None:
            return self._probed()
        if seal.get("files") != _fingerprints(self._folder):
            return "damaged"
        return "current" if seal.get("stamp") == stamp else "outdated"

    def _probed(self) -> State:
        """Try the index in a process that may crash."""
        here = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
        version = self._version
        module = "pipelines.knowledge.probe"
        # -P: a module in the current folder, which may be one of documents, is not imported.
        command = [sys.executable, "-P", "-m", module, str(self._collection), version.key, version.embedder]
        try:
            ended = subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "damaged"
        found: dict[int, State] = {CURRENT: "current", OUTDATED: "outdated"}
        return found.get(ended.returncode, "damaged")


def close_index(folder: Path) -> None:
    """Close the index in `folder`, if this process has it open, and seal it."""
    with _OPENING:
        opened = _OPEN.pop(folder, None)
        if opened is None:
            return
        opened.index.close()
        _write_seal(folder, opened.stamp)
        opened.lock.release()


@atexit.register
def close_indexes() -> None:
    """Close every index that this process has open."""
    for folder in list(_OPEN):
        close_index(folder)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _write_seal(folder: Path, stamp: str) -> None:
    write_json(_beside(folder, _SEAL), {"stamp": stamp, "files": _fingerprints(folder)})


def _read_seal(folder: Path) -> dict[str, object] | None:
    try:
        found = json.loads(_beside(folder, _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _fingerprints(folder: Path) -> dict[str, str]:
    """Return the size and hash of every file below `folder`."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = f"{path.stat().st_size}:{digest}"
    return found
