"""`bot build`: the whole way, from documents or a topic to a chatbot.

Each stage knows from its manifest whether it is done, so the same command goes on where it
was stopped, and a changed document or parameter redoes only what depends on it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.chatbot.bots import Bot, save_bot
from pipelines.dataset.curate import CurateParams, CurateReport, curate_dataset
from pipelines.dataset.generate import (
    GenerateParams,
    GenerateReport,
    plan_generate,
    write_dataset,
    write_topic_notes,
)
from pipelines.dataset.spending import Calls, SpendingParams, check_local
from pipelines.errors import SettingsError
from pipelines.evaluation.evaluate import EvaluateParams, evaluate_adapter
from pipelines.evaluation.report import Interval, Verdict
from pipelines.knowledge.add import AddDocumentsParams, AddDocumentsReport, FailedDocument, add_documents
from pipelines.models.budget import Budget
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Name
from pipelines.training.train import TrainParams, train_adapter

# Minutes on two cores for the stages besides generation: a part that is always there, and
# a part per example.
_FIXED_MINUTES = (0.5, 2.0)
_MINUTES_PER_EXAMPLE = (0.01, 0.05)


class BuildParams(SpendingParams):
    """What the chatbot is about, and how it is made."""

    name: Annotated[Name, Positional()] = Field(description="Name of the chatbot.")
    documents: Path | None = Field(None, description="Folder of documents to answer from.")
    topic: str = Field("", max_length=10_000, description="Description of a topic, where there are no documents.")
    examples: int = Field(200, ge=8, le=100_000, description="Question-answer pairs to write.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model to fine-tune.")
    epochs: float = Field(4.0, gt=0, le=100, description="Passes over the training split, at most.")
    passages: int = Field(3, ge=1, le=12, description="Passages shown with each question.")
    max_megabytes: float = Field(20.0, gt=0, description="Largest file to read.")


class DatasetPart(BaseModel):
    """The dataset of a build."""

    path: str
    teacher: str
    kept: int
    rejected: dict[str, int]
    splits: dict[str, int]
    calls: Calls


class TrainingPart(BaseModel):
    """The training of a build."""

    adapter: str
    steps: int
    tokens_per_second: float
    best_validation_loss: float
    resumed_from_step: int
    seconds: float


class EvaluationPart(BaseModel):
    """The evaluation of a build."""

    metric: str
    base: float
    few_shot: float
    tuned: float
    difference: Interval
    verdict: Verdict
    n: int


class IndexPart(BaseModel):
    """The index of a build."""

    documents: int
    chunks: int
    failed: list[FailedDocument]


class BuildReport(BaseModel):
    """What was built, and whether tuning helped."""

    bot: str
    dataset: DatasetPart
    training: TrainingPart
    evaluation: EvaluationPart
    index: IndexPart
    served: Literal["tuned", "base"]
    summary: str
    seconds: float


def plan_build(params: BuildParams, context: Context) -> Plan:
    """Say what building will take."""
    _check_source(params)
    generation = plan_generate(_generate_params(params), context)
    low, high = generation.minutes or (0.0, 0.0)
    low += _FIXED_MINUTES[0] + params.examples * _MINUTES_PER_EXAMPLE[0]
    high += _FIXED_MINUTES[1] + params.examples * _MINUTES_PER_EXAMPLE[1]
    source = str(params.documents) if params.documents else f"the topic {params.topic[:60]!r}"
    existing = context.workspace.bot(params.name)
    return Plan(
        title=f"Build the chatbot {params.name} from {source}",
        steps=(
            "read and index the documents" if params.documents else "have the teacher write notes, and index them",
            f"write {params.examples} examples: {generation.steps[0]}",
            f"fine-tune {params.base} with QLoRA on this machine, and compare it with the base",
        ),
        minutes=(low, high),
        calls=generation.calls,
        cost_usd=generation.cost_usd,
        replaces=(str(existing),) if existing.is_dir() else (),
    )


def build_bot(params: BuildParams, context: Context) -> BuildReport:
    """Make a chatbot of a folder of documents, or of a topic: the whole way."""
    started = time.monotonic()
    _check_source(params)
    check_local(params, context)
    context.check_model(params.base)
    budget = params.budget()
    index = _index(params, context, budget)
    written = write_dataset(_generate_params(params), context, budget=budget)
    curated = curate_dataset(CurateParams(dataset=params.name, passages=params.passages), context)
    trained = train_adapter(TrainParams(dataset=params.name, base=params.base, epochs=params.epochs), context)
    judged = evaluate_adapter(EvaluateParams(adapter=params.name, base=params.base), context)
    served: Literal["tuned", "base"] = "tuned" if judged.verdict == "better" else "base"
    bot = Bot(
        name=params.name,
        collection=params.name,
        base=params.base,
        adapter=params.name,
        served=served,
        passages=params.passages,
        summary=judged.summary,
    )
    save_bot(context.workspace.bot(params.name), bot)
    return BuildReport(
        bot=params.name,
        dataset=_dataset_part(written, curated),
        training=TrainingPart.model_validate(trained.model_dump(include=set(TrainingPart.model_fields))),
        evaluation=EvaluationPart.model_validate(judged.model_dump(include=set(EvaluationPart.model_fields))),
        index=IndexPart(documents=index.documents, chunks=index.chunks, failed=index.failed),
        served=served,
        summary=judged.summary,
        seconds=round(time.monotonic() - started, 1),
    )


BUILD_BOT = Operation(params=BuildParams, report=BuildReport, run=build_bot, plan=plan_build)


def _check_source(params: BuildParams) -> None:
    if bool(params.documents) == bool(params.topic):
        raise SettingsError(
            "a chatbot is built from documents or from a topic",
            hint="Pass --documents FOLDER or --topic TEXT, and not both.",
        )


def _generate_params(params: BuildParams) -> GenerateParams:
    caps = params.model_dump(include=set(SpendingParams.model_fields))
    return GenerateParams(
        dataset=params.name, collection=params.name, examples=params.examples, base=params.base, **caps
    )


def _index(params: BuildParams, context: Context, budget: Budget) -> AddDocumentsReport:
    """Index the documents; where there is only a topic, the notes that the teacher writes on it."""
    folder = params.documents
    if folder is None:
        folder = write_topic_notes(
            params.topic,
            params.name,
            context,
            base=params.base,
            examples=params.examples,
            budget=budget,
        )
    report = add_documents(
        AddDocumentsParams(folder=folder, collection=params.name, max_megabytes=params.max_megabytes), context
    )
    for failure in report.failed:
        context.notice(f"{failure.document}: {failure.reason}")
    return report


def _dataset_part(written: GenerateReport, curated: CurateReport) -> DatasetPart:
    rejected = dict(written.rejected)
    for check, count in curated.rejected.items():
        rejected[check] = rejected.get(check, 0) + count
    return DatasetPart(
        path=curated.path,
        teacher=written.teacher,
        kept=curated.kept,
        rejected=rejected,
        splits=curated.splits,
        calls=written.calls,
    )
