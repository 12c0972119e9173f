"""The truth about a collection, in one SQLite file: documents, chunks, keyword index.

Chroma is derived from it and can be made again. A document and its chunks are written in
one transaction and count as pending until their vectors are stored, so a killed run goes
on with what is pending.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.errors import DataError
from pipelines.knowledge.chunk import CHUNKER
from pipelines.knowledge.filters import Filter, allowed_chunks
from pipelines.records import Chunk, Document
from pipelines.text import search_terms

# How the keyword index splits and stems English; Chinese comes to it in pairs of characters.
TOKENIZER = "porter unicode61 remove_diacritics 2"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, root TEXT NOT NULL, sha256 TEXT NOT NULL, chunker TEXT NOT NULL, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS chunks (
    row INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, document TEXT NOT NULL, record TEXT NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS chunks_of_document ON chunks (document);
CREATE TABLE IF NOT EXISTS removed (id TEXT PRIMARY KEY);
CREATE VIRTUAL TABLE IF NOT EXISTS keywords USING fts5 (terms, tokenize = '{TOKENIZER}');
"""
# Words that say nothing about what a question is about.
_STOP_WORDS = frozenset(
    """
    a about an and any are as at be been but by can could did do does for from get had has have how i if
    in is it its may me my no not of on one or our out shall should so some than that the their them
    there these they this to was we were what when where which who whom whose why will with would you
    your
    """.split()  # noqa: SIM905 - a list of a hundred words is read more easily so
)


class KnowledgeLedger:
    """Documents and chunks of one collection."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "ledger.sqlite"
        try:
            self._connection = sqlite3.connect(path, timeout=60)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the ledger {path} cannot be opened: {error}",
                path=path,
                hint=f"Remove the folder {folder} and add the documents again.",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def known(self, root: str | None = None) -> dict[str, str]:
        """Return id and hash of the documents, of one root or of all, that are cut as we cut now."""
        query = "SELECT id, sha256 FROM documents WHERE chunker = ? AND (? IS NULL OR root = ?) ORDER BY id"
        return dict(self._connection.execute(query, (CHUNKER, root, root)))

    def ids(self, root: str) -> list[str]:
        """Return the ids of all documents that were added from `root`."""
        return [row[0] for row in self._connection.execute("SELECT id FROM documents WHERE root = ?", (root,))]

    def root_of(self, document_id: str) -> str | None:
        """Return the folder that a document was added from; None if it is not known."""
        row = self._connection.execute("SELECT root FROM documents WHERE id = ?", (document_id,)).fetchone()
        return None if row is None else str(row[0])

    def id_of(self, source: str) -> str | None:
        """Return the id of the document that was read from `source`; None if it is not known."""
        query = "SELECT id FROM documents WHERE json_extract(record, '$.source') = ?"
        row = self._connection.execute(query, (source,)).fetchone()
        return None if row is None else str(row[0])

    def documents(self) -> list[Document]:
        """Return all documents, by id."""
        rows = self._connection.execute("SELECT record FROM documents ORDER BY id")
        return [Document.model_validate_json(row[0]) for row in rows]

    def document(self, document_id: str) -> Document:
        """Return one document.

        Raises:
            DataError: There is none of that id.
        """
        row = self._connection.execute("SELECT record FROM documents WHERE id = ?", (document_id,)).fetchone()
        if row is None:
            raise DataError(
                f"there is no document {document_id!r} in this collection", hint="See them with: assistant docs list"
            )
        return Document.model_validate_json(row[0])

    def replace(self, document: Document, chunks: Sequence[Chunk], *, root: str) -> None:
        """Put a document and its chunks in the place of what had its id."""
        with self._writing():
            self._delete(document.id)
            self._connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
                (document.id, root, document.sha256, CHUNKER, document.model_dump_json()),
            )
            for chunk in chunks:
                cursor = self._connection.execute(
                    "INSERT INTO chunks (id, document, record) VALUES (?, ?, ?)",
                    (chunk.id, chunk.document, chunk.model_dump_json()),
                )
                terms = " ".join(search_terms(f"{chunk.heading} {chunk.text}"))
                self._connection.execute("INSERT INTO keywords (rowid, terms) VALUES (?, ?)", (cursor.lastrowid, terms))

    def remove(self, document_id: str) -> None:
        """Forget a document and its chunks."""
        with self._writing():
            self._delete(document_id)

    def chunks(self) -> list[Chunk]:
        """Return all chunks, document by document, in their order."""
        rows = self._connection.execute("SELECT record FROM chunks ORDER BY document, row")
        return [Chunk.model_validate_json(row[0]) for row in rows]

    def find_chunks(self, ids: Iterable[str]) -> dict[str, Chunk]:
        """Return the chunks among `ids` that exist."""
        found = {}
        for chunk_id in ids:
            row = self._connection.execute("SELECT record FROM chunks WHERE id = ?", (chunk_id,)).fetchone()
            if row is not None:
                found[chunk_id] = Chunk.model_validate_json(row[0])
        return found

    def allowed(self, where: Filter) -> list[str]:
        """Return the ids of all chunks of the documents that pass."""
        return allowed_chunks(self._connection, where)

    def count(self) -> tuple[int, int]:
        """Return how many documents and chunks there are."""
        documents = self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        chunks = self._connection.execute("SELECT count(*) FROM chunks").fetchone()[0]
        return int(documents), int(chunks)

    def count_stored(self) -> int:
        """Return how many chunks have their vectors stored."""
        return int(self._connection.execute("SELECT count(*) FROM chunks WHERE NOT pending").fetchone()[0])

    def pending(self) -> list[Chunk]:
        """Return the chunks whose vectors are not stored yet."""
        rows = self._connection.execute("SELECT record FROM chunks WHERE pending ORDER BY row")
        return [Chunk.model_validate_json(row[0]) for row in rows]

    def mark_stored(self, ids: Sequence[str]) -> None:
        """Take note that the vectors of these chunks are stored."""
        with self._writing():
            self._connection.executemany(
                "UPDATE chunks SET pending = 0 WHERE id = ?", [(chunk_id,) for chunk_id in ids]
            )

    def mark_all_pending(self) -> None:
        """Take note that no vector is stored."""
        with self._writing():
            self._connection.execute("UPDATE chunks SET pending = 1")

    def removed(self) -> list[str]:
        """Return the ids of chunks that are gone, but whose vectors may not be."""
        return [row[0] for row in self._connection.execute("SELECT id FROM removed")]

    def forget_removed(self) -> None:
        """Take note that the vectors of removed chunks are gone too."""
        with self._writing():
            self._connection.execute("DELETE FROM removed")

    def search(self, query: str, *, limit: int) -> list[tuple[str, float]]:
        """Return chunk ids and BM25 scores of the best matches, best first; higher is better."""
        wanted = match_any(query)
        if not wanted:
            return []
        rows = self._connection.execute(
            "SELECT chunks.id, -bm25(keywords) AS score FROM keywords JOIN chunks ON chunks.row = keywords.rowid "
            "WHERE keywords MATCH ? ORDER BY score DESC LIMIT ?",
            (wanted, limit),
        )
        return [(str(chunk_id), float(score)) for chunk_id, score in rows]

    def _delete(self, document_id: str) -> None:
        rows = self._connection.execute("SELECT row, id FROM chunks WHERE document = ?", (document_id,)).fetchall()
        for row, chunk_id in rows:
            self._connection.execute("DELETE FROM keywords WHERE rowid = ?", (row,))
            self._connection.execute("INSERT OR IGNORE INTO removed VALUES (?)", (chunk_id,))
        self._connection.execute("DELETE FROM chunks WHERE document = ?", (document_id,))
        self._connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def _writing(self) -> sqlite3.Connection:
        # As a context manager, a connection commits, or rolls back if something was raised.
        return self._connection


def match_any(query: str) -> str:
    """Return what asks the keyword index for any term of a query that says something; empty if none does."""
    terms = [term for term in dict.fromkeys(search_terms(query)) if term not in _STOP_WORDS]
    return " OR ".join('"' + term.replace('"', '""') + '"' for term in terms)
