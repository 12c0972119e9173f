"""How good a ranking is, where it is known what should have been found."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.knowledge.measuring.questions import KnownQuestion
from pipelines.records import Chunk

Ranks = tuple[int | None, ...]  # of each target, from 1; None where it was not found


def find_ranks(question: KnownQuestion, found: Sequence[Chunk]) -> Ranks:
    """Return at which rank each target of a question was found first.

    Where only documents are known, a document that was found several times takes one rank.
    """
    ranked = found
    if question.is_about_documents:
        firsts: dict[str, Chunk] = {}
        for chunk in found:
            firsts.setdefault(chunk.document, chunk)
        ranked = list(firsts.values())
    return tuple(
        next(
            (rank for rank, chunk in enumerate(ranked, start=1) if any(place.is_in(chunk) for place in target)),
            None,
        )
        for target in question.targets
    )


def recall(ranks: Ranks, *, at: int) -> float:
    """Return the share of targets among the first `at`."""
    return sum(rank is not None and rank <= at for rank in ranks) / len(ranks)


def reciprocal_rank(ranks: Ranks, *, at: int = 10) -> float:
    """Return one over the rank of the first target; 0 if none is among the first `at`.

    Source:
        Voorhees 1999, The TREC-8 Question Answering Track Report, section 3.
    """
    return max((1 / rank for rank in ranks if rank is not None and rank <= at), default=0.0)


def ndcg(ranks: Ranks, *, at: int = 10) -> float:
    """Return the discounted gain of the targets among the first `at`, as a share of the best possible.

    A target gains one where it is found first, and nothing where it is found again.

    Source:
        Järvelin and Kekäläinen 2002, Cumulated Gain-Based Evaluation of IR Techniques, section 2.
    """
    gained = sum(1 / math.log2(1 + rank) for rank in ranks if rank is not None and rank <= at)
    possible = sum(1 / math.log2(1 + rank) for rank in range(1, min(at, len(ranks)) + 1))
    return min(1.0, gained / possible)  # a passage of merged neighbours can hold two targets
