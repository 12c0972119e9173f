"""Vectors in Chroma: the only file that knows chromadb.

The vectors are our own, so Chroma never loads an embedding model; the model's name is kept
with the collection, and another model's vectors are refused. One process may open the
folder at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import chromadb
import chromadb.config
import numpy
from chromadb.errors import ChromaError
from numpy.typing import NDArray

from pipelines.errors import DataError

Vectors = NDArray[numpy.float32]
_COLLECTION = "chunks"
# Chroma's own advice is 50 to 250 a call; SQLite's limit on variables would allow 5,461.
_BATCH = 250


class VectorStore:
    """The vectors of one collection's chunks, compared by cosine."""

    def __init__(self, folder: Path, *, embedder: str) -> None:
        self._folder = folder
        try:
            self._client = chromadb.PersistentClient(
                path=str(folder), settings=chromadb.config.Settings(anonymized_telemetry=False)
            )
            self._collection = self._client.get_or_create_collection(
                _COLLECTION,
                embedding_function=None,
                configuration={"hnsw": {"space": "cosine"}},
                metadata={"embedder": embedder},
            )
        except (ChromaError, ValueError, OSError) as error:
            raise DataError(f"the vector index {folder} cannot be opened: {error}", path=folder) from error
        found = (self._collection.metadata or {}).get("embedder")
        if found != embedder:
            raise DataError(
                f"the vectors in {folder} were made by {found}, not by {embedder}",
                path=folder,
                hint=f"Remove {folder} and add the documents again, or use the former embedder.",
            )

    def upsert(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Store vectors, (ids, size), under `ids`."""
        for start in range(0, len(ids), _BATCH):
            part = slice(start, start + _BATCH)
            self._collection.upsert(ids=list(ids[part]), embeddings=vectors[part])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete vectors; ids that are not there are passed over."""
        for start in range(0, len(ids), _BATCH):
            self._collection.delete(ids=list(ids[start : start + _BATCH]))

    def count(self) -> int:
        """Return how many vectors there are."""
        return int(self._collection.count())

    def nearest(self, vector: Vectors, *, limit: int) -> list[str]:
        """Return the ids of the vectors nearest to one of shape (size,), nearest first."""
        count = self.count()
        if count == 0:
            return []
        found = self._collection.query(
            query_embeddings=vector[None], n_results=min(limit, count), include=["distances"]
        )
        return list(found["ids"][0])

    def cosines(self, vector: Vectors, ids: Sequence[str]) -> dict[str, float]:
        """Return the cosine, in [-1, 1], of one vector of shape (size,) to those under `ids`."""
        found = self._collection.get(ids=list(ids), include=["embeddings"])
        stored = numpy.asarray(found["embeddings"], dtype=numpy.float32)
        if not len(stored):
            return {}
        scores = stored @ vector / numpy.linalg.norm(stored, axis=1)
        return dict(zip(found["ids"], scores.tolist(), strict=True))
