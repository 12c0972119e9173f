"""`data generate`: questions and answers about every chunk, written by the teacher."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.dataset.checks import DuplicateFinder, check_draft
from pipelines.dataset.files import CHUNKS, EXAMPLES, MANIFEST, REJECTED
from pipelines.dataset.writers import Draft, Writer
from pipelines.errors import DataError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.catalog import DEFAULT_BASE_MODEL, DEFAULT_EMBEDDER
from pipelines.models.ledger import CallCounts
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import (
    Chunk,
    Example,
    ExampleKind,
    Message,
    Name,
    Rejection,
    content_id,
    read_records,
    write_records,
)
from pipelines.text import language_of
from pipelines.workspace import locked
from prompts import load_prompt, prompt_names

if TYPE_CHECKING:
    from pipelines.dataset import embedded, remote, topic
else:
    embedded = lazy_import("pipelines.dataset.embedded", extra="train")
    remote = lazy_import("pipelines.dataset.remote", extra="teacher")
    topic = lazy_import("pipelines.dataset.topic", extra="train")

# Measured on two cores: candidate sentences the embedded teacher gets through in a second,
# about half of which end as examples.
_EMBEDDED_PER_SECOND = (1.5, 5.0)
_REMOTE_SECONDS_PER_CALL = (1.0, 30.0)
_REMOTE_TOKENS_PER_CALL = (420, 180)


class GenerateParams(BaseModel):
    """What to write examples about, and how many."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset to make.")
    collection: Name | None = Field(None, description="Collection whose documents to ask about.")
    topic: str = Field("", max_length=10_000, description="Description of a topic, where there are no documents.")
    examples: int = Field(200, ge=1, le=100_000, description="How many question-answer pairs to write.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Model that teaches where no remote teacher is set.")


class Calls(BaseModel):
    """What the calls to the teacher took."""

    sent: int = 0
    cached: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0


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


def plan_generate(params: GenerateParams, context: Context) -> Plan:
    """Say what generation will take."""
    endpoint = context.settings.teacher()
    about = f"the topic {params.topic[:60]!r}" if params.topic else f"the collection {params.collection}"
    if endpoint is None:
        low, high = (params.examples * 2 / rate / 60 for rate in reversed(_EMBEDDED_PER_SECOND))
        return Plan(
            title=f"Write {params.examples} examples about {about}",
            steps=(f"the embedded model {params.base} writes questions on this machine",),
            minutes=(low, high),
        )
    calls = params.examples
    tokens_in, tokens_out = (each * calls for each in _REMOTE_TOKENS_PER_CALL)
    low, high = (calls * each / context.settings.teacher_concurrency / 60 for each in _REMOTE_SECONDS_PER_CALL)
    return Plan(
        title=f"Write {params.examples} examples about {about}",
        steps=(f"passages of the documents are sent to {endpoint.model} at {endpoint.url}",),
        minutes=(low, high),
        calls=calls,
        cost_usd=endpoint.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out),
    )


def generate_dataset(params: GenerateParams, context: Context) -> GenerateReport:
    """Write question-answer pairs about documents or a topic with the teacher."""
    started = time.monotonic()
    folder = context.workspace.dataset(params.dataset)
    _check_source(params, context)
    before = _counted(context)
    with locked(folder):
        manifest = Manifest(path=folder / MANIFEST, inputs=_inputs(params, context))
        finished = manifest.finished(GenerateReport)
        if finished is not None and (folder / EXAMPLES).is_file():
            context.notice(f"the dataset {params.dataset} is already written: {finished.kept} examples")
            return finished
        chunks = _chunks(params, context)
        write_records(folder / CHUNKS, chunks)
        writer = _writer(params, context)
        examples, rejections = _collect(writer, chunks, params.examples, context)
        counts = Counter(rejection.check for rejection in rejections)
        if not examples:
            raise DataError(
                f"the teacher wrote nothing usable about {len(chunks)} passages; rejected: {dict(counts)}",
                path=folder,
                hint="Use documents with whole sentences, or set a stronger teacher (ASSISTANT_TEACHER_URL).",
            )
        write_records(folder / REJECTED, rejections)
        write_records(folder / EXAMPLES, examples)
        report = GenerateReport(
            dataset=params.dataset,
            teacher=writer.name,
            requested=params.examples,
            kept=len(examples),
            rejected=dict(counts),
            calls=_calls(writer, before, context),
            samples=[example.question for example in examples[:3]],
            seconds=round(time.monotonic() - started, 2),
        )
        manifest.finish(report)
    return report


GENERATE_DATASET = Operation(params=GenerateParams, report=GenerateReport, run=generate_dataset, plan=plan_generate)


def _inputs(params: GenerateParams, context: Context) -> dict[str, object]:
    endpoint = context.settings.teacher()
    return {
        "params": params.model_dump(mode="json"),
        "teacher": f"{endpoint.url} {endpoint.model}" if endpoint else params.base,
        "embedder": DEFAULT_EMBEDDER,
        "prompts": sorted({load_prompt(name).sha256 for name, _version in prompt_names()}),
        "seed": context.seed,
        "chunks": file_hash(context.workspace.chunks(params.collection)) if params.collection else "",
    }


def _chunks(params: GenerateParams, context: Context) -> list[Chunk]:
    """Return what to ask about: a collection's chunks, or notes that the teacher writes."""
    if params.topic:
        notes = write_topic_notes(params.topic, params.dataset, context, base=params.base)
        return list(read_records(notes / CHUNKS, Chunk))
    return list(read_records(context.workspace.chunks(str(params.collection)), Chunk))


def _check_source(params: GenerateParams, context: Context) -> None:
    """Refuse what cannot be written about, before anything is made for it."""
    context.check_model(params.base)
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


def _counted(context: Context) -> CallCounts:
    """Return what the process's teacher has been asked so far."""
    teacher = context.models.open_teacher()
    return dataclasses.replace(teacher.calls) if teacher is not None else CallCounts()


def _writer(params: GenerateParams, context: Context) -> Writer:
    teacher = context.models.open_teacher()
    if teacher is not None:
        return remote.RemoteWriter(teacher, seed=context.seed)
    engine = context.models.open_engine(params.base)
    return embedded.EmbeddedWriter(engine, context.models.open_embedder(), seed=context.seed)


def write_topic_notes(about: str, dataset: str, context: Context, *, base: str) -> Path:
    """Have the teacher write notes about a topic; return their folder, below the dataset's.

    Raises:
        LLMError: The teacher cannot be reached, or wrote nothing usable.
    """
    folder = context.workspace.dataset(dataset) / "documents"
    chunks = topic.write_notes(about, folder, context, base=base)
    write_records(folder / CHUNKS, chunks)
    return folder


def _collect(
    writer: Writer, chunks: list[Chunk], wanted: int, context: Context
) -> tuple[list[Example], list[Rejection]]:
    """Read drafts until enough have passed the checks, or the teacher has no more."""
    examples: list[Example] = []
    rejections: list[Rejection] = []
    duplicates = DuplicateFinder()
    told = False
    for draft in writer.write(chunks):
        if writer.calls.cached and not told:
            told = True
            context.notice("taking up an earlier run: what the teacher answered then is not asked again")
        rejection = draft if isinstance(draft, Rejection) else check_draft(draft, duplicates)
        if rejection is not None:
            rejections.append(rejection)
        elif isinstance(draft, Draft):
            examples.append(_example(draft, writer))
        context.progress("writing examples", len(examples), wanted, rejected=str(len(rejections)))
        if len(examples) >= wanted:
            break
    return examples, rejections


def _example(draft: Draft, writer: Writer) -> Example:
    return Example(
        id=content_id(draft.question, draft.chunk.id, draft.quote.quote),
        kind=ExampleKind.GROUNDED,
        question=draft.question,
        answer=draft.answer,
        language=language_of(draft.question),
        messages=(
            Message(role="user", content=draft.question),
            Message(role="assistant", content=draft.answer),
        ),
        source=draft.chunk.id,
        quotes=(draft.quote,),
        teacher=writer.name,
        prompt=writer.prompt,
        scores=draft.scores,
    )


def _calls(writer: Writer, before: CallCounts, context: Context) -> Calls:
    then = dataclasses.asdict(before)
    counts = CallCounts(**{name: count - then[name] for name, count in dataclasses.asdict(writer.calls).items()})
    endpoint = context.settings.teacher()
    cost = endpoint.cost_usd(tokens_in=counts.tokens_in, tokens_out=counts.tokens_out) if endpoint else 0.0
    return Calls(
        sent=counts.sent,
        cached=counts.cached,
        failed=counts.failed,
        tokens_in=counts.tokens_in,
        tokens_out=counts.tokens_out,
        cost_usd=cost,
    )
