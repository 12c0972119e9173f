"""Curated examples become splits: duplicates dropped, what belongs together kept together, and composed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.checks.similar import normalized
from pipelines.dataset.curate import Similarity
from pipelines.dataset.curation import compose
from pipelines.dataset.curation.separation import largest_similarity, similar_pairs
from pipelines.dataset.curation.split import split_by_group
from pipelines.dataset.recipes.degrade import degrade
from pipelines.models.embedder import Embedder
from pipelines.models.nearest import NearestFinder
from pipelines.operation import Context
from pipelines.records import SPLITS, Chunk, Example, ExampleKind, Language, Rejection, Split, rejected
from pipelines.text import fold_space, main_language

# Composed with passages; all others are trained on as they stand.
_ABOUT_PASSAGES = (ExampleKind.GROUNDED, ExampleKind.UNANSWERABLE, ExampleKind.FALSE_PREMISE)
# Cosine from which questions ask alike, by the model that knows their language.
_ALIKE: dict[Language, float] = {"en": 0.9, "zh": 0.95}
_SAID_BEFORE = ("exact_duplicate", "an example says the same in the same words")


def drop_duplicates(examples: Sequence[Example], embedder: Embedder) -> tuple[list[Example], list[Rejection]]:
    """Drop what was asked before; an augmented example may be like its parent, but not the same."""
    originals = [example for example in examples if not example.parents]
    problems = iter(DuplicateFinder(embedder).check_all([_asked(example) for example in originals]))
    said = {_whole(example) for example in originals}
    kept: list[Example] = []
    rejections: list[Rejection] = []
    for example in examples:
        reason: tuple[str, str] | None
        if not example.parents:
            problem = next(problems)
            reason = (problem.check, problem.reason) if problem is not None else None
        else:
            reason = _SAID_BEFORE if _whole(example) in said else None
            said.add(_whole(example))
        if reason is None:
            kept.append(example)
        else:
            rejections.append(rejected(example, check=reason[0], reason=reason[1]))
    return kept, rejections


def _asked(example: Example) -> str:
    """Return what makes an example the same as another: a preference is not the same as its question."""
    return f"{example.question} [{example.kind}]" if example.kind is ExampleKind.PREFERENCE else example.question


def _whole(example: Example) -> str:
    return normalized(f"{example.question}\n{example.answer}")


def divide(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    context: Context,
    *,
    validation_share: float,
    test_share: float,
) -> tuple[dict[str, Split], dict[str, Split]]:
    """Return the split of every chunk and of every example, by id.

    Whatever shares a source or a parent, or is much alike, is in one split.
    """
    questions = [example.question for example in examples]
    vectors = _embedder_for(questions, context).embed(questions)
    alike = similar_pairs(examples, vectors, cosine=_ALIKE[main_language(questions)])
    if alike.note:
        context.notice(alike.note)
    return split_by_group(
        examples,
        chunks,
        similar=alike.pairs,
        validation_share=validation_share,
        test_share=test_share,
        seed=context.seed,
    )


def compose_splits(
    examples: Sequence[Example],
    chunks: Mapping[str, Chunk],
    split_of: tuple[Mapping[str, Split], Mapping[str, Split]],
    context: Context,
    *,
    passages: int,
    unanswerable_share: float,
    degraded_pairs: bool,
) -> dict[Split, list[Example]]:
    """Return the examples of each split as conversations."""
    of_chunk, of_example = split_of
    embedder = _embedder_for((chunk.text for chunk in chunks.values()), context)
    finder = NearestFinder(context.models.embedder_of, (chunk.text for chunk in chunks.values()))
    composed: dict[Split, list[Example]] = {}
    for split in SPLITS:
        own = [example for example in examples if of_example[example.id] == split]
        asked = [example for example in own if example.kind in _ABOUT_PASSAGES and example.sources]
        # Passages of another split are not shown either: they would be learnt by heart.
        shown = [chunk for chunk in chunks.values() if of_chunk[chunk.id] == split]
        composed[split] = [
            example.model_copy(update={"split": split})
            for example in own
            if example.kind not in _ABOUT_PASSAGES or not example.sources
        ]
        if not asked:
            continue
        material = compose.Material(
            examples=asked,
            chunks=shown,
            chunk_vectors=embedder.embed([f"{chunk.heading}\n{fold_space(chunk.text)}" for chunk in shown]),
            question_vectors=embedder.embed([example.question for example in asked], kind="query"),
            nearest=finder,
        )
        conversations = compose.compose(
            material, split=split, passages=passages, unanswerable_share=unanswerable_share, seed=context.seed
        )
        composed[split] += conversations
        if degraded_pairs:
            composed[split] += _degraded(conversations, chunks, context.seed)
    return composed


def _embedder_for(texts: Iterable[str], context: Context) -> Embedder:
    """Return the model that knows the language of most texts, where it is installed."""
    return context.models.embedder_of(main_language(texts)) or context.models.open_embedder()


def _degraded(examples: Iterable[Example], chunks: Mapping[str, Chunk], seed: int) -> list[Example]:
    pairs = (degrade(example, chunks=[chunks[each] for each in example.chunks], seed=seed) for example in examples)
    return [pair for pair in pairs if pair is not None]


def largest_similarity_of(splits: Mapping[Split, Sequence[Example]], context: Context) -> Similarity | None:
    """Return the two most similar questions of different splits."""
    embedder = _embedder_for((example.question for examples in splits.values() for example in examples), context)
    questions = {split: list(dict.fromkeys(e.question for e in examples)) for split, examples in splits.items()}
    vectors = {split: embedder.embed(asked) for split, asked in questions.items()}
    found = largest_similarity(questions, vectors)
    if not found:
        return None
    nearest, likest = max(found, key=lambda pair: pair.cosine), max(found, key=lambda pair: pair.jaccard)
    return Similarity(
        cosine=round(float(nearest.cosine), 4),
        first=nearest.nearest[0],
        second=nearest.nearest[1],
        jaccard=round(float(likest.jaccard), 4),
    )
