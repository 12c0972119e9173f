"""One file as a `Document`: the text that was understood of it, with headings and pages."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from pipelines.errors import DataError
from pipelines.knowledge.reading.formats import READABLE_SUFFIXES, read_source
from pipelines.knowledge.reading.plain import Source
from pipelines.records import Document

__all__ = ["READABLE_SUFFIXES", "read_document"]

_MEGABYTE = 1_000_000
# A file that was written to while it was read is read again, so often.
_TRIES = 3


def read_document(path: Path, *, document_id: str, max_megabytes: float) -> Document:
    """Read a file, in this process; `open_reader` does so where a hostile one can do no harm.

    The hash is that of the bytes that were parsed, whatever became of the file since.

    Raises:
        DataError: It cannot be read, is too large, broken, empty, or changes all the time.
    """
    content = _read_bytes(path, max_megabytes=max_megabytes)
    plain = read_source(Source(content=content, name=path.name))
    text = plain.text
    if not text.strip():
        raise DataError("there is no text in it", path=path)
    return Document(
        id=document_id,
        source=str(path),
        title=plain.title or path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        text=text,
        headings=tuple(plain.headings),
        pages=tuple(plain.pages),
        notes=plain.notes,
    )


def _read_bytes(path: Path, *, max_megabytes: float) -> bytes:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError("has a name that is not UTF-8", path=ascii(str(path)), hint="Rename the file.") from error
    try:
        for _try in range(_TRIES):
            # Opening a pipe would wait for whoever writes to it, and reading a device might never end.
            _check(path.stat(), path, max_megabytes=max_megabytes)
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                _check(before, path, max_megabytes=max_megabytes)
                content = file.read(before.st_size + 1)
                after = os.fstat(file.fileno())
            if len(content) == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
                return content
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path, hint="Check its permissions.") from error
    raise DataError("changes while it is read", path=path, hint="Run it again when nothing writes to the file.")


def _check(status: os.stat_result, path: Path, *, max_megabytes: float) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError("is not a file", path=path, hint="Only regular files are read.")
    if status.st_size > max_megabytes * _MEGABYTE:
        raise DataError(
            f"{status.st_size / _MEGABYTE:.1f} MB is over the limit of {max_megabytes:g} MB",
            path=path,
            hint="Split the file, or raise --max-megabytes.",
        )
