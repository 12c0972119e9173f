"""What the terminal shows of documents: no name is cut, no English where it speaks Chinese, paths are whole."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from rich.console import Console

from assistant.terminal.console import Terminal
from assistant.terminal.language import translate
from assistant.terminal.reports import render
from pipelines.knowledge.add import AddDocumentsReport, FailedDocument
from pipelines.knowledge.documents import (
    CollectionLine,
    DocumentLine,
    FailedFile,
    ListDocumentsReport,
    ShowDocumentReport,
)
from pipelines.knowledge.measuring.report import (
    Answerability,
    ArmFigures,
    AskedQuestion,
    Difference,
    EvaluateDocumentsReport,
    Latency,
    NamedFigures,
)
from pipelines.knowledge.passages import LeftOut
from pipelines.knowledge.reindex import ReindexDocumentsReport
from pipelines.knowledge.search import SearchDocumentsReport
from pipelines.knowledge.tune import TuneDocumentsReport
from pipelines.knowledge.update import DocumentChange
from pipelines.knowledge.watch import WatchDocumentsReport
from pipelines.operation import Notice, Progress

LONG = "minutes/2024/the-meeting-of-the-board-in-which-the-kiln-was-sold.zh-cn.html"
LINE = DocumentLine(document="a.md", title="标题", characters=5321, pages=0, chunks=19, state="indexed")
FIGURES = {
    "n": 3,
    "recall_at_1": 0.5,
    "recall_at_5": 0.5,
    "recall_at_10": 0.5,
    "recall_at_top_k": 0.5,
    "ndcg_at_10": 0.5,
    "mrr_at_10": 0.5,
}
TUNED = TuneDocumentsReport(
    collection="a", summary="", n=50, n_unanswerable=3, weights={}, ndcg_before=0.5, ndcg_fitted=0.625, low=-0.01,
    high=0.26, is_used=False, is_calibrated=False,
)  # fmt: skip


def printed(report: BaseModel, width: int, *, language: str = "en") -> str:
    """Return what a console of that width prints of a report."""
    file = io.StringIO()
    console = Console(file=file, width=width)
    for part in render(report, functools.partial(translate, language=language)):
        console.print(part)
    return file.getvalue()


def listed(*lines: DocumentLine, **lists: object) -> ListDocumentsReport:
    """Return a list of documents."""
    return ListDocumentsReport.model_validate({"collection": "a", "documents": lines} | lists)


def evaluated(*, low: float = -0.1, high: float = 0.1, auroc: float = 0.7, n_unanswerable: int = 30) -> BaseModel:
    """Return an evaluation in which something is worth saying."""
    arms = [ArmFigures(arm=arm, recall_curve=[0.5] * 10, **FIGURES) for arm in ("all", "rrf", "keyword", "dense")]
    missed = AskedQuestion(
        question="q", language="en", document="a.md", rank=None, ranks={}, found="", passage="", answerable=0.5, ms=1.0
    )
    return EvaluateDocumentsReport(
        collection="a", source="a", summary="", n=3, n_unanswerable=n_unanswerable, left_out=2, outside=4,
        is_tuned=True, top_k=5, arms=arms,
        differences=[Difference(measure="nDCG@10", against="rrf", mean=0.0, low=low, high=high)],
        latency=Latency(p50_ms=1.0, p95_ms=2.0),
        languages=[NamedFigures(name="zh", **FIGURES | {"n": 40, "recall_at_top_k": 0.1})],
        documents=[NamedFigures(name=LONG, **FIGURES)],
        answerability=Answerability(
            n_answerable=3, n_unanswerable=n_unanswerable, auroc=auroc, threshold=0.5, wrongly_refused=0.1,
            wrongly_answered=0.1, best_threshold=0.5, best_wrongly_refused=0.1, best_wrongly_answered=0.1,
        ),
        missed=[missed], missed_count=7, questions="", report="", page="/w/a", seconds=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_name_of_a_document_is_never_cut(width: int) -> None:
    """It goes on below, so that it can be given to another command."""
    line = LINE.model_copy(update={"document": LONG, "title": "A long title of many words " * 3})
    for report in (listed(line), listed(LINE, failed=[FailedFile(document=LONG, reason="is encrypted " * 9)])):
        shown = printed(report, width)
        cells = [row.split("│")[1].strip() for row in shown.splitlines() if row.startswith("│")]
        assert LONG in "".join(cells)
        assert "…" not in shown


def test_the_list_shows_what_differs_only() -> None:
    """Pages where a file has some, and the state of a document where it is not the usual one."""
    plain = printed(listed(LINE), 80)
    assert [word in plain for word in ("pages", "state", "indexed")] == [False] * 3
    others = listed(LINE, LINE.model_copy(update={"document": "b.pdf", "pages": 7, "state": "pending"}))
    shown = printed(others, 80)
    assert [word in shown for word in ("pages", "7", "state", "pending", "indexed")] == [True] * 4 + [False]
    assert re.search(r"documents +2 *\nchunks +38 *\nfailed +0", shown)


def test_documents_are_told_of_in_chinese() -> None:
    """No English but names, measures and what came from a person, a document or an error."""
    change = DocumentChange(change="renamed", document="a.md", former="b.md")
    counts = {"added": 1, "updated": 2, "renamed": 3, "removed": 4, "seconds": 1.5}
    failed = {"document": "b.md", "reason": "?"}
    line = CollectionLine(collection="a", documents=1, chunks=2, pending=3, failed=4, embedder="b", megabytes=0.5)
    addition = AddDocumentsReport(collection="a", changes=[change], failed=[FailedDocument(**failed)], **counts)
    watched = WatchDocumentsReport(collection="a", runs=2, failed=[FailedDocument(**failed)], **counts)
    nothing = SearchDocumentsReport(
        passages=[], answerable=0.1, queries=["a"], left_out=LeftOut(over_budget=2, documents=["a.md"]), seconds=0.1
    )
    tuned = TUNED.model_copy(update={"is_used": True, "is_calibrated": True, "weights": {"dense": 0.5}})
    reindexed = ReindexDocumentsReport(
        collection="a", embedder="b", former_embedder="a", chunks=1, embedded=1, seconds=0.5
    )
    reports = [
        addition,
        watched,
        listed(LINE, LINE.model_copy(update={"pages": 2, "state": "pending"}), failed=[failed]),
        ListDocumentsReport(collection="", documents=[], collections=[line, line]),
        nothing,
        TUNED,
        tuned,
        reindexed,
        evaluated(),
        evaluated(low=0.1, high=0.2, auroc=0.95),
        evaluated(low=-0.2, high=-0.1, n_unanswerable=5),
    ]
    known = {"a", "b", "md", "MB", "nDCG", "MRR", "recall", "AUROC", "BM", "w", "max", "tokens", "dense"}
    for report in reports:
        words = set(re.findall(r"[A-Za-z]+", printed(report, 160, language="zh").replace(LONG, "")))
        assert words - known == set()


def test_an_evaluation_says_what_to_know_of_it() -> None:
    """In words, with what was left out, and with how grave it is."""
    shown = " ".join(printed(evaluated(low=-0.2, high=-0.1), 100).split())
    for said in (
        "Problem nDCG@10 is +0.000 (-0.200 to -0.100) against reciprocal rank fusion: a simpler way",
        "Problem Answerable and unanswerable questions are told apart with an AUROC of 0.700: refusals will often be",
        "Look 4 questions have a place in no passage",
        "Look 2 questions were left out",
        "Look Questions in Chinese find less than others",
        "7 of 3 questions found no right passage among the first 5",
    ):
        assert said in shown


def test_few_unanswerable_questions_prove_nothing() -> None:
    """However well they are told apart."""
    assert "too few unanswerable ones" in printed(evaluated(auroc=1.0, n_unanswerable=3), 160)
    assert "Good" not in printed(evaluated(auroc=1.0, n_unanswerable=3), 160)
    assert "Good" in printed(evaluated(auroc=1.0), 160)


def test_passages_that_do_not_fit_were_found() -> None:
    """A limit of tokens that no passage keeps to is not told as an empty search."""
    left_out = LeftOut(over_budget=2, documents=["a.md", "b.md"])
    report = SearchDocumentsReport(passages=[], answerable=0.9, queries=["q"], left_out=left_out, seconds=0.1)
    shown = printed(report, 80)
    assert "2 passages did not fit into --max-tokens: a.md, b.md" in shown
    assert "Nothing was found" not in shown
    assert "Nothing was found" in printed(report.model_copy(update={"left_out": LeftOut()}), 80)


def test_a_document_is_piped_as_it_was_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """Its lines are not broken where no terminal has a width."""
    text = "A line of words. " * 20 + "\nAnother."
    Terminal(is_json=False).show_report(ShowDocumentReport(document="a", title="a", source="a", text=text))
    assert capsys.readouterr().out == text + "\n"


def test_a_path_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a terminal that is narrower than it: it is there to be copied."""
    page = str(Path("/w") / "deep" / ("folder" * 20) / "report.html")
    terminal = Terminal(is_json=False)
    file = io.StringIO()
    monkeypatch.setattr(terminal, "out", Console(file=file, width=40, force_terminal=True, color_system=None))
    terminal.show_report(evaluated().model_copy(update={"page": page}))
    assert f"The whole report: {page}\n" in re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_what_is_said_of_a_finished_stage_stands_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next stage begins to count its time again, as when a watched folder changes for the second time."""
    terminal = Terminal(is_json=False)
    file = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=file, width=80, force_terminal=True, color_system=None))
    terminal.show_event(Progress(stage="reading documents", done=1, total=2))
    terminal.show_event(Notice(message="in the middle"))
    terminal.show_event(Progress(stage="reading documents", done=2, total=2))
    terminal.show_event(Notice(message="watching"))
    shown = file.getvalue()
    terminal.stop_progress()
    assert shown.rindex("in the middle") < shown.rindex("2/2") < shown.rindex("watching")
