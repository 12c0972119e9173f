"""The sentence of some passages that is nearest to a question, and whether it is about it at all.

Told to the model with the question, it takes most of the search off a small student. It is
found by late interaction: each token of the question is matched with the token of the
sentence that is likest to it in context, and rare tokens count more. What the question is
about has to occur, in these or other words; that it sounds alike is not enough.

Source:
    Khattab and Zaharia 2020, ColBERT, section 3.3, arXiv:2004.12832 (MaxSim); weighted here
    by inverse document frequency, Robertson and Zaragoza 2009, section 3.2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy

from pipelines.models.embedder import Embedder, TokenVectors, Vectors
from pipelines.records import Chunk, Language
from pipelines.text import fold_space, language_of, search_terms, sentence_spans

# Below, the sentence has nothing to do with the question. Measured in BENCHMARKS.md.
_LEAST_LIKENESS: dict[Language, float] = {"en": 0.44, "zh": 0.15}
_LEAST_WEIGHT = 0.05
# Chunks whose tokens' vectors are kept; each takes about 80 kB.
_KEPT_CHUNKS = 1_000


@dataclass(frozen=True, kw_only=True)
class NearestSentence:
    """A sentence, and the number, from 1, of the passage that holds it."""

    text: str
    number: int
    likeness: float  # from 0 to 1
    is_near: bool  # whether it can be an answer at all


class NearestFinder:
    """Finds nearest sentences; sentences of a chunk are embedded once."""

    def __init__(self, embedder: Embedder, texts: Iterable[str]) -> None:
        """Remember how rare tokens are in `texts`, the chunks of the collection."""
        self._embedder = embedder
        self._known: dict[str, list[tuple[str, TokenVectors]]] = {}
        self._holding: Counter[int] = Counter()
        self._texts = 0
        for text in texts:
            self._texts += 1
            self._holding.update(set(embedder.tokenize(text)))

    def find(self, question: str, chunks: Sequence[Chunk]) -> NearestSentence | None:
        """Return the sentence nearest to the question; None where there are no sentences.

        For Chinese by shared words, because the embedded model of sentences does not know it.
        """
        language = language_of(question)
        self._learn([chunk for chunk in chunks if chunk.id not in self._known])
        sentences = [(*entry, number) for number, chunk in enumerate(chunks, 1) for entry in self._known[chunk.id]]
        if not sentences:
            return None
        if language == "zh":
            scores = [_shared(question, text) for text, _vectors, _number in sentences]
        else:
            scores = self._coverages(question, [vectors.vectors for _text, vectors, _number in sentences])
        best = int(numpy.argmax(scores))
        text, _vectors, number = sentences[best]
        likeness = float(scores[best])
        return NearestSentence(
            text=text, number=number, likeness=likeness, is_near=likeness >= _LEAST_LIKENESS[language]
        )

    def _coverages(self, question: str, sentences: Sequence[Vectors]) -> list[float]:
        """Return how much of the question each sentence covers."""
        [asked] = self._embedder.embed_tokens([question])
        weights = numpy.array([self._weight(token) for token in asked.tokens])
        if not len(weights):
            return [0.0] * len(sentences)
        likest = [(asked.vectors @ each.T).max(axis=1) if len(each) else 0 * weights for each in sentences]
        return [float(each @ weights / weights.sum()) for each in likest]

    def _weight(self, token: int) -> float:
        """Return the inverse document frequency of a token."""
        return max(_LEAST_WEIGHT, math.log((self._texts + 1) / (self._holding[token] + 0.5)))

    def _learn(self, chunks: Sequence[Chunk]) -> None:
        found = [[fold_space(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)] for chunk in chunks]
        vectors = iter(self._embedder.embed_tokens([text for texts in found for text in texts]))
        for chunk, texts in zip(chunks, found, strict=True):
            self._known[chunk.id] = [(text, _halved(next(vectors))) for text in texts]
        while len(self._known) > _KEPT_CHUNKS + len(chunks):
            del self._known[next(iter(self._known))]


def _halved(vectors: TokenVectors) -> TokenVectors:
    return TokenVectors(vectors.tokens, vectors.vectors.astype(numpy.float16))


def _shared(question: str, sentence: str) -> float:
    """Return the share of the question's terms that the sentence has."""
    wanted, found = set(search_terms(question)), set(search_terms(sentence))
    return len(wanted & found) / (len(wanted) + 0.1 * len(found)) if wanted else 0.0
