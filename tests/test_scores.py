"""Scores of answers, and how sure their differences are."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.scores import score_answer, token_f1
from pipelines.evaluation.statistics import difference_interval
from pipelines.prompting import refusal
from pipelines.quotes import locate
from pipelines.records import Chunk, Example, ExampleKind

TEXT = "We open at nine in the morning. A deposit of forty euros is due."
CHUNK = Chunk(id="c1", document="shop.md", start=50, end=50 + len(TEXT), text=TEXT)
WORDS = st.lists(st.sampled_from(["open", "at", "nine", "a", "deposit", "押", "金"]), max_size=8).map(" ".join)
SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=12)


def example(quote: str = "We open at nine in the morning.") -> Example:
    """Return an example that rests on a quote; on none it is unanswerable."""
    found = locate(quote, CHUNK)
    return Example(
        id="e1",
        kind=ExampleKind.GROUNDED if found else ExampleKind.UNANSWERABLE,
        question="When do you open?",
        answer=quote or refusal("en"),
        sources=(CHUNK.id,),
        quotes=(found,) if found else (),
        teacher="test",
        prompt="test@1",
    )


@pytest.mark.parametrize(
    ("said", "f1", "exact", "refused", "proved"),
    [
        ('"We open at nine in the morning." [1]', 1.0, 1.0, False, True),
        ('"we open at nine in the morning" [1]', 1.0, 1.0, False, True),
        ('At nine. "We open at nine in the morning." [1]', 1.0, 1.0, False, True),
        ("We open at nine in the morning.", 1.0, 1.0, False, True),
        ('"A deposit of forty euros is due." [1]', 0.0, 0.0, False, True),
        ('"We open at nine" [1]', 2 * 4 / 11, 0.0, False, True),
        ("At nine in the morning", 2 * 5 / 12, 0.0, False, False),
        ('"We open at noon on Sundays, and never close." [1]', 2 * 3 / 16, 0.0, False, False),
        ("The documents do not answer this.", 0.0, 0.0, True, False),
        ('The documents do not answer this. "We open at nine in the morning." [1]', 0.0, 0.0, True, True),
        ("文档没有回答这个问题。", 0.0, 0.0, True, False),
        ("", 0.0, 0.0, False, False),
    ],
)
def test_an_answer_is_scored_by_what_it_would_show(
    said: str, f1: float, exact: float, refused: bool, proved: bool
) -> None:
    """The document's words that would be cited are compared; a refusal of an answerable question is worth nothing."""
    score = score_answer(said, example(), [CHUNK])
    assert score.quote_f1 == pytest.approx(f1)
    assert (score.exact_match, score.is_refused, score.is_proved) == (exact, refused, proved)


def test_a_true_and_an_invented_citation_are_not_proved() -> None:
    """An answer is proved where each of its citations stands in the passages."""
    said = '"We open at nine in the morning." [1] "Rides are free of charge for all." [1]'
    score = score_answer(said, example(), [CHUNK])
    assert (score.quote_f1, score.is_proved) == (1.0, False)


@pytest.mark.parametrize("said", ['"We open at nine in the morning." [1]', "The documents do not answer this."])
def test_an_unanswerable_question_has_no_quote_to_score(said: str) -> None:
    """Where nothing answers, only refusing counts."""
    score = score_answer(said, example(""), [CHUNK])
    assert (score.quote_f1, score.exact_match) == (0.0, 0.0)
    assert score.is_refused == said.startswith("The documents")


@pytest.mark.parametrize(
    ("said", "wanted", "expected"),
    [
        ("open at nine", "open at nine", 1.0),
        ("Open, at NINE!", "open at nine", 1.0),
        ("nine", "open at nine", 0.5),
        ("nine nine nine", "nine", 0.5),
        ("five", "nine", 0.0),
        ("", "nine", 0.0),
        ("", "", 0.0),
        ("押金四十", "押金五十", 0.75),
    ],
)
def test_f1_counts_shared_words(said: str, wanted: str, expected: float) -> None:
    """Each word counts as often as both texts have it; a Chinese character is a word."""
    assert token_f1(said, wanted) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_f1_is_a_share_and_the_same_both_ways(first: str, second: str) -> None:
    """F1 lies in [0, 1], is symmetric, and is 1 exactly for the same words."""
    score = token_f1(first, second)
    assert 0 <= score <= 1
    assert score == token_f1(second, first)
    same = sorted(first.replace(" ", "")) == sorted(second.replace(" ", "")) and bool(first)
    assert (score == 1) == (same and sorted(first.split()) == sorted(second.split()))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], (0.0, 0.0)),
        ([1.0], [0.25], (0.75, 0.75)),
        ([0.5, 0.5, 1.0], [0.5, 0.5, 1.0], (0.0, 0.0)),
        ([1.0, 0.5], [0.5, 0.0], (0.5, 0.5)),
    ],
)
def test_where_nothing_varies_the_interval_is_the_mean(
    first: list[float], second: list[float], expected: tuple[float, float]
) -> None:
    """One question, or the same difference everywhere, leaves nothing to resample."""
    assert difference_interval(first, second, seed=0) == expected


@given(SCORES, st.integers(0, 3))
def test_an_interval_lies_around_the_mean_within_the_data(first: list[float], seed: int) -> None:
    """The interval holds the mean difference and passes no difference that was seen."""
    second = [0.5] * len(first)
    low, high = difference_interval(first, second, seed=seed)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / len(differences)
    assert min(differences) - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= max(differences) + 1e-9


def test_an_interval_is_reproducible_and_turns_with_its_sides() -> None:
    """The seed decides the resampling; exchanging the sides turns the sign."""
    first, second = [1.0, 0.8, 0.0, 0.9, 1.0, 0.7], [0.2, 0.4, 0.1, 0.0, 0.3, 0.9]
    low, high = difference_interval(first, second, seed=1)
    assert (low, high) == difference_interval(first, second, seed=1)
    turned = difference_interval(second, first, seed=1)
    assert turned == pytest.approx((-high, -low), abs=0.02)


def test_a_clear_difference_excludes_zero() -> None:
    """Where one side is better nearly everywhere, the whole interval is above zero; by chance it is not."""
    better = [0.9, 1.0, 0.8, 0.9, 1.0, 0.9, 0.7, 1.0]
    worse = [0.1, 0.2, 0.0, 0.3, 0.1, 0.0, 0.2, 0.8]
    assert difference_interval(better, worse, seed=0)[0] > 0
    low, high = difference_interval([0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.5, 0.6], seed=0)
    assert low < 0 < high


def test_more_questions_make_the_interval_narrower() -> None:
    """The same differences seen eight times as often are surer."""
    first, second = [1.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]
    few = difference_interval(first, second, seed=0)
    many = difference_interval(first * 8, second * 8, seed=0)
    assert many[1] - many[0] < few[1] - few[0]


def test_an_interval_is_the_95_percent_of_the_paired_differences() -> None:
    """Where it is known how the mean is spread, its quantiles are the ends; what both sides share is not noise."""
    rng = numpy.random.default_rng(0)
    shared, differences = rng.normal(0, 5, 400), rng.normal(0.1, 0.4, 400)
    low, high = difference_interval(list(shared + differences), list(shared), seed=0)
    reach = 1.959964 * differences.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((differences.mean() - reach, differences.mean() + reach), abs=0.06 * reach)
    assert (low, high) != difference_interval(list(shared + differences), list(shared), seed=1)
