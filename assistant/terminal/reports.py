"""Reports for people. What has no view of its own is shown field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from assistant.terminal import documents, trainings
from assistant.terminal.fields import Say, facts, fields, labelled, rows, whole_line
from pipelines.chatbot.ask import AskReport
from pipelines.evaluation.report import ARM_TITLES
from pipelines.knowledge.search import FoundPassage, SearchDocumentsReport
from pipelines.records import Quote
from pipelines.text import clean_text, fold_space

View = Callable[[BaseModel, Say], Iterable[RenderableType]]
_LIKELY = 0.5


def render(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what to print for a report."""
    view = _VIEWS.get(type(report).__name__, fields)
    return view(report, say)


def citations(quotes: Iterable[Quote], say: Say, *, are_the_answer: bool) -> Iterable[RenderableType]:
    """Return the sources under an answer: each quote, unless it is the answer, with its place."""
    for number, quote in enumerate(quotes, start=1):
        line = Text(f"[{number}] ", style="cyan")
        if not are_the_answer:
            line.append(f"“{fold_space(clean_text(quote.quote))}”  ", style="italic")
        line.append(_place(quote, say), style="dim")
        yield Padding(line, (0, 0, 0, 2))


def _place(quote: Quote, say: Say) -> str:
    place = f"{quote.document}:{quote.start}-{quote.end}"
    return f"{place}, {say('page {page}', page=quote.page)}" if quote.page else place


def _answer(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    assert isinstance(report, AskReport)
    yield Text(clean_text(report.answer), style="yellow" if report.refused else "")
    if report.citations:
        said = " ".join(fold_space(quote.quote) for quote in report.citations)
        yield Text(say("Sources"), style="bold")
        yield from citations(report.citations, say, are_the_answer=said == report.answer)
    if report.closest is not None:
        yield Text(f"{say('The closest passage is in')} {_place(report.closest, say)}", style="dim")
        yield Padding(Text(fold_space(clean_text(report.closest.quote)), style="dim"), (0, 0, 0, 2))


def _evaluation(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    asked = _only(values, "n", "n_unanswerable")
    table = Table(title=say("{n} answerable and {n_unanswerable} unanswerable held-out questions", **asked))
    table.add_column("")
    metric = "quote F1" if values["metric"] == "quote_f1" else "score"
    for column in (metric, "exact match", "correct refusals", "wrong refusals", "loss"):
        table.add_column(say(column), justify="right")
    for arm, scores in values["arms"].items():
        keys = ("score", "exact_match", "correct_refusals", "wrong_refusals", "loss")
        shown = ("" if scores[key] is None else f"{scores[key]:.3f}" for key in keys)
        table.add_row(say(ARM_TITLES.get(arm, arm)), *shown)
    yield table
    interval = {end: f"{values['difference'][end]:+.3f}" for end in ("low", "high")}
    yield Text(f"{values['summary']} {say(_INTERVAL, **interval)}", style="bold")
    pairs = values["mcnemar"]
    yield Text(say(_MCNEMAR, **_only(pairs, "tuned_only", "other_only"), p_value=f"{pairs['p_value']:.3g}"))
    if values["page"]:
        yield whole_line(say("The whole report:"), values["page"])


_INTERVAL = "95% interval of the difference: {low} to {high}."
_MCNEMAR = (
    "Right, the other wrong: {tuned_only}; wrong, the other right: {other_only} (exact McNemar test, p = {p_value})."
)


_MOST_LABELS = 20


def _head_evaluation(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    table = Table(title=f"{values['n']} held-out texts")
    table.add_column("")
    for column in ("F1", "accuracy", "difference in F1", "McNemar p"):
        table.add_column(column, justify="right")
    table.add_row("head", f"{values['f1']:.3f}", _score(values["accuracy"]), "", "")
    for each in values["baselines"]:
        low, high, pairs = each["interval"]["low"], each["interval"]["high"], each["accuracy"] or {}
        p_value = f"{pairs['p_value']:.3g}" if pairs else ""
        row = (f"{each['f1']:.3f}", _score(pairs.get("accuracy")), f"{low:+.3f} … {high:+.3f}", p_value)
        table.add_row(each["name"], *row)
    yield table
    yield rows("labels", values["per_label"][:_MOST_LABELS], say)
    yield Text(clean_text(values["summary"]), style="bold")
    yield Text(f"Expected calibration error: {_score(values['calibration']['expected_error']) or 'not measured'}")
    yield whole_line(say("The whole report:"), values["page"])


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _build(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    dataset, judged, index = values["dataset"], values["evaluation"], values["index"]
    rejected = ", ".join(f"{check} {count}" for check, count in dataset["rejected"].items())
    low, high = judged["difference"]["low"], judged["difference"]["high"]
    table = Table.grid(padding=(0, 2))
    table.add_row(say("Index"), say("{documents} documents, {chunks} chunks", **_only(index, "documents", "chunks")))
    table.add_row(say("Dataset"), say("{kept} examples by {teacher}", **_only(dataset, "kept", "teacher")))
    table.add_row(say("Rejected"), rejected or say("none"))
    table.add_row(say("Training"), say("{steps} steps, {seconds} s", **_only(values["training"], "steps", "seconds")))
    table.add_row(
        say("Quote F1"),
        say("base {base:.2f}, base with examples {few_shot:.2f}, tuned {tuned:.2f} ({n} held-out questions)", **judged),
    )
    table.add_row(say("Difference"), f"{low:+.2f} … {high:+.2f} (95%)")
    yield table
    yield Text(values["summary"], style="bold")
    yield Text(say("Talk with it: assistant bot chat {bot}", bot=values["bot"]), style="green")


def _only(values: dict[str, object], *names: str) -> dict[str, object]:
    return {name: values[name] for name in names}


def _document(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    del say
    yield Text(report.model_dump()["text"])


def _passages(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    assert isinstance(report, SearchDocumentsReport)
    told = say("The documents answer this with a probability of {share}.", share=f"{report.answerable:.0%}")
    yield Text(told, style="green" if report.answerable >= _LIKELY else "yellow")
    if not report.passages and not report.left_out.over_budget:
        yield Text(say("Nothing was found."), style="yellow")
    for query in report.queries[1:]:
        yield Text(f"{say('Also searched')}: {clean_text(query)}", style="dim")
    for number, passage in enumerate(report.passages, start=1):
        yield _title(number, passage, say)
        yield Padding(_marked(passage), (0, 0, 1, 3))
    left_out = report.left_out
    if left_out.duplicates:
        yield Text(say("{n} more say the same and are not shown.", n=left_out.duplicates), style="dim")
    if left_out.over_budget:
        documents = ", ".join(map(clean_text, left_out.documents))
        told = say(
            "{n} passages did not fit into --max-tokens: {documents}", n=left_out.over_budget, documents=documents
        )
        yield Text(told, style="yellow")


def _marked(passage: FoundPassage) -> Text:
    """Return a passage's text with the query's words marked."""
    text, position = Text(), 0
    for start, end in passage.marks:
        text.append(clean_text(passage.text[position:start]))
        text.append(clean_text(passage.text[start:end]), style="bold yellow")
        position = end
    return text.append(clean_text(passage.text[position:]))


def _title(number: int, passage: FoundPassage, say: Say) -> Text:
    """Return the line above a passage: its place, the section, and the score."""
    title = Text(f"{number}. {clean_text(passage.document)}:{passage.start}-{passage.end}", style="cyan")
    if passage.page is not None:
        title.append(f", {say('page {page}', page=passage.page)}")
    title.append(f"  {passage.score:.3f}", style="bold")
    if passage.heading:
        title.append(f"  {fold_space(clean_text(passage.heading))}", style="dim")
    return title


def _forecast(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    forecast = values["forecast"]
    table = Table.grid(padding=(0, 2))
    table.add_row(say("Pilot"), say("{pilot_kept} examples kept of {pilot_calls} calls", **forecast))
    table.add_row(say("Rejected"), Text(", ".join(f"{n} {c}" for n, c in values["rejected"].items()) or say("none")))
    for name, form in _FORECAST.items():
        if forecast[name] is not None:
            low, high = (form.format(forecast[name][end]) for end in ("low", "high"))
            table.add_row(say(name), f"{low} … {high} (90%)")
    yield Text(say("{requested} examples by {teacher}", **_only(values, "requested", "teacher")), style="bold")
    yield table
    yield Text(say("For example:"), style="bold")
    for sample in values["samples"]:
        yield Padding(Text(clean_text(sample)), (0, 0, 0, 2))


_FORECAST = {
    "share_kept": "{:.0%}",
    "calls": "{:,.0f}",
    "tokens": "{:,.0f}",
    "cost_usd": "${:,.2f}",
    "minutes": "{:,.1f}",
}


def _explain(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    values = report.model_dump()
    example = values["example"] or {}
    yield Text(f"{values['id']}  {values['state']}", style="bold")
    for name in ("kind", "question", "answer", "rejected", "degradation", "teacher", "prompt"):
        if example.get(name):
            yield labelled(name, str(example[name]))
    for name in ("attributes", "scores"):
        if example.get(name):
            yield labelled(name, ", ".join(f"{key}: {value}" for key, value in example[name].items()))
    for name in ("made_from", "made_into"):
        if values[name]:
            yield labelled(name.replace("_", " "), ", ".join(values[name]))
    for passage in values["passages"]:
        yield Text(f"\n{passage['document']}:{passage['start']}-{passage['end']}", style="cyan")
        yield Padding(Text(clean_text(passage["text"])), (0, 0, 0, 2))
    for number, call in enumerate(values["calls"], start=1):
        cost = "" if call["cost_usd"] is None else f", ${call['cost_usd']:.4f}"
        used = f"{call['tokens_in']} + {call['tokens_out']} {say('tokens')}, {call['seconds']:.1f} s{cost}"
        yield Text(f"\n{say('Call')} {number}: {call['model']}, {used}", style="cyan")
        yield Padding(Text(clean_text(call["asked"]), style="dim"), (0, 0, 0, 2))
        yield Padding(Text(f"→ {clean_text(call['answered'])}"), (0, 0, 0, 2))


def _predictions(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what a head says of one text, or how a file was labelled."""
    values = report.model_dump()
    if values["path"]:
        left_out = () if values["cut"] else ("cut",)
        yield facts({name: values[name] for name in ("path", "texts", "cut", "labels") if name not in left_out}, say)
    for each in values["predictions"]:
        if values["path"]:
            yield Text(fold_space(clean_text(each["text"])), style="dim", no_wrap=True, overflow="ellipsis")
        yield from _found(each, say)


def _found(prediction: dict[str, Any], say: Say) -> Iterable[RenderableType]:
    if prediction["label"]:
        yield _certain(Text(clean_text(prediction["label"]), style="bold"), prediction["score"])
    for span in prediction["spans"] or ():
        piece = Text(fold_space(clean_text(span["text"])), style="bold")
        yield _certain(piece.append(f"  {clean_text(span['label'])}", style="not bold cyan"), span["score"])
    if not prediction["label"] and not prediction["spans"]:
        yield Text(say("Nothing was found."), style="dim")


def _certain(text: Text, score: float) -> Text:
    return text.append(f"  {score:.3f}", style="not bold default")


_VIEWS: dict[str, View] = {
    "AddDocumentsReport": documents.show_addition,
    "AskReport": _answer,
    "BuildReport": _build,
    "ListDocumentsReport": documents.list_documents,
    "ListAdaptersReport": trainings.list_adapters,
    "EvaluateDocumentsReport": documents.show_evaluation,
    "EvaluateHeadReport": _head_evaluation,
    "EvaluateReport": _evaluation,
    "ExplainReport": _explain,
    "PlanReport": _forecast,
    "PredictReport": _predictions,
    "ShowDocumentReport": _document,
    "SearchDocumentsReport": _passages,
    "ShowAdapterReport": trainings.show_adapter,
    "TuneDocumentsReport": documents.show_tuning,
    "TrainReport": trainings.show_outcome,
    "TrainingPlan": trainings.show_plan,
    "WatchDocumentsReport": documents.show_watch,
}
