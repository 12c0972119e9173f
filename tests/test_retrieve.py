"""Retrieval: late interaction on signs, fused scores, filters, and whether the documents answer at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

from pipelines.knowledge import interaction
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.answerable import BY_WORDS, Calibration
from pipelines.knowledge.collection import opened_retriever
from pipelines.knowledge.fusion import DEFAULT_WEIGHTS, Weights, fuse, reciprocal_ranks
from pipelines.knowledge.retrieve import Pool, Retriever
from pipelines.knowledge.tuning import Tuning, default_tuning, load_tuning, save_tuning
from pipelines.operation import Context
from pipelines.records import Chunk

# Each file is about one thing; "oven" is worded so that its question shares few words with it.
_FILES = {
    "oven.md": "# Baking\n\nHeat it to two hundred degrees before the loaf goes in. Then wait an hour.\n",
    "boat.md": "# Sailing\n\nThe harbour is closed from November to March. Boats are laid up on land.\n",
    "cats.md": "# Animals\n\nThe cat of the miller sleeps by day. It hunts mice in the barn at night.\n",
    "copy/boat.md": "# Sailing\n\nThe lighthouse keeper paints the tower every second summer.\n",
}

CHUNK = Chunk(id="1", document="a.md", start=0, end=4, text="Text", heading="", page=None)


@pytest.fixture
def retriever(context: Context, tmp_path: Path) -> Iterator[Retriever]:
    """A collection of four small documents."""
    for name, text in _FILES.items():
        path = tmp_path / "shelf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    add_documents(AddDocumentsParams(folder=tmp_path / "shelf"), context)
    with opened_retriever(context, "default") as opened:
        yield opened


def unit(*rows: list[float]) -> numpy.ndarray:
    """Return vectors of length 1."""
    vectors = numpy.array(rows, dtype=numpy.float32)
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def test_signs_take_a_bit_a_number() -> None:
    """Eight numbers are a byte; what is not above zero is a zero."""
    packed = interaction.pack_signs(numpy.array([[1.0, -1, 0, 2, -3, 1, 1, -1]], dtype=numpy.float32))
    assert packed == bytes([0b10010110])


def test_a_match_is_the_cosine_with_the_likest_token() -> None:
    """Against a plain computation; a chunk without tokens matches nothing."""
    rng = numpy.random.default_rng(5)
    query, first, second = (unit(*rng.normal(size=(count, 16)).tolist()) for count in (3, 4, 2))
    found = interaction.token_matches(query, [interaction.pack_signs(first), b"", interaction.pack_signs(second)])
    for row, chunk in ((0, first), (2, second)):
        signs = numpy.where(chunk > 0, 1.0, -1.0) / math.sqrt(16)
        assert found[row] == pytest.approx((query @ signs.T).max(axis=1), abs=1e-6)
    assert (found[1] == -1).all()


def test_no_chunk_has_tokens() -> None:
    """Then nothing matches, and nothing fails."""
    assert (interaction.token_matches(unit([1.0] * 8), [b"", b""]) == -1).all()


def test_neither_score_alone_decides() -> None:
    """What is best in one and good in the other comes first; equal scores stay equal."""
    dense, keyword = numpy.array([0.9, 0.8, 0.1]), numpy.array([0.0, 5.0, 0.0])
    scores = fuse(DEFAULT_WEIGHTS, dense=dense, keyword=keyword, coverage=None)
    assert scores.argsort()[::-1].tolist() == [1, 0, 2]
    same = numpy.full(3, 0.4)
    assert fuse(DEFAULT_WEIGHTS, dense=same, keyword=same, coverage=same).tolist() == [0.0, 0.0, 0.0]


def test_late_interaction_counts_most() -> None:
    """By the default weights neither dense nor keyword search overrules it."""
    coverage, other = numpy.array([0.9, 0.2, 0.1]), numpy.array([0.1, 0.9, 0.8])
    scores = fuse(DEFAULT_WEIGHTS, dense=other, keyword=other, coverage=coverage)
    assert int(scores.argmax()) == 0
    others = fuse(Weights(dense=3, keyword=3), dense=other, keyword=other, coverage=coverage)
    assert int(others.argmax()) == 1


def test_reciprocal_ranks_add_up() -> None:
    """1/61 + 1/62 for who is first and second."""
    total = reciprocal_ranks([["a", "b"], ["b", "c"]])
    assert total == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("How hot must the oven be for bread?", "oven.md"),
        ("When may no ship enter the port?", "boat.md"),
        ("What does the miller's cat catch?", "cats.md"),
    ],
)
def test_a_question_in_other_words_finds_its_passage(retriever: Retriever, query: str, document: str) -> None:
    """The meaning of words in context decides, not the words alone."""
    assert retriever.search(query, top_k=1)[0].chunk.document == document


@pytest.mark.parametrize("query", ["When may no ship enter the port?", "The harbour is closed from November to March."])
def test_only_what_may_be_searched_is_found(retriever: Retriever, query: str) -> None:
    """A filter is exact, by meaning and by words: the one chunk it leaves is found, and no other."""
    everywhere = retriever.search(query, top_k=10)
    [only] = [each.chunk.id for each in everywhere if each.chunk.document == "copy/boat.md"]
    assert everywhere[0].chunk.id != only
    assert [each.chunk.id for each in retriever.search(query, top_k=10, among=[only])] == [only]
    assert retriever.search(query, top_k=10, among=[]) == []


def test_it_is_told_whether_the_documents_answer(retriever: Retriever) -> None:
    """A question about something else is less likely to be answered, and near zero."""
    about = retriever.answerable("When is the harbour closed?")
    beside = retriever.answerable("Who wrote the constitution of Peru in 1993?")
    assert about > 0.9
    assert beside < 0.1


def test_a_neighbour_helps_a_chunk(retriever: Retriever) -> None:
    """The words of a query may stand in two chunks side by side; alone, none has them all."""
    pool = retriever.pool("Does the lighthouse keeper of the harbour hunt mice in the barn?")
    assert pool.own is not None
    assert pool.around is not None
    assert (pool.around >= pool.own - 1e-6).all()


def test_a_calibration_is_a_logistic_curve() -> None:
    """One half where slope and intercept cancel, and no overflow anywhere."""
    assert Calibration(slope=2, intercept=-1).probability(0.5) == pytest.approx(0.5)
    assert BY_WORDS.probability(-1e9) == pytest.approx(0)
    assert BY_WORDS.probability(1e9) == pytest.approx(1)


def test_an_unknown_embedder_is_judged_by_words() -> None:
    """How alike its tokens are tells nothing yet; what share of the query's words was found does."""
    assert set(default_tuning("all-minilm-l6-v2-12345678").by_coverage) == {"en"}
    assert set(default_tuning("multilingual-e5-small-12345678").by_coverage) == {"en", "zh"}
    unknown = default_tuning("mine-12345678")
    scores = numpy.array([0.99])
    for words, is_likely in ((1.2, True), (0.1, False)):
        pool = Pool(chunks=[CHUNK], dense=scores, keyword=scores, own=scores, around=scores, words=words)
        assert (unknown.answerable("A query", pool) > 0.5) == is_likely


def test_what_was_fitted_is_for_one_embedder(tmp_path: Path) -> None:
    """With another embedder, or a damaged file, the defaults hold."""
    fitted = Tuning(embedder="one", weights=Weights(keyword=0.7))
    save_tuning(fitted, tmp_path)
    assert load_tuning(tmp_path, embedder="one") == fitted
    assert load_tuning(tmp_path, embedder="two") == default_tuning("two")
    (tmp_path / "tuning.json").write_text("{", encoding="utf-8")
    assert load_tuning(tmp_path, embedder="one") == default_tuning("one")
