"""Scores of one answer against what it should have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.prompting import is_refusal
from pipelines.quotes import check_answer
from pipelines.records import Chunk, Example
from pipelines.text import words


@dataclass(frozen=True, kw_only=True)
class AnswerScore:
    """What one answer is worth."""

    quote_f1: float
    exact_match: float
    is_refused: bool
    is_proved: bool  # at least one citation, and each stands in the passages


def score_answer(text: str, example: Example, chunks: Sequence[Chunk]) -> AnswerScore:
    """Score a model's answer.

    What is compared is the document's text that the chatbot would show as citation; where
    it could show none, the model's own words, so that a model that ignores the form of a
    citation still gets credit for the right words.
    """
    checked = check_answer(text, chunks)
    refused = is_refusal(text)
    said = " ".join(quote.quote for quote in checked.quotes) or checked.prose or " ".join(checked.unproved)
    wanted = " ".join(quote.quote for quote in example.quotes)
    f1 = 0.0 if refused or not wanted else token_f1(said, wanted)
    return AnswerScore(
        quote_f1=f1,
        exact_match=float(f1 > 0 and words(said) == words(wanted)),
        is_refused=refused,
        is_proved=bool(checked.quotes) and not checked.unproved,
    )


def token_f1(said: str, wanted: str) -> float:
    """Return the harmonic mean of precision and recall of the words.

    Source:
        Rajpurkar et al. 2016, SQuAD, section 6.1, arXiv:1606.05250.
    """
    first, second = Counter(words(said)), Counter(words(wanted))
    common = sum((first & second).values())
    return 2 * common / (first.total() + second.total()) if common else 0.0
