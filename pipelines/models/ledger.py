"""Every answer of every model, stored before it is read: what was paid for once is kept.

The key is a hash of all that the answer depends on. A crash, a changed filter or another
export asks nothing again; one changed prompt asks its own calls again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    response TEXT NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
# SQLite's limit on variables of one statement has been 32,766 since 3.32; stay well below.
_KEYS_AT_ONCE = 5_000


@dataclass(frozen=True, kw_only=True)
class Call:
    """One answer, and what it took."""

    key: str
    model: str
    response: str
    tokens_in: int
    tokens_out: int


def call_key(model: str, request: object) -> str:
    """Return the key of a call: a hash of the model's name and of the whole request."""
    canonical = json.dumps([model, request], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass
class CallCounts:
    """What the calls of one run took."""

    sent: int = 0
    cached: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Ledger:
    """The calls of a workspace, in one SQLite file; safe for threads and for kill -9."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the ledger of calls {path} cannot be opened: {error}",
                path=path,
                hint="Move that file away; a new one is made, and its calls are asked again.",
            ) from error

    def find(self, keys: Sequence[str]) -> dict[str, Call]:
        """Return the stored calls among `keys`."""
        found: dict[str, Call] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, model, response, tokens_in, tokens_out FROM calls WHERE key IN ({marks})"
            with self._lock:
                rows = self._connection.execute(query, some).fetchall()
            for key, model, response, tokens_in, tokens_out in rows:
                found[key] = Call(key=key, model=model, response=response, tokens_in=tokens_in, tokens_out=tokens_out)
        return found

    def store(self, calls: Iterable[Call]) -> None:
        """Store answers; returns when they are safe from the death of this process.

        Raises:
            DataError: They cannot be written, for want of space for example.
        """
        rows = [(call.key, call.model, call.response, call.tokens_in, call.tokens_out) for call in calls]
        statement = "INSERT OR IGNORE INTO calls (key, model, response, tokens_in, tokens_out) VALUES (?,?,?,?,?)"
        try:
            with self._lock, self._connection:
                self._connection.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            raise DataError(
                f"answers cannot be stored: {error}", hint="Free some disk space; nothing stored before is lost."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
