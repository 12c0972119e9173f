"""Examples become conversations: the right passage among similar ones, or without it.

Questions about neighbouring passages are given the same set of passages. The student then
has to read the question to tell which sentence answers, and what they share is computed
once. A question whose passage is left out of its set teaches to refuse, and so does one that
its own passage does not answer.

Source:
    Zhang et al. 2024, RAFT, section 3, arXiv:2403.10131 (distractors, questions without
    the passage that answers).
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy

from pipelines.dataset.checks.quote import stands_in
from pipelines.models.embedder import Vectors
from pipelines.models.nearest import NearestFinder
from pipelines.prompting import answer_messages, refusal
from pipelines.quotes import format_citation, locate
from pipelines.records import Chunk, Example, ExampleKind, Message, Quote, Split, content_id

# Most questions that share one set of passages.
_QUESTIONS_PER_SET = 6
# A set's other passages, and an unanswerable question, are drawn from this many nearest.
_NEIGHBOURS = 12


@dataclass(frozen=True, kw_only=True)
class Material:
    """What one split is composed of."""

    examples: Sequence[Example]
    chunks: Sequence[Chunk]
    chunk_vectors: Vectors  # float, (chunks, size)
    question_vectors: Vectors  # float, (examples, size)
    nearest: NearestFinder


def compose(material: Material, *, split: Split, passages: int, unanswerable_share: float, seed: int) -> list[Example]:
    """Return the examples of a split as conversations, unanswerable ones included.

    Args:
        material: The split's examples and chunks, with their vectors.
        split: Where they belong.
        passages: How many passages each conversation shows.
        unanswerable_share: Share of unanswerable ones in the result.
        seed: Seed of sets and orders.
    """
    rng = random.Random(f"{seed}:{split}")
    by_id = {chunk.id: number for number, chunk in enumerate(material.chunks)}
    composed: list[Example] = []
    owed = 0.0
    for shown, asked in _sets(material, by_id, passages, rng):
        chunks = [material.chunks[number] for number in shown]
        composed += [_answered(material.examples[number], chunks, split, material.nearest) for number in asked]
        answerable = sum(bool(material.examples[number].quotes) for number in asked)
        owed += answerable * unanswerable_share / (1 - unanswerable_share) - (len(asked) - answerable)
        for number in _unanswerable(material, by_id, shown, max(0, int(owed)), rng):
            composed.append(_refused(material.examples[number], chunks, split, material.nearest))
            owed -= 1
    return composed


def _sets(
    material: Material, by_id: Mapping[str, int], passages: int, rng: random.Random
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield sets of neighbouring chunks with the questions that they answer."""
    asked_of: dict[int, list[int]] = defaultdict(list)
    needed = [{by_id[source] for source in example.sources} for example in material.examples]
    for number, example in enumerate(material.examples):
        asked_of[by_id[example.source]].append(number)
    similarity = material.chunk_vectors @ material.chunk_vectors.T
    left = set(range(len(material.examples)))
    while left:
        chosen = material.examples[rng.choice(sorted(left))]
        first = [by_id[source] for source in chosen.sources]
        near = [int(each) for each in numpy.argsort(-similarity[first[0]]) if each not in first]
        with_questions = [each for each in near[:_NEIGHBOURS] if left.intersection(asked_of[each])]
        others = with_questions + [each for each in near if each not in with_questions]
        shown = [*first, *others[: max(0, passages - len(first))]]
        rng.shuffle(shown)
        asked = [
            number for chunk in shown for number in asked_of[chunk] if number in left and needed[number] <= set(shown)
        ]
        asked = asked[:_QUESTIONS_PER_SET]
        left.difference_update(asked)
        yield shown, asked


def _unanswerable(
    material: Material, by_id: Mapping[str, int], shown: Sequence[int], wanted: int, rng: random.Random
) -> list[int]:
    """Return questions near to the passages shown, whose own passage is not among them."""
    nearness = (material.question_vectors @ material.chunk_vectors[list(shown)].T).max(axis=1)
    # By text, not by id: the same sentence may stand in several chunks.
    chunks = [material.chunks[number] for number in shown]
    candidates = [
        int(number)
        for number in numpy.argsort(-nearness)
        if material.examples[number].quotes
        and by_id[material.examples[number].source] not in shown
        and not _is_answered(material.examples[number], chunks)
    ]
    candidates = candidates[:_NEIGHBOURS]
    return rng.sample(candidates, min(wanted, len(candidates)))


def _is_answered(example: Example, chunks: Sequence[Chunk]) -> bool:
    return any(locate(quote.quote, chunk) is not None for quote in example.quotes for chunk in chunks)


def _answered(example: Example, chunks: Sequence[Chunk], split: Split, nearest: NearestFinder) -> Example:
    """Return an example with what its passages say to it: the quotes, or that they do not answer.

    The quotes alone, also where the teacher answers in words of its own: a small student that
    has to learn both learns neither (measured in BENCHMARKS.md), and only a quote can be proved.
    """
    cited = [format_citation(quote.quote, _number(quote, chunks)) for quote in example.quotes]
    return _composed(example, chunks, split, nearest, answer=" ".join(cited) or refusal(example.language))


def _number(quote: Quote, chunks: Sequence[Chunk]) -> int:
    """Return the number, from 1, of the passage that a quote was taken from."""
    return 1 + [stands_in(quote, chunk) for chunk in chunks].index(True)


def _refused(example: Example, chunks: Sequence[Chunk], split: Split, nearest: NearestFinder) -> Example:
    answer = refusal(example.language)
    bare = example.model_copy(
        update={
            "id": content_id("unanswerable", example.id, *(chunk.id for chunk in chunks)),
            "kind": ExampleKind.UNANSWERABLE,
            "answer": answer,
            "quotes": (),
        }
    )
    return _composed(bare, chunks, split, nearest, answer=answer)


def _composed(
    example: Example, chunks: Sequence[Chunk], split: Split, nearest: NearestFinder, *, answer: str
) -> Example:
    found = nearest.find(example.question, chunks)
    closest = format_citation(found.text, found.number) if found else ""
    asked = answer_messages(example.question, chunks, closest=closest)
    messages = (*asked, Message(role="assistant", content=answer))
    return example.model_copy(
        update={"messages": messages, "chunks": tuple(chunk.id for chunk in chunks), "split": split}
    )
