"""`data curate`: validates examples, drops duplicates, splits, and composes conversations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.dataset.checks import DuplicateFinder
from pipelines.dataset.files import CHUNKS, CURATED, EXAMPLES, REJECTED_BY_CURATION, split_file
from pipelines.dataset.split import split_by_source
from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Positional
from pipelines.prompting import answer_prompt_hashes
from pipelines.quotes import locate
from pipelines.records import SPLITS, Chunk, Example, Name, Rejection, Split, read_records, write_records
from pipelines.text import fold_space
from pipelines.workspace import locked

if TYPE_CHECKING:
    from pipelines.dataset import compose
    from pipelines.models import nearest
else:
    compose = lazy_import("pipelines.dataset.compose", extra="train")
    nearest = lazy_import("pipelines.models.nearest", extra="train")

_FEWEST = 8


class CurateParams(BaseModel):
    """How to make a dataset of examples."""

    dataset: Annotated[Name, Positional()] = Field(description="Dataset whose examples to curate.")
    unanswerable_share: float = Field(0.25, ge=0, le=0.6, description="Share of unanswerable questions.")
    passages: int = Field(3, ge=1, le=12, description="Passages shown with each question.")
    validation_share: float = Field(0.12, gt=0, lt=0.5, description="Share for choosing the best adapter.")
    test_share: float = Field(0.25, gt=0, lt=0.5, description="Share for judging it; never trained on.")


class CurateReport(BaseModel):
    """What became of the examples."""

    dataset: str
    path: str
    kept: int
    rejected: dict[str, int]
    splits: dict[str, int]
    unanswerable: int
    leaks: int


def curate_dataset(params: CurateParams, context: Context) -> CurateReport:
    """Validate examples, drop duplicates, split by source, and compose conversations."""
    folder = context.workspace.dataset(params.dataset)
    if not (folder / EXAMPLES).is_file():
        raise DataError(
            f"there is no dataset {params.dataset!r}",
            path=folder,
            hint=f"Make it with: assistant data generate {params.dataset}",
        )
    inputs = {
        "params": params.model_dump(mode="json"),
        "examples": file_hash(folder / EXAMPLES),
        "chunks": file_hash(folder / CHUNKS),
        "prompts": answer_prompt_hashes(),
        "seed": context.seed,
    }
    manifest = Manifest(path=folder / CURATED, inputs=inputs)
    with locked(folder):
        finished = manifest.finished(CurateReport)
        if finished is not None and all((folder / split_file(split)).is_file() for split in SPLITS):
            return finished
        report = _curate(params, context)
        manifest.finish(report)
    return report


CURATE_DATASET = Operation(params=CurateParams, report=CurateReport, run=curate_dataset)


def _curate(params: CurateParams, context: Context) -> CurateReport:
    folder = context.workspace.dataset(params.dataset)
    # The same text under two names would be learnt in one split and tested in another.
    first_of = {fold_space(chunk.text): chunk for chunk in reversed(list(read_records(folder / CHUNKS, Chunk)))}
    chunks = {chunk.id: chunk for chunk in reversed(first_of.values())}
    examples, rejections = _validate(list(read_records(folder / EXAMPLES, Example)), chunks)
    if len(examples) < _FEWEST:
        raise DataError(
            f"{len(examples)} examples are too few to train, validate and test on; at least {_FEWEST} are needed",
            path=folder,
            hint="Ask for more with --examples, or add documents.",
        )
    split_of = split_by_source(
        examples,
        chunks,
        validation_share=params.validation_share,
        test_share=params.test_share,
        seed=context.seed,
    )
    composed = _compose_splits(examples, chunks, split_of, params, context)
    for split in SPLITS:
        if not composed[split]:
            raise DataError(
                f"no example is left for the {split} split",
                path=folder,
                hint="Ask for more with --examples, or add documents.",
            )
    write_records(folder / REJECTED_BY_CURATION, rejections)
    for split in SPLITS:
        write_records(folder / split_file(split), composed[split])
    everything = [example for split in SPLITS for example in composed[split]]
    return CurateReport(
        dataset=params.dataset,
        path=str(folder),
        kept=len(everything),
        rejected=dict(Counter(rejection.check for rejection in rejections)),
        splits={split: len(composed[split]) for split in SPLITS},
        unanswerable=sum(not example.quotes for example in everything),
        leaks=count_leaks(composed),
    )


def _validate(examples: Sequence[Example], chunks: Mapping[str, Chunk]) -> tuple[list[Example], list[Rejection]]:
    """Drop examples whose quotes do not stand in their documents, and duplicates."""
    kept: list[Example] = []
    rejections: list[Rejection] = []
    duplicates = DuplicateFinder()
    for example in examples:
        chunk = chunks.get(example.source)
        if chunk is None or not example.quotes or any(locate(each.quote, chunk) != each for each in example.quotes):
            problem: tuple[str, str] | None = ("quote", "its quote does not stand in its passage")
        else:
            problem = duplicates.check(example.question)
        if problem is None:
            kept.append(example)
        else:
            check, reason = problem
            rejections.append(Rejection(check=check, reason=reason, text=example.question, source=example.source))
    return kept, rejections


def _compose_splits(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    split_of: Mapping[str, Split],
    params: CurateParams,
    context: Context,
) -> dict[Split, list[Example]]:
    embedder = context.models.open_embedder()
    composed: dict[Split, list[Example]] = {}
    finder = nearest.NearestFinder(embedder, (chunk.text for chunk in chunks.values()))
    for split in SPLITS:
        asked = [example for example in examples if split_of[example.source] == split]
        # Passages of another split are not shown either: they would be learnt by heart.
        shown = [chunk for chunk in chunks.values() if split_of[chunk.id] == split]
        if not asked:
            composed[split] = []
            continue
        material = compose.Material(
            examples=asked,
            chunks=shown,
            chunk_vectors=embedder.embed([f"{chunk.heading}\n{fold_space(chunk.text)}" for chunk in shown]),
            question_vectors=embedder.embed([example.question for example in asked]),
            nearest=finder,
        )
        composed[split] = compose.compose(
            material,
            split=split,
            passages=params.passages,
            unanswerable_share=params.unanswerable_share,
            seed=context.seed,
        )
    return composed


def count_leaks(splits: Mapping[Split, Sequence[Example]]) -> int:
    """Return how many passages or questions of one split occur in another."""
    leaks = 0
    for things in (_passages_of, _questions_of):
        seen: dict[str, Split] = {}
        for split, examples in splits.items():
            for thing in {each for example in examples for each in things(example)}:
                leaks += seen.setdefault(thing, split) != split
    return leaks


def _passages_of(example: Example) -> tuple[str, ...]:
    return example.chunks


def _questions_of(example: Example) -> tuple[str, ...]:
    return (example.question.casefold(),)
