"""How well retrieval finds the paragraph that answers, what each part of it adds, and what it refuses.

Each paragraph of SQuAD is a document of its own, added as a person would add it; several chunks of
a paragraph count as one find. Nothing was fitted on the questions but a handful of weights, on the
1,500 of development; the others are reported beside them. For refusals, the articles are divided
in two halves: the index holds one, and half of the questions are about the other.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy

from benchmarks.measure import Row, peak_mb
from benchmarks.squad import VARIABLE, Paragraph, add_texts, read_paragraphs, split_questions
from pipelines.knowledge.collection import opened_retriever
from pipelines.knowledge.fusion import DEFAULT_WEIGHTS, fuse
from pipelines.knowledge.measuring.asking import Asked, rank_pool
from pipelines.knowledge.measuring.measures import Ranks, find_ranks, ndcg, recall
from pipelines.knowledge.measuring.questions import KnownQuestion
from pipelines.knowledge.measuring.summary import answerability, mean_interval
from pipelines.knowledge.retrieve import Pool, Retriever
from pipelines.operation import Context, open_context
from pipelines.records import Chunk

_OF_EACH_KIND = 1_000  # questions to refuse, and not to
_DEPTH = 50
Arm = Callable[[Pool], Sequence[Chunk]]


def measure() -> list[Row]:
    """Return a row for each part, on both sets of questions, and one for refusals."""
    paragraphs = read_paragraphs()
    if not paragraphs:
        return [Row(what="retrieval", figure=f"not measured: set {VARIABLE}")]
    development, others = split_questions(paragraphs)
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        texts = {paragraph.name: paragraph.text for paragraph in paragraphs}
        added = add_texts(texts, Path(name) / "all", context, collection="all")
        rows = [
            Row(
                what=f"docs add, {added.documents} paragraphs of SQuAD",
                figure=f"{added.chunks / added.seconds:.0f} chunks/s ({added.seconds:.0f} s)",
                peak_mb=peak_mb(),
            )
        ]
        with opened_retriever(context, "all") as retriever:
            rows += _rows(development, retriever, "development")
            rows += _rows(others, retriever, "report")
        rows.append(_refusals(paragraphs, Path(name) / "half", context))
    return rows


def arms() -> dict[str, Arm]:
    """Return the ways of searching, each with one part more than that before it, after the simple ones."""
    alone = DEFAULT_WEIGHTS.model_copy(update={"around": 0.0})
    return {
        "dense": lambda pool: rank_pool(pool, "dense"),
        "BM25": lambda pool: rank_pool(pool, "keyword"),
        "reciprocal rank fusion": lambda pool: rank_pool(pool, "rrf"),
        "weighted fusion": lambda pool: _best(
            pool, fuse(DEFAULT_WEIGHTS, dense=pool.dense, keyword=pool.keyword, coverage=None)
        ),
        "and late interaction": lambda pool: _best(pool, pool.scores(alone)),
        "and neighbours": lambda pool: _best(pool, pool.scores(DEFAULT_WEIGHTS)),
    }


def _rows(questions: Sequence[KnownQuestion], retriever: Retriever, name: str) -> list[Row]:
    ranks: dict[str, list[Ranks]] = {arm: [] for arm in arms()}
    searched: list[Ranks] = []
    seconds = []
    retriever.search(questions[0].question, top_k=_DEPTH)
    for question in questions:
        started = time.perf_counter()
        passages = retriever.search(question.question, top_k=_DEPTH)
        seconds.append(time.perf_counter() - started)
        searched.append(find_ranks(question, [passage.chunk for passage in passages]))
        pool = retriever.pool(question.question)
        for arm, rank in arms().items():
            ranks[arm].append(find_ranks(question, rank(pool)[:_DEPTH]))
    median, most = numpy.percentile(seconds, [50, 95]) * 1000
    rows = [_row(f"{name}: {arm}", each) for arm, each in ranks.items()]
    best = max(("dense", "BM25", "reciprocal rank fusion"), key=lambda arm: _ndcg(ranks[arm]))
    gained = numpy.array([ndcg(first) - ndcg(second) for first, second in zip(searched, ranks[best], strict=True)])
    low, high = mean_interval(gained, seed=0)
    against = f"{best}: {_ndcg(ranks[best]):.3f} (difference {low:+.3f} to {high:+.3f})"
    whole = _row(f"{name}: search, {len(questions)} questions", searched, against=against)
    timed = Row(what=f"{name}: a query", figure=f"p50 {median:.0f} ms, p95 {most:.0f} ms", peak_mb=peak_mb())
    return [*rows, whole, timed]


def _row(what: str, ranks: Sequence[Ranks], *, against: str = "") -> Row:
    found = float(numpy.mean([recall(each, at=5) for each in ranks]))
    return Row(what=what, figure=f"nDCG@10 {_ndcg(ranks):.3f}, recall@5 {found:.3f}", against=against)


def _ndcg(ranks: Sequence[Ranks]) -> float:
    return float(numpy.mean([ndcg(each) for each in ranks]))


def _best(pool: Pool, scores: numpy.ndarray) -> list[Chunk]:
    return [pool.chunks[number] for number in numpy.argsort(-scores, kind="stable")]


def _refusals(paragraphs: Sequence[Paragraph], folder: Path, context: Context) -> Row:
    """Return how well questions about articles that are not in the index are told from others."""
    articles = sorted({paragraph.article for paragraph in paragraphs})
    random.Random(0).shuffle(articles)
    held = set(articles[: len(articles) // 2])
    texts = {paragraph.name: paragraph.text for paragraph in paragraphs if paragraph.article in held}
    add_texts(texts, folder, context, collection="half")
    _development, others = split_questions(paragraphs)
    inside = [each for each in others if each.document in texts][:_OF_EACH_KIND]
    outside = [each for each in others if each.document not in texts][:_OF_EACH_KIND]
    with opened_retriever(context, "half") as retriever:
        asked = [
            Asked(question=each, ranks={}, first=None, answerable=retriever.answerable(each.question), seconds=0.0)
            for each in [*inside, *(KnownQuestion(question=each.question, language="en") for each in outside)]
        ]
    told = answerability(asked)
    assert told is not None
    return Row(
        what=f"answerable or not, {len(inside)} and {len(outside)} questions",
        figure=f"AUROC {told.auroc:.3f}",
        against=f"at {told.threshold}: {told.wrongly_refused:.1%} wrongly refused, "
        f"{told.wrongly_answered:.1%} wrongly answered",
    )
