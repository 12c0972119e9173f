"""Finds questions that were asked before: to the letter, nearly so, or in other words.

Exactly, by the text without case, punctuation and spaces; nearly, by MinHash over the pieces
of the words that carry meaning, every candidate then compared word by word; in other words,
by vectors. Of two questions that differ in a number, a negation, an opposite or a word in
another's place neither is a duplicate, however alike they are (`similar.compare`).

Source:
    Broder 1997, On the resemblance and containment of documents, section 3 (MinHash).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import rensa

from pipelines.dataset.checks.paraphrases import ParaphraseFinder
from pipelines.dataset.checks.similar import Reading, is_same, jaccard, normalized, read_question

if TYPE_CHECKING:
    from pipelines.models.embedder import Embedder

DuplicateKind = Literal["exact_duplicate", "near_duplicate", "paraphrase"]

_PERMUTATIONS, _BANDS, _SEED = 128, 32, 1
# Share of the pieces of their words that near duplicates have in common at the least.
_NEAR = 0.6
_REASONS: dict[DuplicateKind, str] = {
    "exact_duplicate": "the question was asked before",
    "near_duplicate": "nearly the same question was asked before",
    "paraphrase": "the question was asked before in other words",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a question is a duplicate, and of which."""

    check: DuplicateKind
    number: int  # of the earlier question, among those that were not there to the letter
    of: str  # the earlier question

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return f"{_REASONS[self.check]}: {self.of}"


class _Taken(NamedTuple):
    """A question that is being checked."""

    number: int
    minhash: rensa.RMinHash


class DuplicateFinder:
    """Finds duplicates among the questions it has seen; the first of them is kept.

    Without an embedder, paraphrases are not looked for.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._questions: list[str] = []  # each but for exact duplicates, by number
        self._readings: list[Reading] = []
        self._original: dict[str, int] = {}  # by text without case and the like
        self._stands_for: dict[int, int] = {}  # by number, the question that it duplicates, or itself
        self._index = rensa.RMinHashLSH(_NEAR, _PERMUTATIONS, _BANDS)
        self._paraphrases = ParaphraseFinder(embedder) if embedder is not None else None

    def check(self, question: str) -> Problem | None:
        """Return of what the question is a duplicate; else None, and it is remembered."""
        [problem] = self.check_all([question])
        return problem

    def check_all(self, questions: Sequence[str]) -> list[Problem | None]:
        """Check questions in their order; those that are no duplicates are remembered.

        What is a paraphrase depends on how close questions lie, so it is told better of many
        questions at once than of each alone.
        """
        keys = [normalized(question) for question in questions]
        # What was asked to the letter is neither read nor embedded.
        fresh: dict[str, str] = {}
        for key, question in zip(keys, questions):
            if key not in self._original:
                fresh.setdefault(key, question)
        taken = dict(zip(fresh, self._take_up(list(fresh.values()), among_themselves=True)))
        return [self._check(key, taken) for key in keys]

    def look_up(self, questions: Sequence[str]) -> list[Problem | None]:
        """Return of which remembered question each is a duplicate; remember none."""
        count = len(self._questions)
        taken = self._take_up(questions, among_themselves=False)
        problems = [self._find(normalized(question), each) for question, each in zip(questions, taken)]
        del self._questions[count:], self._readings[count:]
        if self._paraphrases is not None and questions:
            self._paraphrases.forget_since(count)
        return problems

    def _take_up(self, questions: Sequence[str], *, among_themselves: bool) -> list[_Taken]:
        """Read, hash and embed questions, and give them numbers."""
        start = len(self._questions)
        readings = [read_question(question) for question in questions]
        pieces = [sorted(each.shingles) for each in readings]
        hashes = rensa.RMinHash.from_token_sets(pieces, _PERMUTATIONS, _SEED)
        if self._paraphrases is not None and questions:
            self._paraphrases.take_up(questions, readings, among_themselves=among_themselves)
        self._questions += questions
        self._readings += readings
        return [_Taken(number, minhash) for number, minhash in enumerate(hashes, start)]

    def _check(self, key: str, taken: Mapping[str, _Taken]) -> Problem | None:
        problem = self._find(key, taken.get(key))
        if key in self._original:
            return problem
        number, minhash = taken[key]
        # What resembles a duplicate is a duplicate of the same.
        self._original[key] = self._stands_for[number] = number if problem is None else problem.number
        self._index.insert(number, minhash)
        if problem is not None and self._paraphrases is not None:
            self._paraphrases.mark_duplicate(number, problem.number)
        return problem

    def _find(self, key: str, taken: _Taken | None) -> Problem | None:
        if key in self._original:
            return self._problem("exact_duplicate", self._original[key])
        assert taken is not None
        near = self._find_near(taken)
        if near is not None:
            return self._problem("near_duplicate", near)
        found = self._paraphrases.find(taken.number) if self._paraphrases is not None else None
        return None if found is None else self._problem("paraphrase", found)

    def _find_near(self, taken: _Taken) -> int | None:
        reading = self._readings[taken.number]
        for other in sorted(self._index.query(taken.minhash)):
            earlier = self._readings[other]
            if jaccard(reading.shingles, earlier.shingles) >= _NEAR and is_same(earlier, reading):
                return self._stands_for[other]
        return None

    def _problem(self, check: DuplicateKind, original: int) -> Problem:
        return Problem(check=check, number=original, of=self._questions[original])
