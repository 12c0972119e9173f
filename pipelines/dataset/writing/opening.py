"""Opens what writes a dataset: the teacher's writer with its recipes, and the collector with its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.curation.waterfall import checks_of
from pipelines.dataset.recipes.classification import ClassificationRecipe
from pipelines.dataset.recipes.conversation import ConversationRecipe
from pipelines.dataset.recipes.grounded import PassageRecipe
from pipelines.dataset.recipes.instruction import InstructionRecipe
from pipelines.dataset.recipes.preference import PreferenceRecipe
from pipelines.dataset.recipes.recipe import Recipe
from pipelines.dataset.recipes.spans import SpansRecipe
from pipelines.dataset.writing import embedded, remote
from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.tasks import parse_kinds, parse_labels, plan_tasks
from pipelines.models.budget import Budget
from pipelines.models.ledger import CallCounts
from pipelines.operation import Context
from pipelines.records import Chunk, ExampleKind, content_id

if TYPE_CHECKING:
    from pipelines.dataset.generate import GenerateParams

_PASSAGE_KINDS = (ExampleKind.GROUNDED, ExampleKind.UNANSWERABLE, ExampleKind.FALSE_PREMISE)
_OTHERS: dict[ExampleKind, Callable[..., Recipe]] = {
    ExampleKind.INSTRUCTION: InstructionRecipe,
    ExampleKind.CONVERSATION: ConversationRecipe,
    ExampleKind.CLASSIFICATION: ClassificationRecipe,
    ExampleKind.SPANS: SpansRecipe,
    ExampleKind.PREFERENCE: PreferenceRecipe,
}


def open_writer(
    params: GenerateParams, context: Context, chunks: Sequence[Chunk], *, budget: Budget
) -> tuple[Any, Iterable[Any]]:
    """Return the teacher's writer, and what it is to be given: tasks, or the chunks themselves."""
    teacher = context.models.open_teacher()
    if teacher is None:
        engine = context.models.open_engine(params.base)
        return embedded.EmbeddedWriter(engine, context.models.embedder_of, seed=context.seed), chunks
    kinds = parse_kinds(params.kinds)
    tasks = plan_tasks(chunks, kinds=kinds, labels=parse_labels(params.labels, kinds), seed=context.seed)
    known = recipes(teacher.name)
    writer = remote.RemoteWriter(teacher, dataset=params.dataset, budget=budget, is_judged=params.judge)
    return writer, (remote.Work(task=task, recipe=known[task.kind]) for task in tasks)


def recipes(teacher: str) -> dict[ExampleKind, Recipe]:
    """Return the recipe of every kind."""
    made: dict[ExampleKind, Recipe] = {kind: PassageRecipe(kind, teacher=teacher) for kind in _PASSAGE_KINDS}
    return made | {kind: recipe(teacher=teacher) for kind, recipe in _OTHERS.items()}


def open_collector(
    params: GenerateParams,
    context: Context,
    chunks: Sequence[Chunk],
    *,
    wanted: int,
    counts: CallCounts,
    is_pilot: bool,
) -> Collector:
    """Return the collector of a run, with every check that can be made while it goes on."""
    stage = "trying a few examples" if is_pilot else "writing examples"
    return Collector(
        wanted,
        questions=DuplicateFinder(context.models.open_embedder()),
        checks=checks_of(
            {chunk.id: chunk for chunk in chunks},
            models=context.models,
            against=context.resolve(params.against) if params.against else None,
        ),
        counts=counts,
        show=lambda done, total, details: context.progress(stage, done, total, **details),
    )


def masked(chunk: Chunk, context: Context) -> Chunk:
    """Return a chunk whose personal data stays masked, also in the dataset."""
    redact = context.models.masker.redact
    text, heading, document = redact(chunk.text), redact(chunk.heading), redact(chunk.document)
    if (text, heading, document) == (chunk.text, chunk.heading, chunk.document):
        return chunk
    changes = {"text": text, "heading": heading, "document": document, "end": chunk.start + len(text)}
    return chunk.model_copy(update={"id": content_id(document, str(chunk.start), text), **changes})
