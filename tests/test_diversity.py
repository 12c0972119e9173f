"""Diversity: what each measure says of known texts, and that two sets are compared fairly."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset.reporting.diversity import (
    MEASURES,
    MOST_TEXTS,
    NEAR_WORDS,
    Diversity,
    closest_pairs,
    compare,
    match_lengths,
    measure_diversity,
)
from pipelines.dataset.reporting.self_bleu import self_bleu
from pipelines.models.embedder import Vectors
from pipelines.text import words

LANTERNS = (
    "Where is the lantern kept?",
    "Where is the kettle kept?",
    "How much does the green parrot cost in winter?",
    "灯笼放在哪里？",
    "水壶放在哪里？",
)
ALPHABET = "ab c灯笼.,'-1İß\n"
TEXTS = st.lists(st.text(ALPHABET, max_size=30), min_size=1, max_size=8)


def unit(rows: Sequence[Sequence[float]]) -> Vectors:
    """Return vectors of length 1."""
    vectors = numpy.asarray(rows, dtype=numpy.float32)
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def embed_lengths(texts: Sequence[str]) -> Vectors:
    """Embed texts by their length alone, so that equal lengths are equal vectors."""
    return unit([[len(words(text)), 1.0] for text in texts])


@pytest.mark.parametrize(
    ("texts", "name", "expected"),
    [
        (["a b c d", "e f g h"], "distinct_1", 1.0),
        (["a a a a"], "distinct_1", 0.25),
        (["灯灯灯笼"], "distinct_1", 0.5),
        (["a b a b a"], "distinct_2", 0.5),
        (["a", "b"], "distinct_2", 0.0),
        (
            ["the red old lamp here", "the red old lamp there", "nothing of this"],
            "self_repetition",
            2 * math.log(2) / 3,
        ),
        (["where is it", "Where is it?", "who was that"], "near_duplicates", 1 / 3),
        (["灯笼放在哪里", "灯笼放在哪里？"], "near_duplicates", 0.5),
        (["one two three four five", "one two three four six"], "near_duplicates", 0.0),  # 4 of 6, not 4 of 5
        (["a b c d e", "f g h i j"], "self_bleu", 0.0),
        (["a b c d e", "a b c d e"], "self_bleu", 1.0),
        (["alone on the hill"], "self_bleu", 0.0),
    ],
)
def test_measures_of_known_texts(texts: list[str], name: str, expected: float) -> None:
    """Each measure has, for texts of which it can be told by hand, that value."""
    assert getattr(measure_diversity(texts), name) == pytest.approx(expected)


@given(st.lists(st.text("abcdef 灯笼", max_size=24), min_size=1, max_size=10))
def test_near_duplicates_are_those_of_all_pairs(texts: list[str]) -> None:
    """Looking only where rare words are shared misses no pair."""
    unique = [set(words(text)) for text in texts]
    repeating = sum(
        any(not own | other or len(own & other) / len(own | other) >= NEAR_WORDS for other in unique[:number])
        for number, own in enumerate(unique)
    )
    assert measure_diversity(texts).near_duplicates == repeating / len(texts)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (LANTERNS, 0.3223467758021634),
        (LANTERNS[:3], 0.19848946090052902),
        (("a b a c a b", "a b", "c a b d"), 0.32252211867421005),
        (("a a a", "a b c d", "a a"), 0.33623443215854737),
    ],
)
def test_self_bleu_is_that_of_sacrebleu(texts: Sequence[str], expected: float) -> None:
    """Leaving one text out by its two largest counts gives what sacrebleu 2.6.0 gives (floor 0.1, effective order)."""
    assert self_bleu([words(text) for text in texts]) == pytest.approx(expected, abs=1e-9)


def test_repeated_text_compresses_better() -> None:
    """The compression ratio rises with repetition, and is 1 where there is nothing."""
    varied = measure_diversity([" ".join(random.Random(number).choices("abcdefghij", k=12)) for number in range(50)])
    same = measure_diversity(["the same words every time again"] * 50)
    assert same.compression_ratio > 3 * varied.compression_ratio > 3
    assert measure_diversity([]).compression_ratio == 1


@pytest.mark.parametrize(
    ("rows", "vendi", "distance", "paraphrases"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 3.0, 1.0, 0.0),
        ([[1, 0], [1, 0], [1, 0], [1, 0]], 1.0, 0.0, 0.75),
        ([[1, 0], [1, 0], [0, 1], [0, 1]], 2.0, 2 / 3, 0.5),
        ([[1, 0], [-1, 0]], 1.0, 2.0, 0.0),
        ([[1, 0]], 1.0, 0.0, 0.0),
    ],
)
def test_measures_of_known_vectors(rows: list[list[float]], vendi: float, distance: float, paraphrases: float) -> None:
    """The Vendi score counts wholly different texts; the distance is that of the average pair."""
    measured = measure_diversity([str(number) for number in range(len(rows))], unit(rows))
    assert measured.vendi_score == pytest.approx(vendi, abs=1e-4)
    assert measured.mean_distance == pytest.approx(distance, abs=1e-6)
    assert measured.paraphrases == paraphrases
    assert measured.embedded == len(rows)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_vendi_score_is_between_one_and_all(count: int, seed: int) -> None:
    """Whatever the vectors, the score is that of at least one text and at most of all; their order is nothing."""
    vectors = unit(numpy.random.default_rng(seed).normal(size=(count, 5)))
    texts = [str(number) for number in range(count)]
    score = measure_diversity(texts, vectors).vendi_score
    assert score is not None
    assert 1 - 1e-4 <= score <= min(count, 5) + 1e-4
    assert measure_diversity(texts, vectors[::-1]).vendi_score == pytest.approx(score, abs=1e-4)


@given(st.lists(st.text(ALPHABET, max_size=30), max_size=8))
def test_every_measure_is_defined(texts: list[str]) -> None:
    """No texts, empty ones and equal ones have measures too, none of them infinite."""
    measured = measure_diversity(texts, numpy.zeros((len(texts), 3), dtype=numpy.float32))
    values = [getattr(measured, measure.name) for measure in MEASURES]
    assert all(math.isfinite(value) for value in values)
    shares = [value for measure, value in zip(MEASURES, values) if measure.is_share]
    assert all(0 <= share <= 1 for share in [*shares, measured.self_bleu])


def test_no_more_than_a_thousand_are_measured() -> None:
    """Of many texts, as many as are said are drawn, the same by the same seed and with their vectors."""
    texts = [f"text number {number}" for number in range(MOST_TEXTS + 200)]
    vectors = unit([[math.cos(number), math.sin(number)] for number in range(len(texts))])
    first, again, other = (measure_diversity(texts, vectors, seed=seed) for seed in (1, 1, 2))
    assert first.texts == first.embedded == MOST_TEXTS
    assert first == again != other


def test_vectors_belong_to_texts() -> None:
    """Vectors of other texts are refused, not measured."""
    with pytest.raises(ValueError, match="expected 2 vectors"):
        measure_diversity(["a", "b"], unit([[1, 0]]))


@given(TEXTS, TEXTS)
def test_matched_sets_are_equal_in_number_and_length(ours: list[str], baseline: list[str]) -> None:
    """Two sets are cut to the same number of texts and the same lengths, each the beginning of a text."""
    count = min(len(ours), len(baseline))
    first, second = match_lengths(ours[:count], baseline[:count])
    assert len(first) == len(second) == count
    assert [len(words(text)) for text in first] == [len(words(text)) for text in second]
    for cut, whole in ((first, ours), (second, baseline)):
        beginnings = [words(text) for text in whole]
        assert all(any(each[: len(words(text))] == words(text) for each in beginnings) for text in cut)


@given(TEXTS, TEXTS)
def test_comparison_is_fair(ours: list[str], baseline: list[str]) -> None:
    """A set is as varied as itself, and whichever comes first is no better for it."""
    same = compare(ours, ours, embed=embed_lengths)
    assert same.ours == same.baseline
    forth, back = compare(ours, baseline), compare(baseline, ours)
    assert (forth.ours, forth.baseline) == (back.baseline, back.ours)


def test_longer_texts_are_not_less_varied() -> None:
    """Of texts with words from one bag, the longer look less varied until they are compared at equal length."""
    draw = random.Random(0)
    bag = [f"word{number}" for number in range(400)]
    short = [" ".join(draw.choices(bag, k=6)) for _ in range(100)]
    long = [" ".join(draw.choices(bag, k=30)) for _ in range(100)]
    apart = [measure_diversity(texts).distinct_1 for texts in (short, long)]
    assert apart[0] > 2 * apart[1]
    fair = compare(short, long)
    assert fair.ours.words == fair.baseline.words == 600
    assert fair.baseline.distinct_1 == pytest.approx(fair.ours.distinct_1, rel=0.1)
    assert (fair.ours_mean_words, fair.baseline_mean_words) == (6, 30)


def test_duplicates_stay_duplicates() -> None:
    """A text that is repeated does not cease to be so because the other set has shorter ones."""
    repeated = ["where is the brass lantern kept at night"] * 4
    short = ["who", "what is it", "how so then", "why not now and here"]
    measured = compare(repeated, short, embed=embed_lengths).ours
    assert (measured.near_duplicates, measured.paraphrases, measured.vendi_score) == (0.75, 0.75, pytest.approx(1))
    assert measured.words == 12


def test_nothing_cannot_be_compared() -> None:
    """An empty set has no diversity to compare."""
    with pytest.raises(ValueError, match="expected texts in both sets, got 1 and 0"):
        compare(["a"], [])


def test_closest_pairs_come_first() -> None:
    """Pairs are listed by likeness, each once, the earlier text first."""
    vectors = unit([[1, 0], [0, 1], [1, 0.1], [1, 0.3]])
    pairs = closest_pairs(vectors, count=2)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2), (2, 3)]
    assert pairs[0].cosine == pytest.approx(1 / math.sqrt(1.01), abs=1e-6)
    assert closest_pairs(vectors[:1], count=2) == []


def test_vectors_of_a_part_complete_the_whole() -> None:
    """Where only some texts have vectors, the others still count for what needs none."""
    whole = measure_diversity(LANTERNS)
    part = measure_diversity(LANTERNS[:2], unit([[1, 0], [0, 1]]))
    merged = whole.with_vectors_of(part)
    assert (merged.texts, merged.embedded, merged.vendi_score) == (5, 2, pytest.approx(2.0))
    assert merged.self_bleu == whole.self_bleu


def test_every_measure_is_explained() -> None:
    """Whatever is measured has a line for people, and no line is about nothing."""
    measured = {name for name in Diversity.model_fields if name not in ("texts", "words", "embedded")}
    assert {measure.name for measure in MEASURES} == measured
