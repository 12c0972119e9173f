"""Which documents a search is about.

A filter is resolved to chunks before anything is ranked. Filtering what an approximate
search has found would lose matches wherever the filter leaves few documents.
"""

from __future__ import annotations

import fnmatch
import json
import sqlite3
import unicodedata
from datetime import date, datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SAME_KIND = {"htm": "html", "xhtml": "html", "markdown": "md", "text": "txt"}


class Filter(BaseModel):
    """What a document must be like; what is left empty does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents: tuple[str, ...] = Field(
        (), description="Ids of documents, or patterns such as manuals/*; * also stands for slashes. Any of them."
    )
    kinds: tuple[str, ...] = Field((), description="Kinds of files by their suffix, such as pdf. Any of them.")
    since: date | None = Field(None, description="First day, here, on which the file may have been changed last.")

    @field_validator("kinds")
    @classmethod
    def _unify_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        names = [name.strip().lstrip(".").casefold() for kind in kinds for name in kind.split(",")]
        return tuple(dict.fromkeys(_SAME_KIND.get(name, name) for name in names if name))

    @property
    def is_empty(self) -> bool:
        """Whether every document passes."""
        return not self.documents and not self.kinds and self.since is None

    def allows(self, document_id: str, *, modified: datetime | None = None) -> bool:
        """Whether a document passes.

        Args:
            document_id: Its id.
            modified: When its file was changed last; None if that is not known.
        """
        name = unicodedata.normalize("NFC", document_id)
        if self.since is not None and (modified is None or modified.date() < self.since):
            return False
        return (not self.documents or any(_matches(name, pattern) for pattern in self.documents)) and (
            not self.kinds or kind_of(name) in self.kinds
        )


def kind_of(document_id: str) -> str:
    """Return the kind of a document: its suffix without the dot; empty if it has none."""
    suffix = PurePosixPath(document_id).suffix.removeprefix(".").casefold()
    return _SAME_KIND.get(suffix, suffix)


def allowed_chunks(connection: sqlite3.Connection, where: Filter) -> list[str]:
    """Return the ids of all chunks of the documents that pass, document by document.

    Args:
        connection: To a collection's ledger.
        where: What passes.
    """
    found = connection.execute(
        "SELECT documents.id, max(files.modified_ns) FROM documents LEFT JOIN files ON files.document = documents.id "
        "GROUP BY documents.id"
    )
    names = [name for name, changed_ns in found if where.allows(name, modified=_local_time(changed_ns))]
    rows = connection.execute(
        "SELECT id FROM chunks WHERE document IN (SELECT value FROM json_each(?)) ORDER BY document, row",
        (json.dumps(names),),
    )
    return [str(chunk_id) for (chunk_id,) in rows]


def _local_time(changed_ns: int | None) -> datetime | None:
    return datetime.fromtimestamp(changed_ns / 1e9).astimezone() if changed_ns else None


def _matches(name: str, pattern: str) -> bool:
    # A file's name may hold the characters of a pattern: to the letter it always passes.
    pattern = unicodedata.normalize("NFC", pattern)
    return name == pattern or fnmatch.fnmatchcase(name, pattern)
