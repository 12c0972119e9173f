"""Splits by groups of source, origin and likeness, and the proof that they are apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset.curation.separation import largest_similarity, similar_pairs
from pipelines.dataset.curation.split import split_by_group, split_by_source
from pipelines.models.embedder import Vectors
from pipelines.records import Chunk, Example, ExampleKind, Split
from tests.test_docs import packaged_embedder


def chunk(number: int, *, document: str = "", heading: str = "") -> Chunk:
    """Return a chunk of a document of its own, or of the one named."""
    return Chunk(
        id=f"c{number}", document=document or f"d{number}.md", start=0, end=1, text="x", heading=heading or f"h{number}"
    )


def example(number: int, *, sources: Sequence[str] = (), parents: Sequence[str] = (), question: str = "") -> Example:
    """Return an example with a question of its own."""
    return Example(
        id=f"e{number}",
        kind=ExampleKind.INSTRUCTION,
        question=question or f"What about thing{number} and matter{number}?",
        answer="So.",
        sources=tuple(sources),
        parents=tuple(parents),
        teacher="t",
        prompt="p@1",
    )


def divide(
    examples: Sequence[Example], chunks: Sequence[Chunk] = (), similar: Sequence[tuple[int, int]] = (), seed: int = 0
) -> tuple[dict[str, Split], dict[str, Split]]:
    """Split with the usual shares."""
    by_id = {each.id: each for each in chunks}
    return split_by_group(examples, by_id, similar=similar, validation_share=0.2, test_share=0.3, seed=seed)


PAIRS = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=25)


@settings(max_examples=40)
@given(PAIRS, PAIRS, st.integers(0, 5))
def test_what_belongs_together_is_in_one_split(
    similar: list[tuple[int, int]], shared: list[tuple[int, int]], seed: int
) -> None:
    """Likeness, sources and parents all tie, through any number of steps."""
    chunks = [chunk(number) for number in range(30)]
    sources = {number: [f"c{number}"] for number in range(30)}
    for first, second in shared:
        sources[first].append(f"c{second}")
    examples = [example(number, sources=sources[number]) for number in range(30)]
    examples.append(example(30, parents=["e3"]))
    split_of_chunk, split_of = divide(examples, chunks, similar, seed)
    assert all(split_of[f"e{a}"] == split_of[f"e{b}"] for a, b in similar)
    assert all(split_of[each.id] == split_of_chunk[source] for each in examples for source in each.sources)
    assert split_of["e30"] == split_of["e3"]
    assert split_of.keys() == {each.id for each in examples}
    assert split_of_chunk.keys() == {each.id for each in chunks}


def test_likeness_that_joins_nearly_all_documents_divides_their_sections() -> None:
    """Whole documents would leave nothing for a split; sections, of which few are alike, do not."""
    chunks = [chunk(number, document=f"d{number // 5}.md") for number in range(100)]
    examples = [example(number, sources=[f"c{number}"]) for number in range(100)]
    alike = [(5 * number, 5 * number + 5) for number in range(13)]
    _chunks, split_of = divide(examples, chunks, alike[:5])
    assert len({split_of[f"e{number}"] for number in range(30)}) == 1  # whole documents, where that does no harm
    _chunks, split_of = divide(examples, chunks, alike)
    counts = Counter(split_of.values())
    assert (counts["test"], counts["validation"]) == (30, 20)


def test_children_of_a_parent_that_is_gone_stay_together() -> None:
    """An example that was rejected still ties what was made from it."""
    examples = [example(number) for number in range(40)]
    examples += [example(40 + number, parents=["gone"]) for number in range(8)]
    _chunks, split_of = divide(examples)
    assert len({split_of[f"e{number}"] for number in range(40, 48)}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_examples_without_source_have_about_their_shares(seed: int) -> None:
    """What was imported is divided as well."""
    _chunks, split_of = divide([example(number) for number in range(100)], seed=seed)
    counts = Counter(split_of.values())
    assert (counts["test"], counts["validation"]) == (30, 20)


def test_a_new_example_does_not_move_the_others() -> None:
    """A group keeps its place in the order when it grows, and so do the others."""
    chunks = [chunk(number) for number in range(60)]
    examples = [example(number, sources=[f"c{number}"]) for number in range(60)]
    before, _examples = divide(examples, chunks)
    after, _examples = divide([*examples, example(60, sources=["c7"])], chunks)
    assert sum(before[each] != after[each] for each in before) <= 2


@given(st.permutations(range(30)))
def test_the_order_of_examples_does_not_matter(order: list[int]) -> None:
    """Only names and the seed count."""
    examples = [example(number) for number in range(30)]
    _chunks, expected = divide(examples, similar=[(3, 4), (4, 9)])
    place = {number: position for position, number in enumerate(order)}
    shuffled = [examples[number] for number in order]
    _chunks, found = divide(shuffled, similar=[(place[3], place[4]), (place[4], place[9])])
    assert found == expected


def test_sections_are_divided_where_documents_hang_together() -> None:
    """Likeness across documents leaves too few groups of them, so their sections are divided."""
    chunks = [chunk(n, document=f"d{n % 8}.md", heading=f"h{n}") for n in range(48)]
    examples = [example(n, sources=[f"c{n}"]) for n in range(48)]
    apart, _examples = divide(examples, chunks)
    assert all(apart[f"c{n}"] == apart[f"c{n + 8}"] for n in range(40))
    tied, _examples = divide(examples, chunks, similar=[(n, n + 1) for n in range(7)])
    assert len({tied[f"c{n}"] for n in range(8)}) == 1
    assert len({tied[f"c{n}"] for n in range(0, 48, 8)}) > 1


def test_splitting_by_source_is_splitting_without_likeness() -> None:
    """The older function divides as the newer."""
    chunks = [chunk(number) for number in range(30)]
    examples = [example(number, sources=[f"c{number}"]) for number in range(30)]
    by_id = {each.id: each for each in chunks}
    found = split_by_source(examples, by_id, validation_share=0.2, test_share=0.3, seed=0)
    assert found == divide(examples, chunks)[0]


def unit(rows: Sequence[Sequence[float]]) -> Vectors:
    """Return rows as vectors of length 1."""
    made = numpy.array(rows, dtype=numpy.float32)
    return made / numpy.linalg.norm(made, axis=1, keepdims=True)


def test_pairs_are_found_by_vectors_and_by_words() -> None:
    """Either likeness is enough; the rest stays apart."""
    asked = ["Where is the brass lantern kept?", "Is the brass lantern kept?", "Who swims?", "Who bathes?", "Why rain?"]
    examples = [example(number, question=question) for number, question in enumerate(asked)]
    vectors = unit([[1, 0, 0], [0, 1, 0], [0, 0.1, 1], [0, 0, 1], [1, 1, 0]])
    assert similar_pairs(examples, vectors).pairs == ((0, 1), (2, 3))
    assert similar_pairs(examples, vectors, cosine=1.1, jaccard=1.1).pairs == ()


def test_a_chain_is_cut() -> None:
    """Likeness that would join more than half of all is asked for more strictly, and that is said."""
    angles = numpy.cumsum([0, *[0.1, 0.1, 0.1, 0.1, 0.4] * 4])
    vectors = unit([[float(numpy.cos(a)), float(numpy.sin(a))] for a in angles])
    examples = [example(number) for number in range(len(angles))]
    found = similar_pairs(examples, vectors, cosine=0.9)
    assert found.raised
    assert found.cosine > 0.9
    assert f"{found.cosine:.2f}" in found.note
    assert (0, 1) in found.pairs and (4, 5) not in found.pairs
    assert found == similar_pairs(examples, vectors, cosine=0.9)
    assert not similar_pairs(examples, vectors, cosine=0.99).raised


def test_one_source_of_everything_is_no_chain() -> None:
    """Where a source holds everything anyway, likeness is left as it is."""
    examples = [example(number, sources=["c0"]) for number in range(6)]
    found = similar_pairs(examples, unit([[1, 0.01 * number] for number in range(6)]))
    assert not found.raised
    assert found.note == ""


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_the_largest_likeness_is_found(first: int, second: int, seed: int) -> None:
    """It is what comparing every pair finds."""
    made = numpy.random.default_rng(seed)
    sides: tuple[Split, Split] = ("train", "test")
    vectors = {side: unit(made.normal(size=(size, 4))) for side, size in zip(sides, (first, second), strict=True)}
    questions = {
        side: [f"What about {' '.join(made.choice(list('bcfghjk'), size=3))} number{row}?" for row in range(len(rows))]
        for side, rows in vectors.items()
    }
    [found] = largest_similarity(questions, vectors)
    every = vectors["train"] @ vectors["test"].T
    row, column = numpy.unravel_index(int(every.argmax()), every.shape)
    assert found.cosine == pytest.approx(float(every.max()), abs=1e-6)
    assert found.nearest == (questions["train"][row], questions["test"][column])
    words = {side: [frozenset(each.rstrip("?").split()[2:]) for each in asked] for side, asked in questions.items()}
    expected = max(len(a & b) / len(a | b) for a in words["train"] for b in words["test"])
    assert found.jaccard == pytest.approx(expected)


def test_the_largest_likeness_is_found_among_many() -> None:
    """Blocks of rows are put together again."""
    turned = [number * 0.001 for number in range(1_200)]
    vectors: dict[Split, Vectors] = {
        "train": unit([[float(numpy.cos(each)), float(numpy.sin(each))] for each in turned]),
        "test": unit([[float(numpy.cos(turned[-1])), float(numpy.sin(turned[-1]))]]),
    }
    questions: dict[Split, list[str]] = {
        "train": [f"Why does p{n} q{n}?" for n in range(1_200)],
        "test": ["Why does p1100 z?"],
    }
    [found] = largest_similarity(questions, vectors)
    assert (found.nearest[0], found.likest[0]) == ("Why does p1199 q1199?", "Why does p1100 q1100?")


def test_splits_by_likeness_are_apart() -> None:
    """The proof: no question of one split is as near to one of another as those kept together."""
    asked = [
        f"How {verb} is the {thing}?" for verb in ("old", "heavy", "loud") for thing in ("owl", "drill", "bell", "oak")
    ]
    asked += [question.replace("How", "Please tell me how") for question in asked]
    examples = [example(number, question=question) for number, question in enumerate(asked)]
    vectors = packaged_embedder().embed(asked)
    found = similar_pairs(examples, vectors, cosine=0.8)
    _chunks, split_of = divide(examples, similar=found.pairs)
    rows: dict[Split, list[int]] = {}
    for number, each in enumerate(examples):
        rows.setdefault(split_of[each.id], []).append(number)
    proof = largest_similarity(
        {split: [asked[row] for row in held] for split, held in rows.items()},
        {split: vectors[held] for split, held in rows.items()},
    )
    assert len(proof) == 3
    assert all(each.cosine < found.cosine and each.jaccard < found.jaccard for each in proof)


def test_an_empty_split_needs_no_proof() -> None:
    """Where there are no questions, there is no likeness."""
    vectors: dict[Split, Vectors] = {"train": unit([[1, 0]]), "test": numpy.zeros((0, 2), dtype=numpy.float32)}
    assert largest_similarity({"train": ["Why?"], "test": []}, vectors) == ()
