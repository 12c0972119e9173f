"""`data curate`: people's decisions, every check, duplicates, the split, and conversations to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.dataset.files import CHUNKS, CURATED, DECISIONS, EXAMPLES, REJECTED_BY_CURATION, split_file
from pipelines.dataset.reviewing.decisions import apply_decisions, read_decisions
from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Positional
from pipelines.prompting import answer_prompt_hashes
from pipelines.records import SPLITS, Chunk, Example, Name, Rejection, Split, read_records, write_records
from pipelines.text import fold_space
from pipelines.workspace import locked

if TYPE_CHECKING:
    from pipelines.dataset.curation import dividing, waterfall
else:
    dividing = lazy_import("pipelines.dataset.curation.dividing", extra="all")
    waterfall = lazy_import("pipelines.dataset.curation.waterfall", extra="all")

_FEWEST = 8


class CurateParams(BaseModel):
    """How to make a dataset of examples."""

    dataset: Annotated[Name, Positional()] = Field(description="Dataset whose examples to curate.")
    unanswerable_share: float = Field(0.25, ge=0, le=0.6, description="Share of unanswerable questions.")
    passages: int = Field(3, ge=1, le=12, description="Passages shown with each question.")
    validation_share: float = Field(0.12, gt=0, lt=0.5, description="Share for choosing the best adapter.")
    test_share: float = Field(0.25, gt=0, lt=0.5, description="Share for judging it; never trained on.")
    against: Path | None = Field(None, description="Evaluation set that no example may overlap with.")
    private: Literal["keep", "mask", "reject"] = Field("keep", description="What becomes of personal data.")
    degraded_pairs: bool = Field(False, description="Add preference pairs: each answer against a worsened one.")


class Similarity(BaseModel):
    """The two most similar questions of different splits: the proof that the splits are apart."""

    cosine: float
    first: str
    second: str
    jaccard: float  # of the two that share the largest part of their words


class CurateReport(BaseModel):
    """What became of the examples."""

    dataset: str
    path: str
    kept: int
    rejected: dict[str, int]
    splits: dict[str, int]
    kinds: dict[str, int]
    unanswerable: int
    leaks: int
    largest_similarity: Similarity | None


def curate_dataset(params: CurateParams, context: Context) -> CurateReport:
    """Check examples, drop duplicates, split by source and similarity, and compose conversations."""
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
        "decisions": file_hash(folder / DECISIONS),
        "against": file_hash(context.resolve(params.against)) if params.against else "",
        "prompts": answer_prompt_hashes(),
        "seed": context.seed,
    }
    manifest = Manifest(path=folder / CURATED, inputs=inputs)
    with locked(folder):
        finished = manifest.finished(CurateReport)
        if finished is not None and all((folder / split_file(split)).is_file() for split in SPLITS):
            return finished
        report = _curate(params, context, folder)
        manifest.finish(report)
    return report


CURATE_DATASET = Operation(params=CurateParams, report=CurateReport, run=curate_dataset)


def _curate(params: CurateParams, context: Context, folder: Path) -> CurateReport:
    chunks = _chunks(folder)
    examples, rejections = _check(params, context, folder, chunks)
    write_records(folder / REJECTED_BY_CURATION, rejections)
    if len(examples) < _FEWEST:
        raise DataError(
            f"{len(examples)} examples are too few to train, validate and test on; at least {_FEWEST} are needed; "
            f"rejected: {_counts(rejections)}",
            path=folder,
            hint="Ask for more with --examples, or add documents.",
        )
    composed, dropped = _compose(params, context, examples, chunks)
    rejections += dropped
    write_records(folder / REJECTED_BY_CURATION, rejections)
    for split in SPLITS:
        if not composed[split]:
            raise DataError(
                f"no example is left for the {split} split",
                path=folder,
                hint="Ask for more with --examples, or add documents.",
            )
    for split in SPLITS:
        write_records(folder / split_file(split), composed[split])
    everything = [example for split in SPLITS for example in composed[split]]
    return CurateReport(
        dataset=params.dataset,
        path=str(folder),
        kept=len(everything),
        rejected=_counts(rejections),
        splits={split: len(composed[split]) for split in SPLITS},
        kinds=dict(Counter(str(example.kind) for example in everything)),
        unanswerable=sum(example.kind == "unanswerable" for example in everything),
        leaks=count_leaks(composed),
        largest_similarity=dividing.largest_similarity_of(composed, context),
    )


def _check(
    params: CurateParams, context: Context, folder: Path, chunks: Mapping[str, Chunk]
) -> tuple[list[Example], list[Rejection]]:
    """Return the examples that people, checks and their likes leave over, and those that they do not."""
    examples = list(read_records(folder / EXAMPLES, Example))
    examples, rejections = apply_decisions(examples, read_decisions(folder / DECISIONS))
    checks = waterfall.checks_of(
        chunks,
        models=context.models,
        against=context.resolve(params.against) if params.against else None,
        private=params.private,
    )
    examples, failed = waterfall.pass_through(examples, checks)
    examples, doubled = dividing.drop_duplicates(examples, context.models.open_embedder())
    return examples, [*rejections, *failed, *doubled]


def _compose(
    params: CurateParams, context: Context, examples: Sequence[Example], chunks: Mapping[str, Chunk]
) -> tuple[dict[Split, list[Example]], list[Rejection]]:
    """Return the examples of each split as conversations, and those that show what they must not."""
    split_of = dividing.divide(
        examples, chunks, context, validation_share=params.validation_share, test_share=params.test_share
    )
    composed = dividing.compose_splits(
        examples,
        chunks,
        split_of,
        context,
        passages=params.passages,
        unanswerable_share=params.unanswerable_share,
        degraded_pairs=params.degraded_pairs,
    )
    dropped: list[Rejection] = []
    if params.private != "keep":  # the passages that are shown hold personal data, too
        check = waterfall.private_check(params.private, context.models)
        for split in SPLITS:
            composed[split], failed = waterfall.pass_through(composed[split], [check])
            dropped += failed
    return composed, dropped


def _counts(rejections: Sequence[Rejection]) -> dict[str, int]:
    return dict(Counter(rejection.check for rejection in rejections).most_common())


def _chunks(folder: Path) -> dict[str, Chunk]:
    """Return the chunks by id, each text once.

    The same text under two names would be learnt in one split and tested in another.
    """
    path = folder / CHUNKS
    everything = list(read_records(path, Chunk)) if path.is_file() else []
    first_of = {fold_space(chunk.text): chunk for chunk in reversed(everything)}
    return {chunk.id: chunk for chunk in reversed(first_of.values())}


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
