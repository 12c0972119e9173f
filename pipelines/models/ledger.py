"""Every answer of every model, stored before it is read: what was paid for once is kept.

The key is a hash of all that the answer depends on. A crash, a changed filter or another
export asks nothing again; one changed prompt asks its own calls again.
"""

from __future__ import annotations

import hashlib
import json
import operator
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipelines.errors import DataError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    response TEXT NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    finish TEXT NOT NULL DEFAULT 'stop',
    request TEXT NOT NULL DEFAULT '',
    dataset TEXT NOT NULL DEFAULT '',
    cost_usd REAL,
    seconds REAL NOT NULL DEFAULT 0,
    created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
# Columns that ledgers of earlier versions lack.
_ADDED = {
    "finish": "TEXT NOT NULL DEFAULT 'stop'",
    "request": "TEXT NOT NULL DEFAULT ''",
    "dataset": "TEXT NOT NULL DEFAULT ''",
    "cost_usd": "REAL",
    "seconds": "REAL NOT NULL DEFAULT 0",
}
# SQLite's limit on variables of one statement has been 32,766 since 3.32; stay well below.
_KEYS_AT_ONCE = 5_000
_DAMAGED = "Move that file away; a new one is made, and its calls are asked again."


@dataclass(frozen=True, kw_only=True)
class Call:
    """One answer, and what it took."""

    key: str
    model: str
    response: str
    tokens_in: int
    tokens_out: int
    finish: str = "stop"  # or "length", where the longest allowed answer was reached
    request: str = ""  # what was asked, as JSON, for whoever wants to know later
    dataset: str = ""  # what it was asked for
    cost_usd: float | None = None  # None where no price is known
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the calls of one day for one dataset to one model took."""

    day: str
    dataset: str
    model: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost_usd: float
    unpriced: int  # calls without a known price


_values = operator.attrgetter(*(field.name for field in fields(Call)))
_COLUMNS = ", ".join(field.name for field in fields(Call))
_MARKS = ", ".join("?" for _ in fields(Call))


def call_key(model: str, request: object) -> str:
    """Return the key of a call: a hash of the model's name and of the whole request."""
    canonical = json.dumps([model, request], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass
class CallCounts:
    """What the calls of one run took."""

    sent: int = 0
    cached: int = 0
    failed: int = 0  # nothing usable came of them
    corrected: int = 0  # asked again because the form was wrong
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0  # calls without a known price


class Ledger:
    """The calls of a workspace, in one SQLite file; safe for threads and for kill -9."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            with self._connection:  # two processes may open an old file at once
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(_SCHEMA)
                self._add_columns()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the ledger of calls {path} cannot be opened: {error}",
                path=path,
                hint=_DAMAGED,
            ) from error

    def find(self, keys: Sequence[str]) -> dict[str, Call]:
        """Return the stored calls among `keys`."""
        found: dict[str, Call] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            query = f"SELECT {_COLUMNS} FROM calls WHERE key IN ({','.join('?' * len(some))})"
            for row in self._read(query, some):
                call = Call(**dict(zip((field.name for field in fields(Call)), row, strict=True)))
                found[call.key] = call
        return found

    def store(self, calls: Iterable[Call]) -> None:
        """Store answers; returns when they are safe from the death of this process.

        Raises:
            DataError: They cannot be written, for want of space for example.
        """
        rows = [_values(call) for call in calls]
        try:
            with self._lock, self._connection:
                self._connection.executemany(f"INSERT OR IGNORE INTO calls ({_COLUMNS}) VALUES ({_MARKS})", rows)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"answers cannot be stored in {self._path}: {error}",
                path=self._path,
                hint="Free some disk space; nothing stored before is lost.",
            ) from error

    def usage(self) -> list[Usage]:
        """Return what was used by day, dataset and model, newest day first."""
        query = """
            SELECT date(created) AS day, dataset, model, count(*), sum(tokens_in), sum(tokens_out),
                   coalesce(sum(cost_usd), 0.0), sum(cost_usd IS NULL)
            FROM calls GROUP BY day, dataset, model ORDER BY day DESC, dataset, model
        """
        rows = self._read(query)
        return [Usage(**dict(zip((field.name for field in fields(Usage)), row, strict=True))) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read(self, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the ledger of calls {self._path} cannot be read: {error}", path=self._path, hint=_DAMAGED
            ) from error

    def _add_columns(self) -> None:
        present = {row[1] for row in self._connection.execute("PRAGMA table_info(calls)")}
        for name, kind in _ADDED.items():
            if name not in present:
                self._connection.execute(f"ALTER TABLE calls ADD COLUMN {name} {kind}")
