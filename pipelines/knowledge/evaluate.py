"""`docs evaluate`: how well the passages of a collection are found, by questions whose place is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from pipelines.errors import SettingsError
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.measuring.report import ARM_TITLES, AskedQuestion, EvaluateDocumentsReport
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation
from pipelines.records import Name, write_records
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.knowledge import tuning
    from pipelines.knowledge.measuring import asking, page, sources, summary
else:
    asking = lazy_import("pipelines.knowledge.measuring.asking", extra="docs")
    page = lazy_import("pipelines.knowledge.measuring.page", extra="docs")
    sources = lazy_import("pipelines.knowledge.measuring.sources", extra="docs")
    summary = lazy_import("pipelines.knowledge.measuring.summary", extra="docs")
    tuning = lazy_import("pipelines.knowledge.tuning", extra="docs")

_FOLDER, _REPORT, _QUESTIONS = "evaluation", "report.json", "questions.jsonl"
_MISSED, _DOCUMENTS = 20, 20  # told of in the report


class QuestionParams(BaseModel):
    """What to ask, and of which collection."""

    collection: Name = Field("default", description="Collection to ask.")
    questions: Path | None = Field(
        None,
        description="JSONL or CSV file with a question and a document a line; also quote, or start and end, "
        "or passage; answerable: false where the documents do not answer; language.",
    )
    dataset: Name | None = Field(None, description="Dataset made of these documents, to take the questions from.")


class EvaluateDocumentsParams(QuestionParams):
    """What to ask, of which collection, and how many passages count."""

    top_k: int = Field(
        5, ge=1, le=50, description="How many passages a chatbot is shown: what is not among them is missed."
    )


def evaluate_documents(params: EvaluateDocumentsParams, context: Context) -> EvaluateDocumentsReport:
    """Measure how well a collection's passages are found, by questions with known places."""
    started = time.monotonic()
    folder = context.workspace.knowledge(params.collection) / _FOLDER
    with opened_ledger(context, params.collection) as ledger:
        known = read_questions(params, context, ledger)
    with opened_retriever(context, params.collection) as retriever:
        asked = asking.ask_all(known.questions, retriever, context)
        is_tuned = _is_tuned(folder.parent, retriever.embedder)
    report = _report(params, context, asked, folder)
    report.left_out, report.outside, report.is_tuned = known.left_out, known.outside, is_tuned
    report.seconds = round(time.monotonic() - started, 1)
    folder.mkdir(exist_ok=True)
    write_records(folder / _QUESTIONS, map(_line, asked))
    page.write_page(report, asked, Path(report.page))
    write_json(folder / _REPORT, report.model_dump(mode="json"))
    return report


EVALUATE_DOCUMENTS = Operation(params=EvaluateDocumentsParams, report=EvaluateDocumentsReport, run=evaluate_documents)


def read_questions(params: QuestionParams, context: Context, ledger: KnowledgeLedger) -> sources.Questions:
    """Return the questions with their places in a collection.

    Raises:
        SettingsError: None were named, or twice.
        DataError: They cannot be read, or do not fit the collection.
    """
    if params.questions is not None and params.dataset is None:
        return sources.read_file(context.resolve(params.questions), ledger)
    if params.dataset is not None and params.questions is None:
        return sources.read_dataset(context.workspace.dataset(params.dataset), ledger)
    raise SettingsError(
        "expected questions from a file or from a dataset, and not from both",
        hint="Pass --questions FILE or --dataset NAME.",
    )


def _report(
    params: EvaluateDocumentsParams, context: Context, asked: Sequence[asking.Asked], folder: Path
) -> EvaluateDocumentsReport:
    arms = summary.arm_figures(asked, top_k=params.top_k)
    compared = summary.differences(asked, arms, seed=context.seed)
    missed = [_line(each) for each in asked if each.question.is_answerable and _is_missed(each, params.top_k)]
    whole = next(each for each in arms if each.arm == "all")
    gain = compared[0]
    return EvaluateDocumentsReport(
        collection=params.collection,
        source=params.questions.name if params.questions is not None else params.dataset or "",
        summary=f"nDCG@10 {whole.ndcg_at_10:.3f}, recall@5 {whole.recall_at_5:.3f} on {whole.n} questions; "
        f"{gain.mean:+.3f} nDCG@10 ({gain.low:+.3f} to {gain.high:+.3f}) against {ARM_TITLES[gain.against]}",
        n=whole.n,
        n_unanswerable=len(asked) - whole.n,
        left_out=0,
        outside=0,
        is_tuned=False,
        top_k=params.top_k,
        arms=arms,
        differences=compared,
        latency=summary.latency(asked),
        languages=summary.grouped_figures(asked, lambda each: each.question.language, top_k=params.top_k),
        documents=summary.grouped_figures(asked, lambda each: each.question.document, top_k=params.top_k)[:_DOCUMENTS],
        answerability=summary.answerability(asked),
        missed=missed[:_MISSED],
        missed_count=len(missed),
        questions=str(folder / _QUESTIONS),
        report=str(folder / _REPORT),
        page=str(folder / "report.html"),
        seconds=0.0,
    )


def _is_tuned(folder: Path, embedder: str) -> bool:
    """Whether searches use what was fitted; `docs tune` may have kept the defaults, or tuned for a former embedder."""
    return tuning.load_tuning(folder, embedder=embedder) != tuning.default_tuning(embedder)


def _is_missed(asked: asking.Asked, top_k: int) -> bool:
    rank = summary.first_rank(asked.ranks, "all")
    return rank is None or rank > top_k


def _line(asked: asking.Asked) -> AskedQuestion:
    ranks = {arm: summary.first_rank(asked.ranks, arm) for arm in asked.ranks}
    return AskedQuestion(
        question=asked.question.question,
        language=asked.question.language,
        document=asked.question.document,
        rank=ranks.get("all"),
        ranks=ranks,
        found=asked.first.chunk.document if asked.first is not None else "",
        passage=asked.first.chunk.text if asked.first is not None else "",
        answerable=round(asked.answerable, 4),
        ms=round(asked.seconds * 1000, 1),
    )
