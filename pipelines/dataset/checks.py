"""The checks every draft passes, cheap first; each rejection names its check."""

from __future__ import annotations

import re
from collections import defaultdict

from pipelines.dataset.writers import Draft
from pipelines.prompting import is_refusal
from pipelines.records import Rejection
from pipelines.text import fold_space, language_of, words

_QUESTION_MARK = re.compile(r"[?？]$")
# The reader of a question has not seen the passage; the question must not speak of it.
_POINTS_AT_PASSAGE = re.compile(
    r"\b(?:the|this|that|given|above|following) (?:passage|text|document|excerpt|paragraph|sentence|article|fact)\b"
    r"|according to (?:the|this) |mentioned (?:above|here)|(?:本文|文中|上文|这段|该段|段落|文档中)",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"\bas an ai\b|\blanguage model\b|\bi cannot\b|\bi'm sorry\b|作为.{0,6}(?:AI|人工智能|语言模型)", re.IGNORECASE
)
_FEWEST_WORDS, _MOST_WORDS = 3, 60
# Share of the words of two questions that are the same (Jaccard index).
_NEAR = 0.8


def _problem(draft: Draft) -> tuple[str, str] | None:
    question, answer = draft.question, draft.answer
    count = len(words(question))
    if not _FEWEST_WORDS <= count <= _MOST_WORDS:
        return "length", f"the question has {count} words"
    if not _QUESTION_MARK.search(question):
        return "form", "the question does not end with a question mark"
    if _POINTS_AT_PASSAGE.search(question):
        return "points_at_passage", "the question speaks of the passage itself"
    if answer != fold_space(draft.quote.quote) and _POINTS_AT_PASSAGE.search(answer):
        return "points_at_passage", "the answer speaks of the passage, which nobody sees as such"
    if _BOILERPLATE.search(question) or _BOILERPLATE.search(answer) or is_refusal(answer):
        return "boilerplate", "the teacher speaks of itself, or refuses"
    if language_of(question) != language_of(draft.chunk.text):
        return "language", "the question is in another language than the passage"
    return None


class DuplicateFinder:
    """Finds exact and near duplicates among the questions it has seen."""

    def __init__(self) -> None:
        self._questions: list[frozenset[str]] = []
        self._exact: set[tuple[str, ...]] = set()
        self._holding: dict[str, list[int]] = defaultdict(list)

    def check(self, question: str) -> tuple[str, str] | None:
        """Return check and reason if the question is a duplicate; else remember it."""
        said = words(question)
        if tuple(said) in self._exact:
            return "exact_duplicate", "the question was asked before"
        unique = frozenset(said)
        shared: dict[int, int] = defaultdict(int)
        for word in unique:
            for number in self._holding[word]:
                shared[number] += 1
        for number, count in shared.items():
            if count / (len(unique) + len(self._questions[number]) - count) >= _NEAR:
                return "near_duplicate", "nearly the same question was asked before"
        for word in unique:
            self._holding[word].append(len(self._questions))
        self._exact.add(tuple(said))
        self._questions.append(unique)
        return None


def check_draft(draft: Draft, duplicates: DuplicateFinder) -> Rejection | None:
    """Return why a draft is not usable; None, and its question is remembered, if it is."""
    problem = _problem(draft) or duplicates.check(draft.question)
    if problem is None:
        return None
    check, reason = problem
    return Rejection(check=check, reason=reason, text=draft.question, source=draft.chunk.id)
