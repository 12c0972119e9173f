"""The SQLite file of a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import DataError

_NOT_WRITABLE = "Give yourself the right to write into {folder}, or copy the workspace to where you have it."
_IN_USE = "Another process is writing into it. Try again when that has ended."
_DAMAGED = "Remove the folder {folder} and add the documents again."
# By SQLite's primary code. What is in none of these is a fault of ours, and stays as it is.
_HINTS = {
    sqlite3.SQLITE_FULL: "Free some disk space and run the same command again: what was stored before is kept.",
    sqlite3.SQLITE_IOERR: "Check the disk and its free space, and run the same command again.",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


def open_database(folder: Path, schema: str) -> sqlite3.Connection:
    """Open the file of the collection in `folder`, with the tables of `schema`; what is committed stays.

    Raises:
        DataError: It is damaged, no database, or may not be written to.
    """
    with explaining(folder, "opened"):
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(folder / "ledger.sqlite", timeout=60)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(schema)
        except sqlite3.DatabaseError:
            connection.close()
            raise
    return connection


@contextmanager
def explaining(folder: Path, what: str = "used") -> Iterator[None]:
    """Turn what SQLite raises about the file of the collection in `folder` into our own error.

    Raises:
        DataError: The file is damaged, in use, or may not be written to, or the disk is full.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        hint = _HINTS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)  # without what an extended code adds
        if hint is None:
            raise
        path = folder / "ledger.sqlite"
        raise DataError(
            f"the ledger {path} cannot be {what}: {error}", path=path, hint=hint.format(folder=folder)
        ) from error
