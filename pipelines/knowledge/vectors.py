"""The vectors of a collection, to be searched: exactly, or in Chroma where there are many.

Up to some 20,000 texts, all cosines are quicker than an approximate index and miss nothing. They are
also what answers while the index is another process's, or behind what is stored: a search waits for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy

from pipelines.errors import DataError
from pipelines.knowledge.stored import IndexVersion, StoredVectors, Vectors
from pipelines.operation import Context

EXACT_UP_TO = 20_000


class VectorIndex(Protocol):
    """An approximate index of stored vectors."""

    def nearest(self, vector: Vectors, *, limit: int, stamp: str) -> list[str] | None:
        """Return the keys of the nearest texts, best first; None unless it holds what `stamp` names."""

    def fill(self, stored: StoredVectors, context: Context) -> bool:
        """Make the index hold what is stored; return whether it was free for that."""

    def drop(self) -> bool:
        """Remove the index; return whether it was free for that."""

    def holder(self) -> str:
        """Return who has the index open, as it is told to people."""


class VectorStore:
    """The vectors of one collection's chunks, compared by cosine."""

    def __init__(
        self, stored: StoredVectors, version: IndexVersion, index: VectorIndex, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        self._stored = stored
        self._version = version
        self._index = index
        self._exact_up_to = exact_up_to
        self._changes = -1
        self._stamp = ""
        self._is_exact = True
        self._all: tuple[list[str], Vectors] | None = None

    def nearest(self, vector: Vectors, *, limit: int, among: Sequence[str] | None = None) -> list[str]:
        """Return the ids of the chunks nearest to a vector of shape (size,), nearest first.

        Args:
            vector: What to compare with, of length 1.
            limit: Most ids to return.
            among: Chunks to choose from, if not all; each of them is compared, so none is missed.

        Raises:
            DataError: The stored vectors are of another size, or another embedder's.
        """
        self._stored.check_size(vector, self._version.embedder)
        if among is not None:
            cosines = self.cosines(vector, among)
            return sorted(cosines, key=lambda chunk: (-cosines[chunk], chunk))[:limit]
        self._refresh()
        texts = None if self._is_exact else self._index.nearest(vector, limit=limit, stamp=self._stamp)
        if texts is None:
            self._is_exact = True
            texts = self._nearest_exactly(vector, limit)
        return self._stored.chunks_of(texts)[:limit]

    def cosines(self, vector: Vectors, ids: Sequence[str]) -> dict[str, float]:
        """Return the cosine, in [-1, 1], of one vector of shape (size,) to those of the chunks `ids`."""
        found, vectors = self._stored.vectors_of_chunks(ids, self._version.embedder)
        return dict(zip(found, (vectors @ vector).tolist(), strict=True)) if found else {}

    def signs(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the signs of the tokens of those of the chunks `ids` that have some."""
        return self._stored.signs(ids, self._version.embedder)

    def count(self) -> int:
        """Return how many texts have vectors."""
        return self._stored.count(self._version.embedder)

    def _nearest_exactly(self, vector: Vectors, limit: int) -> list[str]:
        if self._all is None:
            self._all = self._stored.all_vectors(self._version.embedder)
        texts, vectors = self._all
        if not texts:
            return []
        scores = vectors @ vector
        best = numpy.arange(len(scores))
        if limit < len(scores):
            best = numpy.sort(numpy.argpartition(-scores, limit)[:limit])
        return [texts[row] for row in best[numpy.argsort(-scores[best], kind="stable")]]

    def _refresh(self) -> None:
        """Take note of what others have stored since the last search."""
        changes = self._stored.changes()
        if changes == self._changes:
            return
        stamp = self._stored.stamp(self._version.embedder)
        if stamp != self._stamp:
            self._check_serving()
            self._stamp, self._all = stamp, None
            self._is_exact = self.count() <= self._exact_up_to
        self._changes = changes

    def _check_serving(self) -> None:
        serving = self._stored.serving()
        if serving is not None and serving.embedder != self._version.embedder:
            raise DataError(
                f"the collection was meanwhile embedded by {serving.embedder}, not by {self._version.embedder}",
                hint="Start this again.",
            )
