"""The figures of an evaluation, from what came of every question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from pipelines.knowledge.measuring.asking import Asked
from pipelines.knowledge.measuring.measures import Ranks, ndcg, recall, reciprocal_rank
from pipelines.knowledge.measuring.report import (
    ARM_TITLES,
    RANKS,
    SIMPLE_ARMS,
    Answerability,
    Arm,
    ArmFigures,
    Difference,
    Figures,
    Latency,
    Measure,
    NamedFigures,
)

_RESAMPLES = 9_999
_RESAMPLES_AT_ONCE = 100  # of all questions; all of them would be 10,000 times as many numbers
_THRESHOLD = 0.5  # of a probability
_MEASURES: dict[Measure, Callable[[Ranks], float]] = {"nDCG@10": ndcg, "recall@5": lambda ranks: recall(ranks, at=5)}


def arm_figures(asked: Sequence[Asked], *, top_k: int) -> list[ArmFigures]:
    """Return the figures of each way of searching, over the answerable questions."""
    found = []
    for arm in ARM_TITLES:
        ranks = _ranks(asked, arm)
        curve = [_mean(recall(each, at=at) for each in ranks) for at in range(1, RANKS + 1)]
        found.append(ArmFigures(arm=arm, recall_curve=curve, **figures(ranks, top_k=top_k).model_dump()))
    return found


def figures(ranks: Sequence[Ranks], *, top_k: int) -> Figures:
    """Return the means over questions."""
    return Figures(
        n=len(ranks),
        recall_at_1=_mean(recall(each, at=1) for each in ranks),
        recall_at_5=_mean(recall(each, at=5) for each in ranks),
        recall_at_10=_mean(recall(each, at=10) for each in ranks),
        recall_at_top_k=_mean(recall(each, at=top_k) for each in ranks),
        ndcg_at_10=_mean(ndcg(each, at=RANKS) for each in ranks),
        mrr_at_10=_mean(reciprocal_rank(each, at=RANKS) for each in ranks),
    )


def grouped_figures(asked: Sequence[Asked], key: Callable[[Asked], str], *, top_k: int) -> list[NamedFigures]:
    """Return the figures of each group of answerable questions, the worst first."""
    groups: dict[str, list[Ranks]] = {}
    for each in asked:
        if each.question.is_answerable:
            groups.setdefault(key(each), []).append(each.ranks["all"])
    found = [NamedFigures(name=name, **figures(ranks, top_k=top_k).model_dump()) for name, ranks in groups.items()]
    return sorted(found, key=lambda each: (each.recall_at_top_k, each.ndcg_at_10, -each.n, each.name))


def differences(asked: Sequence[Asked], arms: Sequence[ArmFigures], *, seed: int) -> list[Difference]:
    """Return by how much the whole search is better than the simple way that is best by nDCG."""
    simple = [each for each in arms if each.arm in SIMPLE_ARMS]
    against = max(simple, key=lambda each: each.ndcg_at_10).arm
    found = []
    for measure, score in _MEASURES.items():
        pairs = [(score(each.ranks["all"]), score(each.ranks[against])) for each in asked if each.ranks]
        gained = numpy.array([whole - other for whole, other in pairs])
        low, high = mean_interval(gained, seed=seed)
        mean = float(gained.mean())
        found.append(
            Difference(measure=measure, against=against, mean=round(mean, 4), low=round(low, 4), high=round(high, 4))
        )
    return found


def mean_interval(values: numpy.ndarray, *, seed: int) -> tuple[float, float]:
    """Return the 95% interval of the mean of independent values, by bootstrap.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    if len(values) < 2 or numpy.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    interval = stats.bootstrap(
        (values,),
        numpy.mean,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES_AT_ONCE,
        method="percentile",
        rng=numpy.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def latency(asked: Sequence[Asked]) -> Latency:
    """Return how long searches took."""
    median, most = numpy.percentile([each.seconds * 1000 for each in asked], [50, 95])
    return Latency(p50_ms=round(float(median), 1), p95_ms=round(float(most), 1))


def answerability(asked: Sequence[Asked]) -> Answerability | None:
    """Return how well both kinds are told apart; None where there is one kind only.

    Source:
        Fawcett 2006, An Introduction to ROC Analysis, section 7 (area under the curve);
        Youden 1950, Index for Rating Diagnostic Tests (the threshold that divides best).
    """
    truth = numpy.array([each.question.is_answerable for each in asked])
    scores = numpy.array([each.answerable for each in asked])
    if truth.all() or not truth.any():
        return None
    wrongly_answered, found, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    best = int(numpy.argmax(found - wrongly_answered))
    return Answerability(
        n_answerable=int(truth.sum()),
        n_unanswerable=int((~truth).sum()),
        auroc=round(float(roc_auc_score(truth, scores)), 4),
        threshold=_THRESHOLD,
        wrongly_refused=round(float((scores[truth] < _THRESHOLD).mean()), 4),
        wrongly_answered=round(float((scores[~truth] >= _THRESHOLD).mean()), 4),
        best_threshold=round(min(1.0, float(thresholds[best])), 4),
        best_wrongly_refused=round(1 - float(found[best]), 4),
        best_wrongly_answered=round(float(wrongly_answered[best]), 4),
    )


def first_rank(ranks: Mapping[Arm, Ranks], arm: Arm) -> int | None:
    """Return the rank of the first target that was found."""
    return min((rank for rank in ranks.get(arm, ()) if rank is not None), default=None)


def _ranks(asked: Sequence[Asked], arm: Arm) -> list[Ranks]:
    return [each.ranks[arm] for each in asked if each.question.is_answerable]


def _mean(values: Iterable[float]) -> float:
    return round(float(numpy.mean(list(values))), 4)
