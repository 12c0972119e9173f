"""Reports for people. What has no view of its own is shown field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.text import clean_text, fold_space

Say = Callable[..., str]
View = Callable[[BaseModel, Say], Iterable[RenderableType]]
_LONGEST = 20


def render(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what to print for a report."""
    view = _VIEWS.get(type(report).__name__, _fields)
    return view(report, say)


def citations(quotes: Iterable[BaseModel], say: Say) -> Iterable[RenderableType]:
    """Return the sources under an answer: each quote with its document and place."""
    for number, quote in enumerate(quotes, start=1):
        values = quote.model_dump()
        place = f"{values['document']}:{values['start']}-{values['end']}"
        if values.get("page"):
            place += ", " + say("page", page=values["page"]) if say("page") != "page" else f", page {values['page']}"
        line = Text(f"[{number}] ", style="cyan")
        line.append(f"“{fold_space(clean_text(values['quote']))}”", style="italic")
        line.append(f"  {place}", style="dim")
        yield Padding(line, (0, 0, 0, 2))


def _answer(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    yield Text(clean_text(values["answer"]), style="yellow" if values["refused"] else "")
    if values["citations"]:
        yield Text(say("Sources"), style="bold")
        yield from citations(report.citations, say)  # type: ignore[attr-defined]


def _evaluation(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    del say
    values = report.model_dump()
    names = {"base": "base", "few_shot": "base with examples", "tuned": "tuned"}
    table = Table(title=f"{values['n']} answerable and {values['n_unanswerable']} unanswerable held-out questions")
    table.add_column("")
    for column in ("quote F1", "exact match", "correct refusals", "wrong refusals", "loss"):
        table.add_column(column, justify="right")
    for arm, scores in values["arms"].items():
        keys = ("quote_f1", "exact_match", "correct_refusals", "wrong_refusals", "loss")
        table.add_row(names[arm], *(f"{scores[key]:.3f}" for key in keys))
    yield table
    low, high = values["difference"]["low"], values["difference"]["high"]
    yield Text(f"{values['summary']} 95% interval of the difference: {low:+.3f} to {high:+.3f}.", style="bold")


def _document(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    del say
    yield Text(report.model_dump()["text"])


def _passages(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    del say
    for number, passage in enumerate(report.model_dump()["passages"], start=1):
        yield Text(
            f"{number}. {passage['document']}:{passage['start']}-{passage['end']}  {passage['score']:.2f}",
            style="cyan",
        )
        yield Padding(Text(clean_text(passage["text"])), (0, 0, 1, 3))


def _fields(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    del say
    lists = []
    table = Table.grid(padding=(0, 2))
    for name, value in report.model_dump(mode="json").items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lists.append(_rows(name, value))
        elif isinstance(value, dict):
            shown = ", ".join(f"{key} {each}" for key, each in value.items() if not isinstance(each, dict))
            table.add_row(name.replace("_", " "), Text(clean_text(shown or "none")))
        else:
            shown = "; ".join(map(str, value[:_LONGEST])) if isinstance(value, list) else str(value)
            table.add_row(name.replace("_", " "), Text(clean_text(shown or "none")))
    yield table
    yield from lists


def _rows(name: str, rows: list[dict[str, object]]) -> Table:
    table = Table(title=name)
    for column in rows[0]:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(Text(clean_text("" if value is None else str(value))) for value in row.values()))
    return table


_VIEWS: dict[str, View] = {
    "AskReport": _answer,
    "EvaluateReport": _evaluation,
    "ShowDocumentReport": _document,
    "SearchDocumentsReport": _passages,
}
