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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy

from pipelines.models.embedder import Embedder, TokenVectors, Vectors
from pipelines.records import Chunk, Language
from pipelines.text import fold_space, language_of, search_terms, sentence_spans

# Below, the sentence has nothing to do with the question: by what its language's model tells, and
# by shared words where there is none. Measured in BENCHMARKS.md.
_LEAST_LIKENESS: dict[Language, float] = {"en": 0.44, "zh": 0.81}
_LEAST_SHARED = 0.15
_LEAST_WEIGHT = 0.05
# Chunks whose tokens' vectors are kept; each takes about 80 kB.
_KEPT_CHUNKS = 1_000
# So many chunks, spread over all, tell how rare a token is.
_DRAWN_CHUNKS = 5_000


@dataclass(frozen=True, kw_only=True)
class NearestSentence:
    """A sentence, and the number, from 1, of the passage that holds it."""

    text: str
    number: int
    likeness: float  # from 0 to 1
    is_near: bool  # whether it can be an answer at all


class NearestFinder:
    """Finds nearest sentences; sentences of a chunk are embedded once for each language of questions."""

    def __init__(self, embedder_of: Callable[[Language], Embedder | None], texts: Iterable[str]) -> None:
        """Take what is needed.

        Args:
            embedder_of: Gives the model that knows a language; None if there is none, so that
                shared words decide. Asked when the first question in that language comes.
            texts: The chunks of the collection, which tell how rare a token is.
        """
        self._embedder_of = embedder_of
        whole = list(texts)
        self._texts = whole[:: 1 + len(whole) // _DRAWN_CHUNKS]
        self._coverages: dict[Language, _Coverage | None] = {}

    def find(self, question: str, chunks: Sequence[Chunk]) -> NearestSentence | None:
        """Return the sentence nearest to the question; None where there are no sentences."""
        said = [_sentences(chunk) for chunk in chunks]
        sentences = [(text, number) for number, texts in enumerate(said, 1) for text in texts]
        if not sentences:
            return None
        language = language_of(question)
        coverage = self._coverage_of(language)
        if coverage is None:
            scores, least = [_shared(question, text) for text, _number in sentences], _LEAST_SHARED
        else:
            scores, least = coverage.score(question, chunks), _LEAST_LIKENESS[language]
        best = int(numpy.argmax(scores))
        text, number = sentences[best]
        likeness = float(scores[best])
        return NearestSentence(text=text, number=number, likeness=likeness, is_near=likeness >= least)

    def _coverage_of(self, language: Language) -> _Coverage | None:
        if language not in self._coverages:
            embedder = self._embedder_of(language)
            self._coverages[language] = None if embedder is None else _Coverage(embedder, self._texts)
        return self._coverages[language]


class _Coverage:
    """How much of a question sentences cover, as one model tells it."""

    def __init__(self, embedder: Embedder, texts: Sequence[str]) -> None:
        self._embedder = embedder
        self._known: dict[str, list[TokenVectors]] = {}
        self._texts = len(texts)
        self._holding: Counter[int] = Counter()
        for text in texts:
            self._holding.update(set(embedder.tokenize(text)))

    def score(self, question: str, chunks: Sequence[Chunk]) -> list[float]:
        """Return it for each sentence of each chunk, from 0 to 1."""
        self._learn([chunk for chunk in chunks if chunk.id not in self._known])
        sentences = [vectors.vectors for chunk in chunks for vectors in self._known[chunk.id]]
        [asked] = self._embedder.embed_tokens([question])
        weights = numpy.array([self._weight(token) for token in asked.tokens])
        if not len(weights):
            return [0.0] * len(sentences)
        return [float(_likest(asked.vectors, each) @ weights / weights.sum()) for each in sentences]

    def _weight(self, token: int) -> float:
        """Return the inverse document frequency of a token."""
        return max(_LEAST_WEIGHT, math.log((self._texts + 1) / (self._holding[token] + 0.5)))

    def _learn(self, chunks: Sequence[Chunk]) -> None:
        said = [_sentences(chunk) for chunk in chunks]
        vectors = iter(self._embedder.embed_tokens([text for texts in said for text in texts]))
        for chunk, texts in zip(chunks, said, strict=True):
            self._known[chunk.id] = [_halved(next(vectors)) for _text in texts]
        while len(self._known) > _KEPT_CHUNKS + len(chunks):
            del self._known[next(iter(self._known))]


def _sentences(chunk: Chunk) -> list[str]:
    return [fold_space(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)]


def _likest(asked: Vectors, sentence: Vectors) -> Vectors:
    """Return how like each token of a question the likest one of a sentence is; float, (tokens,)."""
    if not len(sentence):
        return numpy.zeros(len(asked), dtype=numpy.float32)
    likest: Vectors = (asked @ sentence.T).max(axis=1)
    return likest


def _halved(vectors: TokenVectors) -> TokenVectors:
    return TokenVectors(vectors.tokens, vectors.vectors.astype(numpy.float16))


def _shared(question: str, sentence: str) -> float:
    """Return the share of the question's terms that the sentence has."""
    wanted, found = set(search_terms(question)), set(search_terms(sentence))
    return len(wanted & found) / (len(wanted) + 0.1 * len(found)) if wanted else 0.0
