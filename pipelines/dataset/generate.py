"""`data generate`: examples about every passage, written by the teacher, checked, and counted."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.dataset.files import CHUNKS, EXAMPLES, MANIFEST, REJECTED
from pipelines.dataset.spending import Calls, SpendingParams, check_local, count_calls
from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.forecast import Forecast, forecast_of, plan_of, read_forecast, write_forecast
from pipelines.dataset.writing.interrogatives import RULES
from pipelines.dataset.writing.tasks import DEFAULT_KINDS, parse_kinds, parse_labels
from pipelines.errors import ApprovalRequired, AssistantError, BudgetError, DataError, LLMError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.budget import Budget
from pipelines.models.catalog import DEFAULT_BASE_MODEL, EMBEDDERS
from pipelines.models.ledger import CallCounts
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Chunk, Name, read_records, write_records
from pipelines.workspace import locked
from prompts import load_prompt, prompt_names

if TYPE_CHECKING:
    from pipelines.dataset.writing import opening, topic
else:
    topic = lazy_import("pipelines.dataset.writing.topic", extra="all")
    opening = lazy_import("pipelines.dataset.writing.opening", extra="all")

# Examples that a pilot writes before the rest is approved.
PILOT = 12


class GenerateParams(SpendingParams):
    """What to write examples about, of what kinds, and how many."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset to make.")
    collection: Name | None = Field(None, description="Collection whose documents to ask about.")
    topic: str = Field("", max_length=10_000, description="Description of a topic, where there are no documents.")
    examples: int = Field(200, ge=1, le=100_000, description="How many examples to write.")
    kinds: str = Field(DEFAULT_KINDS, description="Kinds of examples with their shares, for a remote teacher.")
    labels: str = Field("", description="Labels of classification or spans, separated by commas.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Model that teaches where no remote teacher is set.")
    judge: bool = Field(False, description="Have the teacher judge every example against its passage, too.")
    keep_masked: bool = Field(False, description="Keep personal data masked in the dataset.")
    against: Path | None = Field(None, description="Evaluation set that no example may overlap with.")


class GenerateReport(BaseModel):
    """What was written."""

    dataset: str
    teacher: str
    requested: int
    kept: int
    rejected: dict[str, int]
    calls: Calls
    samples: list[str]
    seconds: float


class PlanReport(BaseModel):
    """What writing a dataset would take, told from a pilot."""

    dataset: str
    teacher: str
    requested: int
    forecast: Forecast
    samples: list[str]
    rejected: dict[str, int]


def plan_generate(params: GenerateParams, context: Context) -> Plan:
    """Say what generation will take: from a pilot, where there was one."""
    folder = context.workspace.dataset(params.dataset)
    known = read_forecast(folder, _inputs(params, context), wanted=params.examples)
    return plan_of(
        context.settings.teacher(), about=_about(params), base=params.base, wanted=params.examples, forecast=known
    )


def plan_pilot(params: GenerateParams, context: Context) -> Plan:
    """Say what a pilot will take."""
    wanted = min(PILOT, params.examples)
    return plan_of(context.settings.teacher(), about=_about(params), base=params.base, wanted=wanted, forecast=None)


def plan_dataset(params: GenerateParams, context: Context) -> PlanReport:
    """Write a few examples first, and forecast what the whole dataset will take."""
    _check(params, context)
    with locked(context.workspace.dataset(params.dataset)):
        collector, teacher, forecast = _pilot(params, context, params.budget())
    return PlanReport(
        dataset=params.dataset,
        teacher=teacher,
        requested=params.examples,
        forecast=forecast,
        samples=[example.question for example in collector.kept[:3]],
        rejected=collector.rejected(),
    )


PLAN_DATASET = Operation(params=GenerateParams, report=PlanReport, run=plan_dataset, plan=plan_pilot)


def generate_dataset(params: GenerateParams, context: Context) -> GenerateReport:
    """Write examples about documents or a topic with the teacher, until as many as wanted are kept."""
    return write_dataset(params, context, budget=params.budget())


def write_dataset(params: GenerateParams, context: Context, *, budget: Budget) -> GenerateReport:
    """Write examples within a budget, which may have paid for other things before.

    Raises:
        ApprovalRequired: The forecast of the pilot was not agreed to.
        BudgetError: A cap was reached.
        LLMError: The teacher cannot be used.
        DataError: There is nothing to write about, or nothing that was written can be used.
    """
    started = time.monotonic()
    folder = context.workspace.dataset(params.dataset)
    _check(params, context)
    before = _counted(context)
    with locked(folder):
        manifest = Manifest(path=folder / MANIFEST, inputs={**_inputs(params, context), "examples": params.examples})
        finished = manifest.finished(GenerateReport)
        if finished is not None and (folder / EXAMPLES).is_file():
            context.notice(f"the dataset {params.dataset} is already written: {finished.kept} examples")
            return finished
        _approve_rest(params, context, budget)
        collector, teacher = _write(params, context, wanted=params.examples, budget=budget)
        if len(collector.kept) < params.examples:
            context.notice(
                f"{len(collector.kept)} of {params.examples} examples: the teacher has no more to say about this; "
                "add documents, or ask for other --kinds"
            )
        report = GenerateReport(
            dataset=params.dataset,
            teacher=teacher,
            requested=params.examples,
            kept=len(collector.kept),
            rejected=collector.rejected(),
            calls=count_calls(collector.counts, before),
            samples=[example.question for example in collector.kept[:3]],
            seconds=round(time.monotonic() - started, 2),
        )
        manifest.finish(report)
    return report


GENERATE_DATASET = Operation(params=GenerateParams, report=GenerateReport, run=generate_dataset, plan=plan_generate)


def _about(params: GenerateParams) -> str:
    return f"the topic {params.topic[:60]!r}" if params.topic else f"the collection {params.collection}"


def _inputs(params: GenerateParams, context: Context) -> dict[str, object]:
    """Return all that the examples depend on, but for how many there are."""
    endpoint = context.settings.teacher()
    chosen = set(GenerateParams.model_fields) - set(SpendingParams.model_fields) - {"examples"}
    return {
        "params": params.model_dump(mode="json", include=chosen),
        "teacher": f"{endpoint.url} {endpoint.model}" if endpoint else params.base,
        "embedders": list(EMBEDDERS),
        "rules": RULES,
        "prompts": sorted({load_prompt(name).sha256 for name, _version in prompt_names()}),
        "seed": context.seed,
        "chunks": file_hash(context.workspace.chunks(params.collection)) if params.collection else "",
        "against": file_hash(params.against) if params.against else "",
    }


def _check(params: GenerateParams, context: Context) -> None:
    """Refuse what cannot be written about, before anything is made for it."""
    check_local(params, context)
    context.check_model(params.base)
    parse_labels(params.labels, parse_kinds(params.kinds))
    if params.against is not None and not context.resolve(params.against).is_file():
        raise DataError(f"there is no evaluation set {params.against}", path=params.against)
    if params.topic and params.collection:
        raise SettingsError("a dataset is about a topic or about a collection, not both")
    if params.topic:
        return
    if not params.collection:
        raise SettingsError("nothing to write about", hint="Pass --collection NAME or --topic TEXT.")
    path = context.workspace.chunks(params.collection)
    if not path.is_file():
        raise DataError(
            f"there is no collection {params.collection!r}",
            path=path,
            hint=f"Make it with: assistant docs add FOLDER --collection {params.collection}",
        )


def _approve_rest(params: GenerateParams, context: Context, budget: Budget) -> None:
    """Have the forecast of a pilot approved, where the first approval was of a guess.

    Raises:
        ApprovalRequired: Nobody agreed; what the pilot asked is kept.
    """
    folder = context.workspace.dataset(params.dataset)
    known = read_forecast(folder, _inputs(params, context), wanted=params.examples)
    if known is not None or context.settings.teacher() is None or params.examples <= 2 * PILOT:
        return
    _pilot(params, context, budget)
    with budget.paused():
        is_approved = context.confirm(plan_generate(params, context))
    if not is_approved:
        raise ApprovalRequired(
            "the rest of the dataset was not approved",
            hint="The pilot's answers are kept: agreeing later does not ask them again.",
        )


def _pilot(params: GenerateParams, context: Context, budget: Budget) -> tuple[Collector, str, Forecast]:
    folder = context.workspace.dataset(params.dataset)
    started = time.monotonic()
    wanted = min(PILOT, params.examples)
    collector, teacher = _write(params, context, wanted=wanted, budget=budget, is_pilot=True)
    forecast = forecast_of(
        collector, context.models.ledger, wanted=params.examples, seconds=time.monotonic() - started, seed=context.seed
    )
    write_forecast(folder, _inputs(params, context), forecast)
    return collector, teacher, forecast


def _write(
    params: GenerateParams, context: Context, *, wanted: int, budget: Budget, is_pilot: bool = False
) -> tuple[Collector, str]:
    """Have the teacher write; what was kept is on the disk afterwards, also where it was stopped.

    Raises:
        BudgetError: A cap was reached.
        LLMError: The teacher cannot be used.
        DataError: Nothing it wrote can be.
    """
    folder = context.workspace.dataset(params.dataset)
    chunks = _chunks(params, context, budget)
    writer, work = opening.open_writer(params, context, chunks, budget=budget)
    collector = opening.open_collector(params, context, chunks, wanted=wanted, counts=writer.calls, is_pilot=is_pilot)
    stopped: AssistantError | None = None
    told = False
    try:
        for _ in writer.write(work, collector):
            if writer.calls.cached and not told and not is_pilot:
                told = True
                context.notice("taking up an earlier run: what the teacher answered then is not asked again")
    except (BudgetError, LLMError) as error:
        stopped = error
    if not is_pilot or stopped is not None:
        _store(folder, chunks, collector, is_done=stopped is None)
    if stopped is not None:
        stopped.args = (f"{stopped} ({len(collector.kept)} of {wanted} examples are kept)",)
        raise stopped
    if not collector.kept:
        raise DataError(
            f"the teacher wrote nothing usable about {len(chunks)} passages; rejected: {collector.rejected()}",
            path=folder,
            hint="Use documents with whole sentences, or set a stronger teacher (ASSISTANT_TEACHER_URL).",
        )
    return collector, writer.name


def _store(folder: Path, chunks: list[Chunk], collector: Collector, *, is_done: bool) -> None:
    """Write what was kept; a run that was stopped does not replace more than it has itself."""
    stored = (folder / EXAMPLES).read_bytes().count(b"\n") if (folder / EXAMPLES).is_file() else -1
    if len(collector.kept) <= (0 if is_done and stored >= 0 else stored):
        return
    (folder / MANIFEST).unlink(missing_ok=True)  # it tells of other examples
    write_records(folder / CHUNKS, chunks)
    write_records(folder / REJECTED, collector.rejections)
    write_records(folder / EXAMPLES, collector.kept)


def _chunks(params: GenerateParams, context: Context, budget: Budget) -> list[Chunk]:
    """Return what to ask about: a collection's chunks, or notes that the teacher writes."""
    if params.topic:
        notes = write_topic_notes(
            params.topic, params.dataset, context, base=params.base, examples=params.examples, budget=budget
        )
        chunks = list(read_records(notes / CHUNKS, Chunk))
    else:
        chunks = list(read_records(context.workspace.chunks(str(params.collection)), Chunk))
    return [opening.masked(chunk, context) for chunk in chunks] if params.keep_masked else chunks


def write_topic_notes(about: str, dataset: str, context: Context, *, base: str, examples: int, budget: Budget) -> Path:
    """Have the teacher write notes about a topic; return their folder, below the dataset's.

    Raises:
        LLMError: The teacher cannot be reached, or wrote nothing usable.
    """
    folder = context.workspace.dataset(dataset) / "documents"
    chunks = topic.write_notes(about, folder, context, base=base, examples=examples, dataset=dataset, budget=budget)
    write_records(folder / CHUNKS, chunks)
    return folder


def _counted(context: Context) -> CallCounts:
    """Return what the process's teacher has been asked so far."""
    teacher = context.models.open_teacher()
    return dataclasses.replace(teacher.calls) if teacher is not None else CallCounts()
