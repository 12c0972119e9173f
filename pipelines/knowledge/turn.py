"""Whose turn it is to write into a collection: one process works, the next one waits for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import DataError
from pipelines.operation import Context

_WAIT_S = 600.0
_POLL_S = 0.1
_HOLDER = ".holder"  # the lock's own file is emptied by whoever tries it


@contextmanager
def taking_turn(folder: Path, context: Context, *, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Hold `folder` for this process, after the one that holds it now; the same lock as `locked` takes.

    Raises:
        DataError: It is held for longer than `wait_s`, or may not be written to.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        context.notice(f"{_holder(folder)} is working in {folder}; this one waits until it has ended")
        try:
            lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
        except Timeout as error:
            raise DataError(
                f"{_holder(folder)} has been working in {folder} for more than {wait_s:g} s",
                path=folder,
                hint="Wait until it has ended, then try again.",
            ) from error
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to: {error.strerror}", path=folder, hint="Check its permissions and the disk."
        ) from error
    try:
        (folder / _HOLDER).write_text(str(os.getpid()))
        yield
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        process = int((folder / _HOLDER).read_text())
        os.kill(process, 0)  # signal 0 only asks whether it lives
    except PermissionError:
        return f"process {process}"
    except (OSError, ValueError):
        return "another process"
    return f"process {process}"
