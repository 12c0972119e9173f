"""The nearest sentence: found by meaning, and refused where the question is about something else."""

from __future__ import annotations

import numpy
import pytest

from pipelines.models.embedder import Embedder
from pipelines.models.nearest import NearestFinder
from pipelines.operation import open_context
from pipelines.records import Chunk, Language
from tests.test_docs import packaged_embedder

TEXTS = (
    "The archives are updated twice every day. The mirrors follow within six hours.",
    "A lost blue spoke is replaced for 3 euro. Members pay the fee in spring.",
    "门店周日十一点开门。丢失的蓝色辐条补办费是三欧元。",
)


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    """Three passages."""
    return [
        Chunk(id=str(number), document="a.md", start=0, end=len(text), text=text) for number, text in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> NearestFinder:
    """A finder over a collection of these passages, with the packaged models."""
    return NearestFinder(open_context(tmp_path_factory.mktemp("workspace")).models.embedder_of, TEXTS)


def packaged(language: Language) -> Embedder:
    """Return the packaged model for English."""
    del language
    return packaged_embedder()


@pytest.mark.parametrize(
    ("question", "sentence", "number"),
    [
        ("How often are the archives refreshed?", "The archives are updated twice every day.", 1),
        ("What do I pay for a new spoke?", "A lost blue spoke is replaced for 3 euro.", 2),
        ("周日几点开门？", "门店周日十一点开门。", 3),
        ("补办辐条要多少钱？", "丢失的蓝色辐条补办费是三欧元。", 3),
        ("礼拜天早上几时开始营业？", "门店周日十一点开门。", 3),
    ],
)
def test_the_sentence_is_found(
    finder: NearestFinder, chunks: list[Chunk], question: str, sentence: str, number: int
) -> None:
    """A sentence that says it in other words is found, with the number of its passage."""
    found = finder.find(question, chunks)
    assert found is not None
    assert (found.text, found.number) == (sentence, number)
    assert found.is_near


@pytest.mark.parametrize(
    "question",
    ["Which airline flies to Reykjavik on Mondays?", "How do I configure a VPN with WireGuard?", "火车票怎么退？"],
)
def test_what_is_about_something_else_is_not_near(finder: NearestFinder, chunks: list[Chunk], question: str) -> None:
    """The likest sentence is still named, but not as one that could answer."""
    found = finder.find(question, chunks)
    assert found is not None
    assert not found.is_near


def test_there_may_be_no_sentence(finder: NearestFinder) -> None:
    """Without passages there is nothing to be near to."""
    assert finder.find("Anything?", []) is None


def test_rare_words_count_more(chunks: list[Chunk]) -> None:
    """A word that every passage has tells little about which one is meant."""
    common = ("The shop sells a bell.", "The shop sells a lamp.", "The shop sells a lock.")
    shown = [Chunk(id=text, document="b.md", start=0, end=len(text), text=text) for text in common]
    found = NearestFinder(packaged, common).find("Does the shop sell a lamp?", shown)
    assert found is not None
    assert found.number == 2


def test_words_decide_where_no_model_knows_the_language(chunks: list[Chunk]) -> None:
    """Without the optional model a Chinese question still finds the sentence with its words."""
    finder = NearestFinder(lambda language: None if language == "zh" else packaged_embedder(), TEXTS)
    found, other = (finder.find(question, chunks) for question in ("周日几点开门？", "火车票怎么退？"))
    assert found is not None
    assert other is not None
    assert (found.text, found.is_near, other.is_near) == ("门店周日十一点开门。", True, False)


def test_what_is_rare_is_told_by_chunks_from_everywhere() -> None:
    """A large collection is not read whole, and not only its beginning."""
    texts = ["The shop sells a bell."] * 6_000 + ["The shop sells a lamp."] * 6_000
    read: list[str] = []

    class Reading:
        embed_tokens = packaged_embedder().embed_tokens

        def tokenize(self, text: str) -> list[int]:
            read.append(text)
            return packaged_embedder().tokenize(text)

    shown = [Chunk(id="1", document="b.md", start=0, end=22, text=texts[0])]
    NearestFinder(lambda language: Reading(), texts).find("A lamp?", shown)  # type: ignore[arg-type, return-value]
    assert len(read) <= 5_000
    assert abs(read.count(texts[0]) - read.count(texts[-1])) <= 1


def test_a_passage_is_embedded_once(chunks: list[Chunk]) -> None:
    """Asking again costs the question only."""
    real = packaged_embedder()
    asked: list[int] = []

    class Counting:
        name = real.name
        embed = real.embed
        tokenize = real.tokenize

        def embed_tokens(self, texts: list[str]) -> object:
            asked.append(len(texts))
            return real.embed_tokens(texts)

    finder = NearestFinder(lambda language: Counting(), TEXTS)  # type: ignore[arg-type, return-value]
    finder.find("When?", chunks)
    first = sum(asked)
    finder.find("And who?", chunks)
    assert sum(asked) - first == 1


def test_token_vectors_have_length_one() -> None:
    """What is compared are cosines, and tokens and vectors belong together."""
    [found] = packaged_embedder().embed_tokens(["The archives are updated."])
    assert len(found.tokens) == len(found.vectors)
    assert numpy.linalg.norm(found.vectors, axis=1) == pytest.approx(1.0, abs=1e-3)
