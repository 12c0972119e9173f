"""The truth about a collection, in one SQLite file: files, documents, chunks, keyword index.

Chroma is derived from it and can be made again. A document and its chunks are written in
one transaction and count as pending until their vectors are stored, so a killed run goes
on with what is pending. What is known of a file may be lost: then it is read again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError
from pipelines.knowledge.database import open_database
from pipelines.knowledge.filters import Filter, allowed_chunks
from pipelines.records import Chunk, Document
from pipelines.text import search_terms
from pipelines.workspace import replacing

TOKENIZER = "porter unicode61 remove_diacritics 2"  # of the keyword index
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, root TEXT NOT NULL, sha256 TEXT NOT NULL, chunker TEXT NOT NULL, record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS chunks (
    row INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, document TEXT NOT NULL, record TEXT NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX IF NOT EXISTS chunks_of_document ON chunks (document);
CREATE INDEX IF NOT EXISTS chunks_pending ON chunks (document) WHERE pending;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, root TEXT NOT NULL, document TEXT NOT NULL, size INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, inode INTEGER NOT NULL, failure TEXT NOT NULL, tried TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_of_document ON files (document);
CREATE TABLE IF NOT EXISTS renames (former TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
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


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    """What is known of a file: where it belongs, how it looked when it was read, why that failed.

    A size of -1 says that its looks are not known, or not to be trusted.
    """

    path: str
    root: str
    document: str
    size: int = -1
    modified_ns: int = 0
    inode: int = 0
    failure: str = ""
    tried: str = ""  # the limits under which reading it failed
    sha256: str = ""  # of the version that is in the collection; empty if none is
    cut: str = ""  # how that version was cut into chunks


@dataclass(frozen=True, kw_only=True)
class DocumentSummary:
    """A document in a list."""

    id: str
    title: str
    characters: int
    pages: int
    chunks: int
    pending: int
    failure: str


class KnowledgeLedger:
    """Files, documents and chunks of one collection."""

    def __init__(self, folder: Path) -> None:
        self._connection = open_database(folder, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def files(self) -> dict[str, KnownFile]:
        """Return what is known of every file, by its path."""
        with self._connection:  # those of a collection that an older version made, or whose run was killed
            self._connection.execute(
                "INSERT OR IGNORE INTO files SELECT json_extract(record, '$.source'), root, id, -1, 0, 0, '', '' "
                "FROM documents WHERE id NOT IN (SELECT document FROM files)"
            )
        rows = self._connection.execute(
            "SELECT path, files.root, document, size, modified_ns, inode, failure, tried, "
            "coalesce(sha256, ''), coalesce(chunker, '') FROM files LEFT JOIN documents ON documents.id = document"
        )
        names = KnownFile.__dataclass_fields__
        return {row[0]: KnownFile(**dict(zip(names, row, strict=True))) for row in rows}

    def note_files(self, files: Iterable[KnownFile]) -> None:
        """Take note of what was found out about files."""
        rows = [
            (file.path, file.root, file.document, file.size, file.modified_ns, file.inode, file.failure, file.tried)
            for file in files
        ]
        with self._writing():
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def forget_file(self, path: str) -> None:
        """Forget a file that is gone, and the document that was read from it."""
        with self._writing():
            self._forget_file(path)

    def summaries(self) -> list[DocumentSummary]:
        """Return a line for each document, by id."""
        chunks = dict(self._connection.execute("SELECT document, count(*) FROM chunks GROUP BY document"))
        pending = dict(
            self._connection.execute("SELECT document, count(*) FROM chunks WHERE pending GROUP BY document")
        )
        rows = self._connection.execute(
            "SELECT id, json_extract(record, '$.title'), length(json_extract(record, '$.text')), "
            "json_array_length(record, '$.pages'), "
            "coalesce((SELECT max(failure) FROM files WHERE document = documents.id), '') FROM documents ORDER BY id"
        )
        return [
            DocumentSummary(
                id=row[0],
                title=row[1],
                characters=row[2],
                pages=row[3],
                chunks=chunks.get(row[0], 0),
                pending=pending.get(row[0], 0),
                failure=row[4],
            )
            for row in rows
        ]

    def failures(self) -> list[tuple[str, str]]:
        """Return the name of each file that could not be read, and why, by name."""
        rows = self._connection.execute("SELECT document, failure FROM files WHERE failure != '' ORDER BY document")
        return [(name, failure) for name, failure in rows]

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
            now = self._connection.execute(
                "SELECT document FROM renames JOIN documents ON id = document WHERE former = ?", (document_id,)
            ).fetchone()
            raise DataError(
                f"there is no document {document_id!r} in this collection",
                hint=f"It is called {now[0]!r} now." if now else "See them with: assistant docs list",
            )
        return Document.model_validate_json(row[0])

    def replace(
        self, document: Document, chunks: Sequence[Chunk], *, root: str, cut: str = "", former: KnownFile | None = None
    ) -> None:
        """Put a document and its chunks in the place of what had its id.

        Args:
            document: What was read.
            chunks: Its chunks. Those that stood under the same headings before keep their vectors.
            root: Folder that it was added from.
            cut: Names how it was cut, to tell when it has to be cut again.
            former: The file that it was before somebody renamed it; forgotten.
        """
        with self._writing():
            stored = self._stored_headings(document.id)
            self._delete(document.id)
            if former is not None:
                self._forget_file(former.path)
                self._note_rename(former.document, document.id)
            self._connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
                (document.id, root, document.sha256, cut, document.model_dump_json()),
            )
            for chunk in chunks:
                is_pending = stored.get(chunk.id) != chunk.heading
                cursor = self._connection.execute(
                    "INSERT INTO chunks (id, document, record, pending) VALUES (?, ?, ?, ?)",
                    (chunk.id, chunk.document, chunk.model_dump_json(), is_pending),
                )
                terms = " ".join(search_terms(f"{chunk.heading} {chunk.text}"))
                self._connection.execute("INSERT INTO keywords (rowid, terms) VALUES (?, ?)", (cursor.lastrowid, terms))

    def remove(self, document_id: str) -> None:
        """Forget a document and its chunks."""
        with self._writing():
            self._delete(document_id)
            self._connection.execute("DELETE FROM files WHERE document = ?", (document_id,))

    def write_chunks(self, path: Path) -> None:
        """Write all chunks as JSONL, unless the file holds what the ledger does."""
        fact = self._connection.execute("SELECT value FROM facts WHERE name = 'chunks written'").fetchone()
        if path.is_file() and fact == ("yes",):
            return
        with replacing(path) as file:
            for (record,) in self._connection.execute("SELECT record FROM chunks ORDER BY document, row"):
                file.write(record + "\n")
        with self._writing():
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES ('chunks written', 'yes')")

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

    def ids(self) -> list[str]:
        """Return the ids of all chunks, in the order in which they were stored."""
        return [str(chunk_id) for (chunk_id,) in self._connection.execute("SELECT id FROM chunks ORDER BY row")]

    def pending(self) -> list[str]:
        """Return the ids of the chunks whose vectors are not stored yet."""
        rows = self._connection.execute("SELECT id FROM chunks WHERE pending ORDER BY row")
        return [str(chunk_id) for (chunk_id,) in rows]

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

    def frequency(self, term: str) -> int | None:
        """Return how many chunks have a search term; None for a word that says nothing."""
        if term in _STOP_WORDS:
            return None
        query = "SELECT count(*) FROM keywords WHERE keywords MATCH ?"
        return int(self._connection.execute(query, (_phrase(term),)).fetchone()[0])

    def count_keywords(self) -> int:
        """Return how many chunks the keyword index holds."""
        return int(self._connection.execute("SELECT count(*) FROM keywords").fetchone()[0])

    def rebuild_keywords(self) -> None:
        """Make the keyword index again from the chunks."""
        with self._writing():
            self._connection.execute("DELETE FROM keywords")
            for row, record in self._connection.execute("SELECT row, record FROM chunks"):
                chunk = Chunk.model_validate_json(record)
                terms = " ".join(search_terms(f"{chunk.heading} {chunk.text}"))
                self._connection.execute("INSERT INTO keywords (rowid, terms) VALUES (?, ?)", (row, terms))

    def _delete(self, document_id: str) -> None:
        rows = self._connection.execute("SELECT row FROM chunks WHERE document = ?", (document_id,)).fetchall()
        self._connection.executemany("DELETE FROM keywords WHERE rowid = ?", rows)
        self._connection.execute("DELETE FROM chunks WHERE document = ?", (document_id,))
        self._connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))
        self._connection.execute("DELETE FROM facts WHERE name = 'chunks written'")

    def _note_rename(self, former: str, now: str) -> None:
        """Take note of what a document is called now; also by the names that it had before."""
        self._connection.execute("UPDATE renames SET document = ? WHERE document = ?", (now, former))
        self._connection.execute("INSERT OR REPLACE INTO renames VALUES (?, ?)", (former, now))

    def _forget_file(self, path: str) -> None:
        for (document_id,) in self._connection.execute("SELECT document FROM files WHERE path = ?", (path,)).fetchall():
            self._delete(document_id)
        self._connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def _stored_headings(self, document_id: str) -> dict[str, str]:
        """Return the headings of those chunks of a document whose vectors are stored."""
        query = "SELECT id, json_extract(record, '$.heading') FROM chunks WHERE document = ? AND NOT pending"
        return dict(self._connection.execute(query, (document_id,)))

    def _writing(self) -> sqlite3.Connection:
        # As a context manager, a connection commits, or rolls back if something was raised.
        return self._connection


def match_any(query: str) -> str:
    """Return what asks the keyword index for any term of a query that says something; empty if none does."""
    return " OR ".join(_phrase(term) for term in dict.fromkeys(search_terms(query)) if term not in _STOP_WORDS)


def _phrase(term: str) -> str:
    """Return a term as FTS5 takes it literally."""
    return '"' + term.replace('"', '""') + '"'
