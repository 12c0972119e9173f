"""Views of documents: what an addition changed, what a collection holds, and what searches were fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assistant.terminal.fields import Say, facts, rows, whole_line
from pipelines.knowledge.measuring.findings import find
from pipelines.knowledge.measuring.report import ARM_TITLES, LANGUAGE_TITLES, EvaluateDocumentsReport, Figures
from pipelines.text import clean_text

_CHANGES = ("added", "updated", "renamed", "removed")
_INDEXED = "indexed"
_WORST = 5  # documents
_LEVELS = {"bad": ("Problem", "red"), "look": ("Look", "yellow"), "good": ("Good", "green")}


def show_addition(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return the counts of an addition, its first changes, and what could not be read."""
    values = report.model_dump(mode="json")
    changes, failed = values.pop("changes"), values.pop("failed")
    yield facts({name: value for name, value in values.items() if value or name in ("added", "unchanged")}, say)
    if len(changes) != values["added"]:  # of new documents alone, the number says enough
        yield rows("changes", [{**change, "change": say(change["change"])} for change in changes], say)
    if failed:
        yield rows("failed", failed, say)


def show_watch(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what changed while a folder was watched, and what could not be read at last."""
    values = report.model_dump(mode="json")
    failed = values.pop("failed")
    yield facts({name: value for name, value in values.items() if value or name not in _CHANGES}, say)
    if failed:
        yield rows("failed", failed, say)


def list_documents(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return a table of documents and one of failures, or one of collections."""
    values = report.model_dump(mode="json")
    if values["collections"]:
        yield rows("collections", values["collections"], say)
        return
    documents = values["documents"]
    counts = {"documents": len(documents), "chunks": sum(each["chunks"] for each in documents)}
    if documents:
        yield rows("documents", [_line(each, say) for each in documents], say)
    yield facts({"collection": values["collection"], **counts, "failed": len(values["failed"])}, say)
    if values["failed"]:
        yield rows("failed", values["failed"], say)


def show_evaluation(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return the figures of each way of searching, what is worth knowing of them, and where the page is."""
    assert isinstance(report, EvaluateDocumentsReport)
    yield _figures(report, say)
    yield _findings(report, say)
    yield Text(say("A search takes {p50_ms} ms (median), {p95_ms} ms (95th percentile).", **dict(report.latency)))
    if report.answerability is not None:
        told = report.answerability
        refused, answered = f"{told.wrongly_refused:.0%}", f"{told.wrongly_answered:.0%}"
        line = f"{say('Answerable or not')}: AUROC {told.auroc:.3f}; "
        yield Text(f"{line}{say('wrongly refused')} {refused}, {say('wrongly answered')} {answered}")
    if report.missed_count:
        yield Text(say(_MISSED, missed=report.missed_count, n=report.n, top_k=report.top_k))
    yield whole_line(say("The whole report:"), report.page)


def show_tuning(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what was fitted, by how much it is better, and whether it is used."""
    values = report.model_dump()
    yield Text(say(_USED if values["is_used"] else _NOT_USED), style="bold")
    before, fitted = values["ndcg_before"], values["ndcg_fitted"]
    gain = {"gain": f"{fitted - before:+.3f}", "low": f"{values['low']:+.3f}", "high": f"{values['high']:+.3f}"}
    yield Text(say(_FITTED, n=values["n"], before=f"{before:.3f}", fitted=f"{fitted:.3f}", **gain))
    yield Text(say(_CALIBRATED if values["is_calibrated"] else _NOT_CALIBRATED))
    if values["weights"]:
        yield facts({"weights": values["weights"]}, say)


_MISSED = "{missed} of {n} questions found no right passage among the first {top_k}; the page names them."
_USED = "The fitted weights are used from now on: they are surely better."
_NOT_USED = "The default weights stay: no fitted ones are surely better."
_FITTED = "On {n} questions nDCG@10 is {before} by default and {fitted} as fitted: {gain} ({low} to {high})."
_CALIBRATED = "The probability of an answer was fitted too."
_NOT_CALIBRATED = "The probability of an answer was not fitted: a language needs more questions of either kind."


def _figures(report: EvaluateDocumentsReport, say: Say) -> Table:
    table = Table(title=say("{n} questions whose passage is known", n=report.n))
    table.add_column("", overflow="fold")
    for column in ("recall@1", "recall@5", "recall@10", "nDCG@10", "MRR@10"):
        table.add_column(column, justify="right", no_wrap=True)
    groups: list[list[tuple[str, Figures]]] = [
        [(say(ARM_TITLES[each.arm]), each) for each in report.arms],
        [(say(LANGUAGE_TITLES.get(each.name, each.name)), each) for each in report.languages],
        [(each.name, each) for each in report.documents[:_WORST]],
    ]
    for number, group in enumerate(groups):
        if number == len(groups) - 1:
            table.add_row(Text(say("the worst documents"), style="dim"))
        for place, (name, each) in enumerate(group):
            values = (each.recall_at_1, each.recall_at_5, each.recall_at_10, each.ndcg_at_10, each.mrr_at_10)
            shown = (f"{value:.3f}" for value in values)
            table.add_row(Text(clean_text(name)), *shown, style="bold" if number == place == 0 else "")
        table.add_section()
    return table


def _findings(report: EvaluateDocumentsReport, say: Say) -> Table:
    """Return what is worth knowing, each with how grave it is before it."""
    table = Table.grid(padding=(0, 2))
    for finding in find(report):
        level, style = _LEVELS[finding.level]
        values = {name: say(each) if isinstance(each, str) else each for name, each in finding.values.items()}
        table.add_row(Text(say(level), style=style), Text(clean_text(say(finding.words, **values))))
    return table


def _line(document: dict[str, Any], say: Say) -> dict[str, object]:
    """Return the line of a document: pages only where a file has some, its state only where it is not the usual one."""
    state = "" if document["state"] == _INDEXED else say(document["state"])
    return {**document, "pages": document["pages"] or None, "state": state}
