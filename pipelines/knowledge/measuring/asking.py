"""Asks a collection every question, and notes what each way of searching finds, and when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from pipelines.knowledge.fusion import reciprocal_ranks
from pipelines.knowledge.measuring.measures import Ranks, find_ranks
from pipelines.knowledge.measuring.questions import KnownQuestion
from pipelines.knowledge.measuring.report import SIMPLE_ARMS, Arm
from pipelines.operation import Context
from pipelines.records import Chunk, Passage

if TYPE_CHECKING:
    from pipelines.knowledge.retrieve import Pool, Retriever

# Enough for ten documents where several passages are of the same one.
_DEPTH = 50


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, and what came of it."""

    question: KnownQuestion
    ranks: dict[Arm, Ranks]
    first: Passage | None
    answerable: float  # probability that the documents answer, as retrieval tells it
    seconds: float  # of the whole search


def ask_all(questions: Sequence[KnownQuestion], retriever: Retriever, context: Context) -> list[Asked]:
    """Ask every question; the first one is asked once more beforehand, as the first search opens files."""
    retriever.find(questions[0].question, top_k=_DEPTH)
    asked = []
    for number, question in enumerate(questions, start=1):
        asked.append(_ask(question, retriever))
        context.progress("asking questions", number, len(questions))
    return asked


def rank_pool(pool: Pool, arm: Arm) -> list[Chunk]:
    """Return what one of the simple ways of searching finds, best first."""
    if arm == "dense":
        return _ranked(pool.chunks, pool.dense)
    if arm == "keyword":
        return _matching(pool)
    rankings = [[chunk.id for chunk in each[:_DEPTH]] for each in (_ranked(pool.chunks, pool.dense), _matching(pool))]
    fused = reciprocal_ranks(rankings)
    return _ranked(pool.chunks, numpy.array([fused.get(chunk.id, 0.0) for chunk in pool.chunks]))


def _ask(question: KnownQuestion, retriever: Retriever) -> Asked:
    started = time.perf_counter()
    found = retriever.find(question.question, top_k=_DEPTH)
    seconds = time.perf_counter() - started
    ranks: dict[Arm, Ranks] = {}
    if question.is_answerable:
        pool = retriever.pool(question.question)
        ranks = {arm: find_ranks(question, rank_pool(pool, arm)) for arm in SIMPLE_ARMS}
        ranks["all"] = find_ranks(question, [passage.chunk for passage in found.passages])
    return Asked(
        question=question,
        ranks=ranks,
        first=found.passages[0] if found.passages else None,
        answerable=found.answerable,
        seconds=seconds,
    )


def _matching(pool: Pool) -> list[Chunk]:
    """Return the chunks that hold a word of the query, by BM25."""
    matching = [number for number, score in enumerate(pool.keyword) if score > 0]
    return _ranked([pool.chunks[number] for number in matching], pool.keyword[matching])


def _ranked(chunks: Sequence[Chunk], scores: numpy.ndarray) -> list[Chunk]:
    order = sorted(range(len(chunks)), key=lambda each: (-scores[each], chunks[each].id))
    return [chunks[each] for each in order]
