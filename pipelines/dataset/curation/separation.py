"""Which questions are too alike for two splits, and the proof that no such two are in two.

Likeness is the cosine of two questions' vectors, or the share of words with a meaning that
both have (Jaccard index). Matrices are multiplied block by block, so that 100,000 questions
need no more memory than a few blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.dataset.checks.similar import read_question
from pipelines.records import Example, Split

if TYPE_CHECKING:
    from pipelines.models.embedder import Vectors

_BLOCK = 512
# A chain of likenesses may join everything; it is cut before it holds more than this share.
_LARGEST_SHARE = 0.5
_RAISE = 0.01


@dataclass(frozen=True, kw_only=True)
class SimilarPairs:
    """Pairs of positions of examples that ask alike, and from which likeness on."""

    pairs: tuple[tuple[int, int], ...]
    cosine: float
    jaccard: float
    raised: bool  # the thresholds were raised, because a chain joined more than half of all

    @property
    def note(self) -> str:
        """What a person should know; empty if nothing."""
        if not self.raised:
            return ""
        return (
            "so many questions are alike that more than half would be one group; "
            f"kept together are those from a cosine of {self.cosine:.2f} or a Jaccard index of {self.jaccard:.2f} on"
        )


@dataclass(frozen=True, kw_only=True)
class CrossSplit:
    """The questions of two splits that are most alike."""

    first: Split
    second: Split
    cosine: float
    nearest: tuple[str, str]  # by cosine; one question of each
    jaccard: float
    likest: tuple[str, str]  # by words; one question of each


def similar_pairs(
    examples: Sequence[Example], vectors: Vectors, *, cosine: float = 0.9, jaccard: float = 0.8
) -> SimilarPairs:
    """Return the pairs of examples whose questions are alike, for `split_by_group`.

    If they would join more than half of the examples into one group, both thresholds are
    raised by hundredths until they do not.

    Args:
        examples: What is going to be divided.
        vectors: Vectors of their questions; float, (examples, size), each of length 1.
        cosine: Least cosine of questions that are alike.
        jaccard: Least share of common words of questions that are alike.
    """
    found = [*_near_cosines(vectors, cosine), *_near_jaccards(_word_matrix([e.question for e in examples]), jaccard)]
    rows = numpy.concatenate([each[0] for each in found]) if found else numpy.zeros(0, dtype=numpy.intp)
    columns = numpy.concatenate([each[1] for each in found]) if found else rows
    # How far each pair is above its threshold, so that both kinds are cut alike.
    above = numpy.concatenate([each[2] for each in found]) if found else numpy.zeros(0, dtype=numpy.float32)
    tied = _ties(examples)
    raises = 0
    while len(above) and _largest_share(rows, columns, above >= raises * _RAISE, tied, len(examples)) > _LARGEST_SHARE:
        raises += 1
        if not (above >= raises * _RAISE).any():
            break
    kept = above >= raises * _RAISE
    pairs = sorted({(int(a), int(b)) for a, b in zip(rows[kept], columns[kept])})
    raised = raises * _RAISE
    return SimilarPairs(pairs=tuple(pairs), cosine=cosine + raised, jaccard=jaccard + raised, raised=raises > 0)


def largest_similarity(
    questions: Mapping[Split, Sequence[str]], vectors: Mapping[Split, Vectors]
) -> tuple[CrossSplit, ...]:
    """Return, for each two splits that have questions, the ones that are most alike.

    Args:
        questions: The questions of each split.
        vectors: Their vectors, in the same order; float, (questions, size), each of length 1.
    """
    vocabulary: dict[str, int] = {}
    words = {split: _word_matrix(asked, vocabulary) for split, asked in questions.items()}
    found = []
    for first, second in itertools.combinations((split for split in questions if questions[split]), 2):
        near = _best_pair(_cosine_blocks(vectors[first], vectors[second]))
        like = _best_pair(_jaccard_blocks(words[first], words[second], len(vocabulary)))
        found.append(
            CrossSplit(
                first=first,
                second=second,
                cosine=near[0],
                nearest=(questions[first][near[1]], questions[second][near[2]]),
                jaccard=like[0],
                likest=(questions[first][like[1]], questions[second][like[2]]),
            )
        )
    return tuple(found)


Block = tuple[int, NDArray[numpy.float32]]  # first row, and the likenesses of some rows with all columns


def _cosine_blocks(first: Vectors, second: Vectors) -> Iterator[Block]:
    for start in range(0, len(first), _BLOCK):
        yield start, first[start : start + _BLOCK] @ second.T


def _jaccard_blocks(first: csr_matrix, second: csr_matrix, size: int) -> Iterator[Block]:
    first.resize(first.shape[0], size)
    second.resize(second.shape[0], size)
    counts = numpy.diff(second.indptr).astype(numpy.float32)
    columns = second.T.tocsr()
    for start in range(0, first.shape[0], _BLOCK):
        rows = first[start : start + _BLOCK]
        common = (rows @ columns).toarray()
        either = numpy.diff(rows.indptr).astype(numpy.float32)[:, None] + counts - common
        yield start, numpy.divide(common, either, out=numpy.zeros_like(common), where=either > 0)


def _best_pair(blocks: Iterator[Block]) -> tuple[float, int, int]:
    """Return the largest likeness with its row and column; the first of equal ones."""
    best = (-1.0, 0, 0)
    for start, likeness in blocks:
        row, column = numpy.unravel_index(int(likeness.argmax()), likeness.shape)
        if likeness[row, column] > best[0]:
            best = (float(likeness[row, column]), start + int(row), int(column))
    return best


Found = tuple[NDArray[numpy.intp], NDArray[numpy.intp], NDArray[numpy.float32]]  # rows, columns, above the threshold


def _near_cosines(vectors: Vectors, threshold: float) -> Iterator[Found]:
    for start in range(0, len(vectors), _BLOCK):
        yield _above(start, start, vectors[start : start + _BLOCK] @ vectors[start:].T, threshold)


def _near_jaccards(words: csr_matrix, threshold: float) -> Iterator[Found]:
    for start, likeness in _jaccard_blocks(words, words.copy(), words.shape[1]):
        yield _above(start, 0, likeness, threshold)


def _above(row: int, column: int, likeness: NDArray[numpy.float32], threshold: float) -> Found:
    rows, columns = numpy.nonzero(likeness >= threshold)
    above = likeness[rows, columns] - numpy.float32(threshold)
    rows, columns = rows + row, columns + column
    later = rows < columns
    return rows[later], columns[later], above[later]


def _word_matrix(questions: Sequence[str], vocabulary: dict[str, int] | None = None) -> csr_matrix:
    """Return which question has which word with a meaning; float, (questions, words)."""
    known: dict[str, int] = {} if vocabulary is None else vocabulary
    held = [sorted(set(read_question(question).content)) for question in questions]
    columns = [known.setdefault(word, len(known)) for words in held for word in words]
    starts = numpy.cumsum([0, *map(len, held)])
    ones = numpy.ones(len(columns), dtype=numpy.float32)
    return csr_matrix((ones, columns, starts), shape=(len(questions), len(known)))


def _ties(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """Return positions of examples that belong together anyway: by a source, or a parent."""
    first: dict[str, int] = {}
    ties = []
    for number, example in enumerate(examples):
        for name in (example.id, *example.sources, *example.parents):
            ties.append((first.setdefault(name, number), number))
    return ties


def _largest_share(
    rows: NDArray[numpy.intp],
    columns: NDArray[numpy.intp],
    kept: NDArray[numpy.bool_],
    ties: Sequence[tuple[int, int]],
    count: int,
) -> float:
    """Return the share of the largest group, of those that likeness joins, in all examples."""
    tied = numpy.array(ties, dtype=numpy.intp).reshape(-1, 2)
    alone = _component_sizes(tied[:, 0], tied[:, 1], count)
    joined = _component_sizes(numpy.r_[rows[kept], tied[:, 0]], numpy.r_[columns[kept], tied[:, 1]], count)
    # Where one source holds as much by itself, no threshold can divide it.
    return float(joined.max() / count) if joined.max() > alone.max() else 0.0


def _component_sizes(rows: NDArray[numpy.intp], columns: NDArray[numpy.intp], count: int) -> NDArray[numpy.intp]:
    graph = coo_matrix((numpy.ones(len(rows), dtype=numpy.int8), (rows, columns)), shape=(count, count))
    return numpy.bincount(connected_components(graph, directed=False)[1], minlength=1)
