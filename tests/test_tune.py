"""`docs tune`: weights are fitted, and used only where they are surely better."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy
import pytest

from pipelines.errors import DataError
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.collection import opened_retriever
from pipelines.knowledge.fusion import DEFAULT_WEIGHTS, WEIGHTS_OF_LANGUAGES
from pipelines.knowledge.measuring.questions import KnownQuestion, Place
from pipelines.knowledge.retrieve import Pool
from pipelines.knowledge.tune import TuneDocumentsParams, TuneDocumentsReport, calibrate, fit_curves, tune_documents
from pipelines.models.embedder import Vectors
from pipelines.operation import Context
from pipelines.records import Chunk
from tests.word_embedder import WordEmbedder, with_words

_DOCUMENTS = 60


class ThemeEmbedder(WordEmbedder):
    """Knows what a text is about by the number in it, whatever else it says."""

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage") -> Vectors:
        """Return the direction of the number, and a little of the words'."""
        numbers = [re.sub(r"[^0-9 ]", "", text.rpartition(")")[2]) for text in texts]
        return 0.9 * super().embed(numbers, kind=kind) + 0.1 * super().embed(texts, kind=kind)


def words(number: int) -> str:
    """Return words that stand in one document only."""
    return " ".join(f"{letter}{'bcdfghjklm'[number // 10]}{'aeiouybcdf'[number % 10]}zor" for letter in "abc")


@pytest.fixture
def asked(context: Context, tmp_path: Path) -> tuple[Context, Path]:
    """Questions about a document in the words of another, which an embedder sees through."""
    context = with_words(context, theme=ThemeEmbedder("theme", size=64))
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    lines = []
    for number in range(_DOCUMENTS):
        name = f"d{chr(97 + number // 26)}{chr(97 + number % 26)}.txt"
        (shelf / name).write_text(f"{words(number)} ) y{number} thing.\n", encoding="utf-8")
        misleading = words((number + 7) % _DOCUMENTS)
        lines.append({"question": f"{misleading} ) x{number}", "document": name})
    lines += [{"question": f"nothing of this ) x{number + 1000}", "answerable": False} for number in range(30)]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    add_documents(AddDocumentsParams(folder=shelf), context)
    return context, path


def tune(context: Context, path: Path) -> TuneDocumentsReport:
    """Tune the collection by a file."""
    return tune_documents(TuneDocumentsParams(questions=path), context)


def test_weights_that_are_surely_better_are_used(asked: tuple[Context, Path]) -> None:
    """Where words mislead, vectors count more from now on, and searches know it."""
    report = tune(*asked)
    assert (report.n, report.n_unanswerable) == (_DOCUMENTS, 30)
    assert report.is_used
    assert report.ndcg_fitted > report.ndcg_before + 0.05
    assert report.weights["dense_alone"] > DEFAULT_WEIGHTS.dense_alone
    assert report.is_calibrated
    with opened_retriever(asked[0], "default") as retriever:
        [first] = retriever.search(f"{words(8)} ) x1", top_k=1)
        assert first.chunk.document == "dab.txt"
        assert retriever.answerable(f"{words(8)} ) x1") > 0.5 > retriever.answerable("nothing of this ) x1001")


def test_chinese_questions_are_held_against_what_holds_for_chinese(context: Context, tmp_path: Path) -> None:
    """Where nothing can be gained, the weights of Chinese queries stay."""
    context = with_words(context, words=WordEmbedder())
    shelf = tmp_path / "架子"
    shelf.mkdir()
    signs = [chr(0x4E00 + 7 * number) + chr(0x5E00 + 11 * number) for number in range(50)]
    for sign in signs:
        (shelf / f"{sign}.txt").write_text(f"{sign}放在仓库里。\n", encoding="utf-8")
    path = tmp_path / "questions.jsonl"
    lines = (json.dumps({"question": f"{sign}在哪里？", "document": f"{sign}.txt"}) + "\n" for sign in signs)
    path.write_text("".join(lines), encoding="utf-8")
    add_documents(AddDocumentsParams(folder=shelf), context)
    report = tune(context, path)
    assert (report.ndcg_before, report.is_used) == (1.0, False)
    assert report.weights == WEIGHTS_OF_LANGUAGES["zh"].model_dump()


def test_too_few_questions_fit_nothing(asked: tuple[Context, Path], tmp_path: Path) -> None:
    """They are refused, and nothing is written."""
    few = tmp_path / "few.jsonl"
    few.write_text("".join(asked[1].read_text(encoding="utf-8").splitlines(keepends=True)[:10]), encoding="utf-8")
    with pytest.raises(DataError, match="too few"):
        tune(asked[0], few)
    assert not (asked[0].workspace.knowledge("default") / "tuning.json").exists()


def test_a_curve_tells_both_kinds_apart() -> None:
    """One half lies between them; it is not fitted to few, nor the wrong way round."""
    high, low = [0.6 + each / 100 for each in range(30)], [0.1 + each / 100 for each in range(30)]
    curve = calibrate(high, low)
    assert curve is not None
    assert curve.probability(0.39) < 0.5 < curve.probability(0.6)
    assert calibrate(high[:5], low) is None
    assert calibrate(low, high) is None


def best_of(score: float, *, by_words: bool) -> Pool:
    """Return a pool whose one chunk has a score, by what tokens tell or by words alone."""
    coverage = None if by_words else numpy.array([score])
    return Pool(
        chunks=[Chunk(id="a", document="a", start=0, end=1, text="x")],
        dense=numpy.zeros(1),
        keyword=numpy.zeros(1),
        own=coverage,
        around=coverage,
        words=score if by_words else 0.5,
    )


def test_each_language_has_a_curve_of_its_own() -> None:
    """Of those with enough questions; words, where tokens tell nothing, are on another scale."""
    asked, pools = [], []
    for text, low, high, count, by_words in (
        ("Where is it?", 0.1, 0.5, 30, False),
        ("它在哪里？", 0.7, 0.9, 30, False),
        ("Wo?", 5.0, 9.0, 30, True),
    ):
        for targets, base in (((), low), (((Place("a"),),), high)):
            asked += [KnownQuestion(question=text, language="en", targets=targets)] * count
            pools += [best_of(base + each / 200, by_words=by_words) for each in range(count)]
    curves = fit_curves(asked, pools, DEFAULT_WEIGHTS)
    for scale, low, high in (("en", 0.25, 0.5), ("zh", 0.85, 0.9), (None, 5.2, 9.0)):
        assert curves[scale].probability(low) < 0.5 < curves[scale].probability(high)
    few = fit_curves([*asked[:60], *asked[60:70]], pools[:70], DEFAULT_WEIGHTS)
    assert few.keys() == {"en"}
