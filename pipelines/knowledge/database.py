"""The SQLite file of a collection."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pipelines.errors import DataError


def open_database(folder: Path, schema: str) -> sqlite3.Connection:
    """Open the file of the collection in `folder`, with the tables of `schema`; what is committed stays.

    Raises:
        DataError: It is damaged, or no database.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger.sqlite"
    try:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(schema)
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"the ledger {path} cannot be opened: {error}",
            path=path,
            hint=f"Remove the folder {folder} and add the documents again.",
        ) from error
    return connection
