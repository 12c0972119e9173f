"""The sentence of some passages that is nearest to a question.

Told to the model with the question, it takes most of the search off a small student, which
is left to judge whether the sentence answers, and to look further if it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from pipelines.models.embedder import Embedder, Vectors
from pipelines.records import Chunk
from pipelines.text import fold_space, language_of, search_terms, sentence_spans


@dataclass(frozen=True, kw_only=True)
class NearestSentence:
    """A sentence, and the number, from 1, of the passage that holds it."""

    text: str
    number: int
    likeness: float  # cosine to the question in English, share of its terms in Chinese


class NearestFinder:
    """Finds nearest sentences; sentences of a chunk are embedded once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, tuple[list[str], Vectors]] = {}

    def find(self, question: str, chunks: Sequence[Chunk]) -> NearestSentence | None:
        """Return the sentence nearest to the question; None where there are no sentences.

        By cosine for English; by shared words for Chinese, which the embedded model of
        sentences does not know.
        """
        missing = [chunk for chunk in chunks if chunk.id not in self._known]
        self._learn(missing)
        sentences = [(text, number) for number, chunk in enumerate(chunks, 1) for text in self._known[chunk.id][0]]
        if not sentences:
            return None
        if language_of(question) == "zh":
            scores = numpy.array([_shared(question, text) for text, _number in sentences])
        else:
            vectors = numpy.concatenate([self._known[chunk.id][1] for chunk in chunks])
            scores = vectors @ self._embedder.embed([question])[0]
        best = int(scores.argmax())
        text, number = sentences[best]
        return NearestSentence(text=text, number=number, likeness=float(scores[best]))

    def _learn(self, chunks: Sequence[Chunk]) -> None:
        found = [[fold_space(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)] for chunk in chunks]
        vectors = self._embedder.embed([text for texts in found for text in texts])
        position = 0
        for chunk, texts in zip(chunks, found, strict=True):
            self._known[chunk.id] = (texts, vectors[position : position + len(texts)])
            position += len(texts)


def _shared(question: str, sentence: str) -> float:
    """Return the share of the question's terms that the sentence has."""
    wanted, found = set(search_terms(question)), set(search_terms(sentence))
    return len(wanted & found) / (len(wanted) + 0.1 * len(found)) if wanted else 0.0
