"""Finds the passages for a query: dense and keyword search propose, late interaction decides."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pipelines.knowledge import interaction
from pipelines.knowledge.fusion import DEFAULT_WEIGHTS, Scores, Weights, fuse
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.records import Chunk, Passage

if TYPE_CHECKING:
    from pipelines.knowledge.stored import StoredVectors
    from pipelines.knowledge.vectors import VectorStore
    from pipelines.models.embedder import Embedder

# What either search proposes. A pool of 60 loses nothing that one of 200 finds (BENCHMARKS.md).
POOL = 50
# Chunks with no more between them than a heading or a blank line stand beside each other.
_BESIDE_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What both searches propose for a query, with each one's score.

    Attributes:
        chunks: The chunks, each once.
        dense: Cosine of query and chunk; float, (chunks,).
        keyword: BM25, 0 without a match; float, (chunks,).
        own: How well the chunk covers the query, from -1 to 1; float, (chunks,). None if the
            embedder tells nothing of tokens.
        around: The same, where a token may also be found in a neighbour of the pool.
    """

    chunks: Sequence[Chunk]
    dense: Scores
    keyword: Scores
    own: Scores | None
    around: Scores | None

    def scores(self, weights: Weights) -> Scores:
        """Return the fused score of each chunk; float, (chunks,)."""
        coverage = None
        if self.own is not None and self.around is not None:
            coverage = (1 - weights.around) * self.own + weights.around * self.around
        return fuse(weights, dense=self.dense, keyword=self.keyword, coverage=coverage)


class Retriever:
    """Finds passages in one collection."""

    def __init__(
        self,
        ledger: KnowledgeLedger,
        store: VectorStore,
        stored: StoredVectors,
        embedder: Embedder,
        *,
        weights: Weights = DEFAULT_WEIGHTS,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._stored = stored
        self._embedder = embedder
        self._weights = weights
        self._frequency = functools.lru_cache(maxsize=10_000)(ledger.frequency)

    def search(self, query: str, *, top_k: int) -> list[Passage]:
        """Find the passages for `query`, best first."""
        pool = self.pool(query)
        scores = pool.scores(self._weights)
        best = sorted(range(len(pool.chunks)), key=lambda each: (-scores[each], pool.chunks[each].id))
        return [
            Passage(chunk=pool.chunks[each], score=float(scores[each]), cosine=float(pool.dense[each]))
            for each in best[:top_k]
        ]

    def pool(self, query: str) -> Pool:
        """Return what both searches propose for a query, and how each scores it."""
        vector = self._embedder.embed([query], kind="query")[0]
        keyword = dict(self._ledger.search(query, limit=POOL))
        found = self._ledger.find_chunks([*self._store.nearest(vector, limit=POOL), *keyword])
        chunks = list(found.values())
        cosines = self._store.cosines(vector, list(found)) if found else {}
        own, around = self._coverage(query, chunks) if self._embedder.has_tokens and chunks else (None, None)
        return Pool(
            chunks=chunks,
            dense=numpy.array([cosines.get(chunk.id, 0.0) for chunk in chunks], dtype=float),
            keyword=numpy.array([keyword.get(chunk.id, 0.0) for chunk in chunks], dtype=float),
            own=own,
            around=around,
        )

    def texts(self) -> list[str]:
        """Return the text of every chunk of the collection."""
        return [chunk.text for chunk in self._ledger.chunks()]

    def _coverage(self, query: str, chunks: Sequence[Chunk]) -> tuple[Scores, Scores]:
        """Return how well each chunk covers the query, alone and with its neighbours."""
        [asked] = self._embedder.embed_tokens([query])
        if not asked.tokens:
            return numpy.zeros(len(chunks)), numpy.zeros(len(chunks))
        signs = self._stored.signs(chunks)
        matches = interaction.token_matches(asked.vectors, [signs.get(chunk.id, b"") for chunk in chunks])
        weights = interaction.query_weights(
            query,
            asked.tokens,
            self._embedder,
            frequency=self._frequency,
            chunks=self._ledger.count()[1],
        )
        weights = weights / weights.sum()
        return matches @ weights, _with_neighbours(matches, chunks) @ weights


def _with_neighbours(matches: numpy.ndarray, chunks: Sequence[Chunk]) -> numpy.ndarray:
    """Return the best match of each token in a chunk or in those of the pool that stand beside it."""
    order = sorted(range(len(chunks)), key=lambda each: (chunks[each].document, chunks[each].start))
    best = matches.copy()
    for first, second in zip(order, order[1:], strict=False):
        if chunks[first].document == chunks[second].document and chunks[second].start - chunks[first].end <= _BESIDE_CHARS:
            best[first] = numpy.maximum(best[first], matches[second])
            best[second] = numpy.maximum(best[second], matches[first])
    return best
