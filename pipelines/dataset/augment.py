"""`data augment`: more examples, made of those that there are, in a dataset of their own."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipelines.dataset.files import CHUNKS, EXAMPLES, MANIFEST, REJECTED
from pipelines.dataset.generate import GenerateReport
from pipelines.dataset.spending import SpendingParams, check_local, count_calls
from pipelines.errors import AssistantError, BudgetError, DataError, LLMError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Chunk, Example, Name, read_records, write_records
from pipelines.workspace import locked
from prompts import load_prompt, prompt_names

if TYPE_CHECKING:
    from pipelines.dataset.writing import augmenting
else:
    augmenting = lazy_import("pipelines.dataset.writing.augmenting", extra="all")

WAYS = ("paraphrase", "back_translation", "deepen", "constrain", "concretise", "broaden", "answer")
_CALLS_PER_EXAMPLE = 1.5


class AugmentParams(SpendingParams):
    """Which examples to make more of, how many, and in which ways."""

    dataset: Annotated[Name, Positional()] = Field(description="Dataset whose examples to take.")
    into: Name = Field(description="Dataset to make: the examples that there are, and the new ones.")
    examples: int = Field(100, ge=1, le=100_000, description="How many new examples.")
    ways: str = Field(
        "paraphrase, deepen, answer", description=f"Ways to make them, separated by commas: {', '.join(WAYS)}."
    )


def plan_augment(params: AugmentParams, context: Context) -> Plan:
    """Say what augmentation will take."""
    endpoint = context.settings.teacher()
    where = f"examples and their passages, personal data masked, are sent to {endpoint.model}" if endpoint else ""
    return Plan(
        title=f"Make {params.examples} more examples of {params.dataset}",
        steps=(where,) if where else (),
        calls=round(params.examples * _CALLS_PER_EXAMPLE),
        cost_usd=None,
    )


def augment_dataset(params: AugmentParams, context: Context) -> GenerateReport:
    """Make more examples of those that there are: other words, harder questions, other answers."""
    started = time.monotonic()
    source, folder = context.workspace.dataset(params.dataset), context.workspace.dataset(params.into)
    _check(params, context, source)
    teacher = context.models.open_teacher()
    if teacher is None:
        raise SettingsError(
            "augmentation needs a remote teacher: the embedded one only asks questions about sentences",
            hint="Set ASSISTANT_TEACHER_URL and ASSISTANT_TEACHER_MODEL.",
        )
    before = dataclasses.replace(teacher.calls)
    with locked(folder):
        manifest = Manifest(path=folder / MANIFEST, inputs=_inputs(params, context, source))
        finished = manifest.finished(GenerateReport)
        if finished is not None and (folder / EXAMPLES).is_file():
            return finished
        parents = list(read_records(source / EXAMPLES, Example))
        chunks = list(read_records(source / CHUNKS, Chunk)) if (source / CHUNKS).is_file() else []
        run = augmenting.Augmentation(params, context, parents, chunks, teacher=teacher)
        stopped: AssistantError | None = None
        try:
            run.write()
        except (BudgetError, LLMError) as error:
            stopped = error
        made = run.collector.kept
        write_records(folder / CHUNKS, chunks)
        write_records(folder / REJECTED, run.collector.rejections)
        write_records(folder / EXAMPLES, [*parents, *made])
        if stopped is not None:
            stopped.args = (f"{stopped} ({len(made)} of {params.examples} new examples are kept)",)
            raise stopped
        report = GenerateReport(
            dataset=params.into,
            teacher=teacher.name,
            requested=params.examples,
            kept=len(made),
            rejected=run.collector.rejected(),
            calls=count_calls(teacher.calls, before),
            samples=[example.question for example in made[:3]],
            seconds=round(time.monotonic() - started, 2),
        )
        manifest.finish(report)
    return report


AUGMENT_DATASET = Operation(params=AugmentParams, report=GenerateReport, run=augment_dataset, plan=plan_augment)


def _check(params: AugmentParams, context: Context, source: Path) -> None:
    check_local(params, context)
    augment_ways(params.ways)
    if params.into == params.dataset:
        raise SettingsError(
            "a dataset is never changed; the new one needs a name of its own", hint=f"--into {params.dataset}-more"
        )
    if not (source / EXAMPLES).is_file():
        known = ", ".join(context.workspace.names("datasets")) or "none"
        raise DataError(f"there is no dataset {params.dataset!r}; known: {known}", path=source)


def augment_ways(text: str) -> tuple[str, ...]:
    """Read ways of augmentation, separated by commas.

    Raises:
        SettingsError: One of them is unknown, or there is none.
    """
    ways = tuple(dict.fromkeys(way.strip() for way in text.split(",") if way.strip()))
    unknown = [way for way in ways if way not in WAYS]
    if unknown or not ways:
        raise SettingsError(f"{(unknown or [text])[0]!r} is no way of augmentation", hint=f"Known: {', '.join(WAYS)}")
    return ways


def _inputs(params: AugmentParams, context: Context, source: Path) -> dict[str, object]:
    endpoint = context.settings.teacher()
    chosen = set(AugmentParams.model_fields) - set(SpendingParams.model_fields)
    return {
        "params": params.model_dump(mode="json", include=chosen),
        "teacher": f"{endpoint.url} {endpoint.model}" if endpoint else "",
        "prompts": sorted({load_prompt(name).sha256 for name, _version in prompt_names()}),
        "examples": file_hash(source / EXAMPLES),
        "chunks": file_hash(source / CHUNKS),
    }
