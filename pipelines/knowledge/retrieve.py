"""Finds the passages for a query: dense and keyword search propose, late interaction decides."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy

from pipelines.knowledge import interaction
from pipelines.knowledge.fusion import Scores, Weights, fuse
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.tuning import Tuning, default_tuning
from pipelines.models.catalog import CATALOG
from pipelines.records import Chunk, Language, Passage
from pipelines.text import language_of, search_terms

if TYPE_CHECKING:
    from pipelines.knowledge.vectors import VectorStore
    from pipelines.models.embedder import Embedder, TokenVectors, Vectors

# What either search proposes. A pool of 60 loses nothing that one of 200 finds (BENCHMARKS.md).
POOL = 50
# Chunks with no more between them than a heading or a blank line stand beside each other.
_BESIDE_CHARS = 200
_ALL = -1  # SQLite's limit that limits nothing


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
        words: The best BM25, as a share of the query's inverse document frequencies.
    """

    chunks: Sequence[Chunk]
    dense: Scores
    keyword: Scores
    own: Scores | None
    around: Scores | None
    words: float

    def coverage(self, weights: Weights) -> Scores | None:
        """Return how well each chunk covers the query, float, (chunks,); None if nothing tells."""
        if self.own is None or self.around is None:
            return None
        return (1 - weights.around) * self.own + weights.around * self.around

    def scores(self, weights: Weights) -> Scores:
        """Return the fused score of each chunk; float, (chunks,)."""
        return fuse(weights, dense=self.dense, keyword=self.keyword, coverage=self.coverage(weights))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        passages: The passages, best first.
        answerable: How likely it is that the documents answer the query at all, from 0 to 1.
    """

    passages: list[Passage]
    answerable: float


class Retriever:
    """Finds passages in one collection."""

    def __init__(
        self, ledger: KnowledgeLedger, store: VectorStore, embedder: Embedder, *, tuning: Tuning | None = None
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._embedder = embedder
        self._tuning = tuning or default_tuning(embedder.name)
        self._frequency = functools.lru_cache(maxsize=10_000)(ledger.frequency)

    @property
    def embedder(self) -> str:
        """Name of the embedder."""
        return self._embedder.name

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text, as the collection's embedder counts them."""
        return self._embedder.tokenize(text)

    def search(self, query: str, *, top_k: int, among: Sequence[str] | None = None) -> list[Passage]:
        """Find the passages for `query`, best first."""
        return self.find(query, top_k=top_k, among=among).passages

    def answerable(self, query: str) -> float:
        """Return how likely it is that the documents answer `query` at all, from 0 to 1."""
        return self.find(query, top_k=1).answerable

    def find(self, query: str, *, top_k: int, among: Sequence[str] | None = None) -> Found:
        """Find the passages for a query, and how likely they are to answer it.

        Args:
            query: What to look for.
            top_k: Most passages.
            among: Ids of the chunks to choose from, if not all; none of them is missed.
        """
        pool = self.pool(query, among=among)
        scores = pool.scores(self._tuning.weights_for(query))
        best = sorted(range(len(pool.chunks)), key=lambda each: (-scores[each], pool.chunks[each].id))
        passages = [
            Passage(chunk=pool.chunks[each], score=float(scores[each]), cosine=float(pool.dense[each]))
            for each in best[:top_k]
        ]
        return Found(passages=passages, answerable=self._tuning.answerable(query, pool))

    def pool(self, query: str, *, among: Sequence[str] | None = None) -> Pool:
        """Return what both searches propose for a query, and how each scores it."""
        vector, asked = self._embed(query)
        keyword = self._keyword(query, among)
        found = self._ledger.find_chunks([*self._store.nearest(vector, limit=POOL, among=among), *keyword])
        chunks = list(found.values())
        is_known = self._knows(query)
        cosines = self._store.cosines(vector, list(found)) if found and is_known else {}
        own, around = self._coverage(query, asked, chunks) if asked and is_known and chunks else (None, None)
        return Pool(
            chunks=chunks,
            dense=numpy.array([cosines.get(chunk.id, 0.0) for chunk in chunks], dtype=float),
            keyword=numpy.array([keyword.get(chunk.id, 0.0) for chunk in chunks], dtype=float),
            own=own,
            around=around,
            words=max(keyword.values(), default=0.0) / self._rarity(query) if keyword else 0.0,
        )

    def texts(self) -> list[str]:
        """Return the text of every chunk of the collection."""
        return [chunk.text for chunk in self._ledger.chunks()]

    def _knows(self, query: str) -> bool:
        """Whether the embedder knows the language of a query; what it says of another is noise, so words decide."""
        known = (model.languages for model in CATALOG if self._embedder.name.startswith(model.name))
        return language_of(query) in next(known, get_args(Language))

    def _keyword(self, query: str, among: Sequence[str] | None) -> dict[str, float]:
        """Return the chunks that keywords propose, and their BM25 scores."""
        if among is None:
            return dict(self._ledger.search(query, limit=POOL))
        wanted = set(among)
        matches = (match for match in self._ledger.search(query, limit=_ALL) if match[0] in wanted)
        return dict(itertools.islice(matches, POOL))

    def _rarity(self, query: str) -> float:
        """Return the sum of the inverse document frequencies of a query's terms, which has some."""
        chunks = self._ledger.count()[1]
        terms = dict.fromkeys(search_terms(query))
        found = (self._frequency(term) for term in terms)
        return sum(interaction.rarity(each, chunks=chunks) for each in found if each is not None)

    def _embed(self, query: str) -> tuple[Vectors, TokenVectors | None]:
        """Return the vector of a query, and its tokens with theirs where the embedder tells of them."""
        if not self._embedder.has_tokens:
            return self._embedder.embed([query], kind="query")[0], None
        vectors, [asked] = self._embedder.embed_both([query], kind="query")
        return vectors[0], asked

    def _coverage(self, query: str, asked: TokenVectors, chunks: Sequence[Chunk]) -> tuple[Scores, Scores]:
        """Return how well each chunk covers the query, alone and with its neighbours."""
        if not asked.tokens:
            return numpy.zeros(len(chunks)), numpy.zeros(len(chunks))
        signs = self._store.signs([chunk.id for chunk in chunks])
        matches = interaction.token_matches(asked.vectors, [signs.get(chunk.id, b"") for chunk in chunks])
        weights = interaction.query_weights(
            query, asked.tokens, self._embedder, frequency=self._frequency, chunks=self._ledger.count()[1]
        )
        weights = weights / weights.sum()
        return matches @ weights, _with_neighbours(matches, chunks) @ weights


def _with_neighbours(matches: numpy.ndarray, chunks: Sequence[Chunk]) -> numpy.ndarray:
    """Return the best match of each token in a chunk or in those of the pool that stand beside it."""
    order = sorted(range(len(chunks)), key=lambda each: (chunks[each].document, chunks[each].start))
    best = matches.copy()
    for first, second in itertools.pairwise(order):
        one, other = chunks[first], chunks[second]
        if one.document == other.document and other.start - one.end <= _BESIDE_CHARS:
            best[first] = numpy.maximum(best[first], matches[second])
            best[second] = numpy.maximum(best[second], matches[first])
    return best
