"""Scores of one answer against what it should have been.

What an answer is compared by depends on what its example teaches: quotes by F1, free text by
ROUGE-L, labels to the letter, and where nothing answers, whether it was refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.evaluation.report import Metric
from pipelines.prompting import is_refusal
from pipelines.quotes import check_answer
from pipelines.records import Chunk, Example, ExampleKind
from pipelines.text import fold_space, words

# From here on, an answer counts as right where right and wrong are counted.
RIGHT = 0.5
RIGHT_RULE = (
    f"right is an F1 or ROUGE-L of {RIGHT} at least, a label to the letter, and a refusal where the documents do "
    "not answer"
)
_FREE = frozenset({ExampleKind.INSTRUCTION, ExampleKind.CONVERSATION})
_LABELLED = frozenset({ExampleKind.CLASSIFICATION, ExampleKind.SPANS})


@dataclass(frozen=True, kw_only=True)
class AnswerScore:
    """What one answer is worth."""

    metric: Metric  # what `value` is measured by
    value: float  # from 0 to 1
    quote_f1: float
    exact_match: float
    is_refused: bool
    is_proved: bool  # at least one citation, and each stands in the passages

    @property
    def is_right(self) -> bool:
        """Whether it counts as a right answer."""
        return self.value >= RIGHT


def metric_of(example: Example) -> Metric:
    """Return what answers to an example are compared by."""
    if example.kind is ExampleKind.UNANSWERABLE:
        return "refusal"
    if example.kind in _LABELLED:
        return "exact_match"
    return "quote_f1" if example.quotes and example.kind not in _FREE else "rouge_l"


def score_answer(text: str, example: Example, chunks: Sequence[Chunk]) -> AnswerScore:
    """Score a model's answer.

    Where the example rests on quotes, what is compared is the document's text that the chatbot
    would show as citation; where it could show none, the model's own words, so that a model
    that ignores the form of a citation still gets credit for the right words.
    """
    checked = check_answer(text, chunks)
    refused = is_refusal(text)
    metric = metric_of(example)
    if metric in ("quote_f1", "refusal"):
        said = " ".join(quote.quote for quote in checked.quotes) or checked.prose or " ".join(checked.unproved)
        wanted = " ".join(quote.quote for quote in example.quotes)
    else:
        said, wanted = text, example.messages[-1].content if example.messages else example.answer
    f1 = 0.0 if refused or metric != "quote_f1" else token_f1(said, wanted)
    is_exact = metric != "refusal" and _is_same(said, wanted) and not (refused and metric == "quote_f1")
    values: dict[Metric, float] = {
        "quote_f1": f1,
        "rouge_l": rouge_l(said, wanted) if metric == "rouge_l" else 0.0,
        "exact_match": float(is_exact),
        "refusal": float(refused),
    }
    return AnswerScore(
        metric=metric,
        value=values[metric],
        quote_f1=f1,
        exact_match=float(is_exact),
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


def rouge_l(said: str, wanted: str) -> float:
    """Return the harmonic mean of precision and recall of the longest common subsequence of words.

    Each Chinese character is a word; words are not stemmed.

    Source:
        Lin 2004, ROUGE, section 3.1, ACL W04-1013 (sentence level, beta = 1).
    """
    first, second = words(said), words(wanted)
    common = common_subsequence(first, second)
    return 2 * common / (len(first) + len(second)) if common else 0.0


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, in as many big-integer steps as `second` has words.

    Source:
        Hyyrö 2004, Bit-parallel LCS-length computation revisited, section 3.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    row = everywhere  # a zero for each word of the subsequence so far
    for word in second:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & everywhere
    return len(first) - row.bit_count()


def _is_same(said: str, wanted: str) -> bool:
    """Whether two texts have the same words; what has none, like a sign, is compared to the letter."""
    first, second = words(said), words(wanted)
    return first == second if first or second else bool(wanted) and fold_space(said) == fold_space(wanted)
