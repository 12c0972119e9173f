"""The vectors of a collection, kept in its ledger's SQLite file before any index sees them.

A vector lies under the hash of the text it was made of and the name of its embedder. So the same
text is embedded once however often it occurs, a killed run loses one batch, and an index is built
again without a model. Which embedder serves is written here too: a switch is one transaction.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.knowledge.database import open_database

Vectors = NDArray[numpy.float32]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    row INTEGER PRIMARY KEY AUTOINCREMENT, embedder TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL,
    UNIQUE (embedder, text)
);
CREATE TABLE IF NOT EXISTS signs (row INTEGER PRIMARY KEY, signs BLOB NOT NULL); -- of tokens, by row of vectors
CREATE TABLE IF NOT EXISTS chunk_texts (chunk TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunks_of_text ON chunk_texts (text);
CREATE TABLE IF NOT EXISTS index_versions (
    key TEXT PRIMARY KEY, embedder TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL
);
"""
VersionState = Literal["building", "serving", "former"]
# Half precision would take half the space, but changed the order of the first ten for 0.7% of 1,500 questions.
_STORED = numpy.dtype("<f4")
# Chunks first: left to itself, SQLite goes through all texts of the embedder for every search.
_OF_CHUNKS = "FROM chunk_texts CROSS JOIN vectors ON vectors.embedder = ? AND vectors.text = chunk_texts.text"
_AT_ONCE = 500  # SQLite's limit on variables of one statement was 999 for long


@dataclass(frozen=True, kw_only=True)
class IndexVersion:
    """One embedding of a collection; `key` names its index, `model` is what its embedder was opened by."""

    key: str
    embedder: str
    model: str = ""  # empty for the default one


class StoredVectors:
    """The stored vectors of the collection in `folder`, by text and embedder."""

    def __init__(self, folder: Path) -> None:
        self._connection = open_database(folder, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def serving(self) -> IndexVersion | None:
        """Return the version that searches use; None before anything was embedded."""
        return next(iter(self.versions("serving")), None)

    def versions(self, state: VersionState) -> list[IndexVersion]:
        """Return the versions of one state; a former one is used no more, but its index may still be there."""
        rows = self._connection.execute("SELECT key, embedder, model FROM index_versions WHERE state = ?", (state,))
        return [IndexVersion(key=key, embedder=embedder, model=model) for key, embedder, model in rows]

    def begin(self, embedder: str, *, model: str) -> IndexVersion:
        """Return the version that is being built with an embedder, begun here or by a run that was killed."""
        for under_way in self.versions("building"):
            if (under_way.embedder, under_way.model) == (embedder, model):
                return under_way
        version = IndexVersion(key=secrets.token_hex(8), embedder=embedder, model=model)
        with self._connection:
            self._connection.execute("UPDATE index_versions SET state = 'former' WHERE state = 'building'")
            self._connection.execute(
                "INSERT INTO index_versions VALUES (?, ?, ?, 'building')", (version.key, embedder, model)
            )
        return version

    def serve(self, version: IndexVersion) -> None:
        """Let searches use `version` from now on."""
        with self._connection:
            self._connection.execute("UPDATE index_versions SET state = 'former' WHERE state = 'serving'")
            self._connection.execute("UPDATE index_versions SET state = 'serving' WHERE key = ?", (version.key,))

    def forget(self, version: IndexVersion) -> None:
        """Take note that the index of a former version is gone."""
        with self._connection:
            self._connection.execute("DELETE FROM index_versions WHERE key = ?", (version.key,))

    def missing(self, texts: Iterable[str], embedder: str) -> set[str]:
        """Return those of `texts` (keys) that have no vector of `embedder`."""
        wanted = set(texts)
        found = self._select("SELECT text FROM vectors WHERE embedder = ? AND text IN", [embedder], sorted(wanted))
        return wanted - {str(text) for (text,) in found}

    def keep(
        self,
        chunks: Mapping[str, str],
        vectors: Mapping[str, Vectors],
        embedder: str,
        *,
        signs: Mapping[str, bytes] | None = None,
    ) -> None:
        """Store, in one transaction, the texts (keys) of chunks and the vectors of new texts.

        Args:
            chunks: The text of each chunk.
            vectors: The vector of each new text.
            embedder: Whose they are.
            signs: What `interaction.pack_signs` made of the tokens of each new text.

        Raises:
            DataError: The stored vectors of this embedder are of another size.
        """
        for vector in itertools.islice(vectors.values(), 1):
            self.check_size(vector, embedder)
        rows = [(embedder, text, vector.astype(_STORED).tobytes()) for text, vector in vectors.items()]
        packed = [(each, embedder, text) for text, each in (signs or {}).items()]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO chunk_texts VALUES (?, ?)", chunks.items())
            self._connection.executemany(
                "INSERT OR IGNORE INTO vectors (embedder, text, vector) VALUES (?, ?, ?)", rows
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO signs SELECT row, ? FROM vectors WHERE embedder = ? AND text = ?", packed
            )

    def check_size(self, vector: Vectors, embedder: str) -> None:
        """Refuse a vector that cannot be compared with those that are stored.

        Raises:
            DataError: They are of another size: an endpoint serves another model under the same name.
        """
        query = "SELECT length(vector) FROM vectors WHERE embedder = ? LIMIT 1"
        first = self._connection.execute(query, (embedder,)).fetchone()
        if first is not None and (size := first[0] // _STORED.itemsize) != vector.size:
            raise DataError(
                f"{embedder} makes vectors of {vector.size} numbers now; those of this collection have {size}",
                hint="Have its endpoint serve the former model, or embed the collection anew by another name.",
            )

    def count_lost(self) -> int:
        """Return how many chunks count as stored, but have no vector of the serving embedder."""
        query = """
            SELECT count(*) FROM chunks WHERE NOT pending AND id NOT IN (
                SELECT chunk FROM chunk_texts JOIN vectors USING (text)
                WHERE embedder = (SELECT embedder FROM index_versions WHERE state = 'serving')
            )
        """
        return int(self._connection.execute(query).fetchone()[0])

    def collect(self) -> None:
        """Forget the vectors of texts that no chunk has any more, and of embedders that are not in use."""
        with self._connection:
            self._connection.execute("DELETE FROM chunk_texts WHERE chunk NOT IN (SELECT id FROM chunks)")
            self._connection.execute(
                "DELETE FROM vectors WHERE text NOT IN (SELECT text FROM chunk_texts) "
                "OR embedder NOT IN (SELECT embedder FROM index_versions)"
            )
            self._connection.execute("DELETE FROM signs WHERE row NOT IN (SELECT row FROM vectors)")

    def stamp(self, embedder: str) -> str:
        """Return what changes whenever the vectors of `embedder` do.

        Rows are never changed, and their numbers never used again; so count and last number tell.
        """
        query = "SELECT count(*), coalesce(max(row), 0) FROM vectors WHERE embedder = ?"
        return "{}:{}".format(*self._connection.execute(query, (embedder,)).fetchone())

    def count(self, embedder: str) -> int:
        """Return how many texts have a vector of `embedder`."""
        query = "SELECT count(*) FROM vectors WHERE embedder = ?"
        return int(self._connection.execute(query, (embedder,)).fetchone()[0])

    def changes(self) -> int:
        """Return a number that differs after another connection has written; cheaper than a stamp."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def texts(self, embedder: str) -> set[str]:
        """Return the keys of all texts with a vector of `embedder`."""
        rows = self._connection.execute("SELECT text FROM vectors WHERE embedder = ?", (embedder,))
        return {str(text) for (text,) in rows}

    def all_vectors(self, embedder: str) -> tuple[list[str], Vectors]:
        """Return the keys of all texts and their vectors; float, (texts, size), each of length 1."""
        query = "SELECT text, vector FROM vectors WHERE embedder = ? ORDER BY row"
        return _unpacked(self._connection.execute(query, (embedder,)))

    def vectors_of(self, texts: Sequence[str], embedder: str) -> tuple[list[str], Vectors]:
        """Return those of `texts` (keys) that have vectors, sorted, and their vectors."""
        query = "SELECT text, vector FROM vectors WHERE embedder = ? AND text IN"
        return _unpacked(sorted(self._select(query, [embedder], texts)))

    def vectors_of_chunks(self, chunks: Sequence[str], embedder: str) -> tuple[list[str], Vectors]:
        """Return those of `chunks` (ids) that have vectors, sorted, and their vectors."""
        query = f"SELECT chunk, vector {_OF_CHUNKS} WHERE chunk IN"
        return _unpacked(sorted(self._select(query, [embedder], chunks)))

    def signs(self, chunks: Sequence[str], embedder: str) -> dict[str, bytes]:
        """Return the signs of the tokens of those of `chunks` (ids) that have some."""
        query = f"SELECT chunk, signs {_OF_CHUNKS} JOIN signs USING (row) WHERE chunk IN"
        return dict(self._select(query, [embedder], chunks))

    def chunks_of(self, texts: Sequence[str]) -> list[str]:
        """Return the ids of the chunks that have these texts, in the order of the texts."""
        found: dict[str, list[str]] = {}
        for text, chunk in sorted(self._select("SELECT text, chunk FROM chunk_texts WHERE text IN", [], texts)):
            found.setdefault(text, []).append(chunk)
        return [chunk for text in texts for chunk in found.get(text, [])]

    def _select(self, query: str, first: list[str], values: Sequence[str]) -> Iterator[Any]:
        """Yield the rows for all `values`, which take the place of the list at the end of `query`."""
        for start in range(0, len(values), _AT_ONCE):
            part = values[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            yield from self._connection.execute(f"{query} ({marks})", [*first, *part])


def _unpacked(rows: Iterable[tuple[str, bytes]]) -> tuple[list[str], Vectors]:
    keys, packed = [], bytearray()  # of many vectors, there is no room for all of them twice
    for key, vector in rows:
        keys.append(key)
        packed += vector
    vectors = numpy.frombuffer(packed, dtype=_STORED)
    return keys, vectors.reshape(len(keys), -1) if keys else vectors.reshape(0, 0)
