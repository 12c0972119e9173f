"""The check that an answer's quote is about the question: small teachers prove the wrong thing word for word."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.models.embedder import Embedder, Vectors
from pipelines.records import Chunk, Example, Rejection, rejected
from pipelines.text import fold_space, sentence_spans

SCORE = "relevance"
# The quoted sentence is among the nearest of its passage, or near in itself, and never far off.
_NEAREST = 3
_NEAR, _FAR = 0.5, 0.25


class RelevanceCheck:
    """Rejects examples whose quotes are further from the question than most of the passage; is itself a `Check`.

    It judges English only, which the packaged embedder knows; what a writer has measured already
    is not measured again.

    Source:
        Alberti et al. 2019, Synthetic QA Corpora Generation with Roundtrip Consistency,
        arXiv:1906.05416 (the idea that a question has to lead back to its answer).
    """

    def __init__(self, chunks: Mapping[str, Chunk], embedder: Embedder) -> None:
        self._chunks = chunks
        self._embedder = embedder
        self._vectors: dict[str, dict[str, Vectors]] = {}

    def __call__(self, example: Example) -> Example | Rejection:
        """Return the example with its cosine, or why it is dropped."""
        if example.language != "en" or not example.quotes or "cosine" in example.scores:
            return example
        sources = [self._chunks[source] for source in example.sources if source in self._chunks]
        quoted = {fold_space(quote.quote) for quote in example.quotes}
        [asked] = self._embedder.embed([example.question], kind="query")
        cosines = {said: float(vector @ asked) for chunk in sources for said, vector in self._sentences(chunk).items()}
        own = max((cosine for said, cosine in cosines.items() if said in quoted), default=0.0)
        rank = 1 + sum(cosine > own for said, cosine in cosines.items() if said not in quoted)
        if own < _FAR or (own < _NEAR and rank > _NEAREST):
            reason = f"the quote is not about the question: cosine {own:.2f}, {rank} of {len(cosines)} in its passage"
            return rejected(example, check="relevance", reason=reason)
        return example.model_copy(update={"scores": {**example.scores, SCORE: round(own, 4)}})

    def _sentences(self, chunk: Chunk) -> dict[str, Vectors]:
        """Return the sentences of a passage with their vectors, computed once."""
        if chunk.id not in self._vectors:
            said = list(dict.fromkeys(fold_space(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)))
            self._vectors[chunk.id] = dict(zip(said, self._embedder.embed(said), strict=True)) if said else {}
        return self._vectors[chunk.id]
