"""Finds paraphrases among questions by their vectors, held against how close questions lie anyway.

Where many questions are about one thing, all of them are alike, and a likeness that means a
paraphrase elsewhere means nothing. So a pair has to be clearly nearer to each other than
both are to their other neighbours, and what each asks besides the words that they share has
to be alike as well. What the words alone say goes first (`similar.compare`).

Source:
    Artetxe and Schwenk 2019, Margin-based parallel corpus mining, section 3, arXiv:1811.01136:
    the margin over the nearest neighbours, here with weights of its own.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy

from pipelines.dataset.checks.similar import Reading, compare, frame_likeness, rest_of
from pipelines.records import Language

if TYPE_CHECKING:
    from pipelines.models.embedder import Embedder, Vectors

_CANDIDATES = 5  # earlier questions, nearest first, that a new one is held against
_NEIGHBOURS = 8
_LEAST_COSINE = 0.5
# Stands in for neighbours that do not exist yet.
_USUAL_COSINE = 0.4
# Weights of cosine, crowd, cosine of the rests and frame: a logistic regression on the tuned half of
# benchmarks/data. The threshold takes two of ten thousand other questions there for paraphrases.
_WEIGHTS = (10.9, -31.8, 4.7, -3.9)
_THRESHOLD = -6.9
# In a crowd only what has nearly the same vector counts.
_NEARLY_SAME, _LEAST_REST = 0.93, 0.4
# The embedded model does not know Chinese: there the share of characters decides, rare ones first.
_LEAST_SHARE_ZH = 0.3
_COMMON_ZH = 50  # a character of more questions, or of more than one in so many, finds nothing
_BLOCK = 256


class ParaphraseFinder:
    """Finds questions that ask the same in other words.

    All questions get numbers in the order in which they are taken up.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._readings: list[Reading] = []
        self._original: list[int] = []  # number of the question that it duplicates, or its own
        self._vectors: Vectors | None = None  # float, (rows, size); grows in blocks
        self._nearest: Vectors = numpy.full((_BLOCK, _NEIGHBOURS + 1), _USUAL_COSINE, dtype=numpy.float32)
        self._before = self._nearest[:0]  # neighbours before the latest questions, if those are to be forgotten
        self._candidates: dict[int, list[int]] = {}
        self._rests: dict[str, Vectors] = {}
        self._holding: Counter[str] = Counter()  # questions by word
        self._languages: Counter[Language] = Counter()
        self._holders: defaultdict[str, list[int]] = defaultdict(list)  # Chinese questions by character

    def take_up(self, questions: Sequence[str], readings: Sequence[Reading], *, among_themselves: bool = True) -> None:
        """Take up questions that are going to be looked for, one after the other.

        Args:
            questions: The questions.
            readings: Their words.
            among_themselves: Whether one of them may be a paraphrase of another.
        """
        start = len(self._readings)
        if not among_themselves:
            self._before = self._nearest[:start].copy()
        self._append(self._embedder.embed(questions))
        self._readings += readings
        self._original += range(start, len(self._readings))
        self._candidates, self._rests = {}, {}
        for number, reading in enumerate(readings, start):
            self._holding.update(set(reading.content))
            self._languages[reading.language] += 1
            if reading.language == "zh":
                for character in set(reading.content):
                    self._holders[character].append(number)
        for first in range(start, len(self._readings), _BLOCK):
            self._compare_block(first, min(first + _BLOCK, len(self._readings)), since=start, among=among_themselves)
        # Embedding the rests one pair at a time would take longer than everything else.
        self._embed_rests(
            rest
            for number, candidates in self._candidates.items()
            for other in candidates
            if self._is_open(number, other)
            for rest in self._rests_of(number, other)
        )

    def find(self, number: int) -> int | None:
        """Return the number of the earlier question that this one paraphrases."""
        originals = dict.fromkeys(self._original[other] for other in self._candidates[number])
        return next((other for other in originals if self._is_paraphrase(number, other)), None)

    def forget_since(self, count: int) -> None:
        """Forget the latest questions, from number `count` on, which were not taken up among themselves."""
        for reading in self._readings[count:]:
            self._holding.subtract(set(reading.content))
            self._languages[reading.language] -= 1
            if reading.language == "zh":
                for character in set(reading.content):
                    self._holders[character].pop()
        del self._readings[count:], self._original[count:]
        self._nearest[:count] = self._before
        self._nearest[count:] = _USUAL_COSINE

    def mark_duplicate(self, number: int, original: int) -> None:
        """Note that a question duplicates an earlier one, which stands for it from now on."""
        self._original[number] = original

    def _append(self, vectors: Vectors) -> None:
        count = len(self._readings)
        if self._vectors is None:
            self._vectors = numpy.zeros((_BLOCK, vectors.shape[1]), dtype=numpy.float32)
        while count + len(vectors) > len(self._vectors):
            self._vectors = numpy.concatenate((self._vectors, numpy.zeros_like(self._vectors)))
            self._nearest = numpy.concatenate((self._nearest, numpy.full_like(self._nearest, _USUAL_COSINE)))
        self._vectors[count : count + len(vectors)] = vectors

    def _compare_block(self, first: int, last: int, *, since: int, among: bool) -> None:
        """Find candidates and neighbours of some questions; `since` here all are new."""
        assert self._vectors is not None
        count = len(self._readings)
        cosines = self._vectors[first:last] @ self._vectors[:count].T
        for number in range(first, last):
            limit = number if among else since
            is_chinese = self._readings[number].language == "zh"
            self._candidates[number] = (
                self._share_characters(number, limit) if is_chinese else _best(cosines[number - first, :limit])
            )
        cosines[numpy.arange(last - first), numpy.arange(first, last)] = -1  # nothing is its own neighbour
        self._nearest[first:last] = _largest(self._nearest[first:last], cosines)
        self._nearest[:since] = _largest(self._nearest[:since], cosines[:, :since].T)

    def _share_characters(self, number: int, limit: int) -> list[int]:
        """Return the Chinese questions before `limit` that share most characters, rare ones first."""
        shared: Counter[int] = Counter()
        for character in set(self._readings[number].content):
            if self._holding[character] <= max(_COMMON_ZH, self._languages["zh"] // _COMMON_ZH):
                weight = self._weight(character, "zh")
                shared.update({other: weight for other in self._holders[character] if other < limit})
        return sorted(shared, key=lambda other: (-shared[other], other))[:_CANDIDATES]

    def _is_paraphrase(self, number: int, other: int) -> bool:
        reading, earlier = self._readings[number], self._readings[other]
        verdict = compare(earlier, reading)
        if verdict != "open":
            return verdict == "same"
        if reading.language == "zh":
            return self._share(earlier, reading) >= _LEAST_SHARE_ZH
        if not self._is_open(number, other):
            return False
        self._embed_rests(self._rests_of(number, other))
        first, second = self._rests_of(number, other)
        rest = float(self._rests[first] @ self._rests[second])
        if self._cosine(number, other) >= _NEARLY_SAME and rest >= _LEAST_REST:
            return True
        return self._score(number, other, rest=rest) >= _THRESHOLD

    def _is_open(self, number: int, other: int) -> bool:
        """Whether the rests of two questions can decide."""
        reading, earlier = self._readings[number], self._readings[other]
        if reading.language == "zh" or compare(earlier, reading) != "open":
            return False
        return self._cosine(number, other) >= _NEARLY_SAME or self._score(number, other, rest=1.0) >= _THRESHOLD

    def _score(self, number: int, other: int, *, rest: float) -> float:
        cosine = self._cosine(number, other)
        crowd = (self._crowd(number, cosine) + self._crowd(other, cosine)) / 2
        reading, earlier = self._readings[number], self._readings[other]
        measured = (cosine, crowd, rest, frame_likeness(earlier, reading))
        return sum(weight * value for weight, value in zip(_WEIGHTS, measured, strict=True))

    def _crowd(self, number: int, cosine: float) -> float:
        """Return the mean cosine of a question's neighbours, without the one at `cosine`."""
        nearest = self._nearest[number]
        excluded = min(nearest.tolist(), key=lambda each: abs(each - cosine) if cosine > nearest.min() else each)
        return float((nearest.sum() - excluded) / _NEIGHBOURS)

    def _cosine(self, number: int, other: int) -> float:
        assert self._vectors is not None
        return float(self._vectors[number] @ self._vectors[other])

    def _share(self, first: Reading, second: Reading) -> float:
        """Return the share of content that both have, by inverse document frequency."""
        one, other = set(first.content), set(second.content)
        either = math.fsum(self._weight(word, first.language) for word in one | other)
        return math.fsum(self._weight(word, first.language) for word in one & other) / either if either else 0.0

    def _weight(self, word: str, language: Language) -> float:
        return math.log((self._languages[language] + 2) / (self._holding[word] + 1))

    def _rests_of(self, number: int, other: int) -> tuple[str, str]:
        reading, earlier = self._readings[number], self._readings[other]
        return rest_of(reading, earlier), rest_of(earlier, reading)

    def _embed_rests(self, rests: Iterable[str]) -> None:
        missing = [rest for rest in dict.fromkeys(rests) if rest not in self._rests]
        if missing:
            self._rests.update(zip(missing, self._embedder.embed(missing), strict=True))


def _best(cosines: Vectors) -> list[int]:
    """Return where the few largest cosines stand, largest first; the earlier first of equal ones."""
    count = min(_CANDIDATES, len(cosines))
    if not count:
        return []
    found = numpy.flatnonzero(cosines >= max(_LEAST_COSINE, float(numpy.partition(cosines, -count)[-count])))
    order = numpy.argsort(-cosines[found], kind="stable")[:count]
    return [int(number) for number in found[order]]


def _largest(known: Vectors, cosines: Vectors) -> Vectors:
    """Return the largest of the known and the new cosines of each row."""
    kept = known.shape[1]
    both = numpy.concatenate((known, cosines), axis=1)
    return numpy.partition(both, -kept, axis=1)[:, -kept:]
