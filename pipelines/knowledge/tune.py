"""`docs tune`: fits how a collection is searched to questions about its own documents."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import numpy
from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.evaluate import QuestionParams, read_questions
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation
from pipelines.records import Language
from pipelines.text import language_of

if TYPE_CHECKING:
    from sklearn import linear_model

    from pipelines.knowledge import answerable, fusion, tuning
    from pipelines.knowledge.measuring import measures, questions, summary
    from pipelines.knowledge.retrieve import Pool, Retriever
else:
    answerable = lazy_import("pipelines.knowledge.answerable", extra="docs")
    fusion = lazy_import("pipelines.knowledge.fusion", extra="docs")
    linear_model = lazy_import("sklearn.linear_model", extra="train")
    measures = lazy_import("pipelines.knowledge.measuring.measures", extra="docs")
    summary = lazy_import("pipelines.knowledge.measuring.summary", extra="docs")
    tuning = lazy_import("pipelines.knowledge.tuning", extra="docs")

# With fewer questions, and fewer of either kind, what is fitted would be chance.
_FEWEST, _FEWEST_OF_A_KIND = 40, 20
_DENSE = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_KEYWORD = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
_AROUND = (0.0, 0.3, 0.6, 0.9)
_DENSE_ALONE = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9)
_WEAK_REGULARIZATION = 100.0


class TuneDocumentsParams(QuestionParams):
    """Which collection, and by which questions."""


class TuneDocumentsReport(BaseModel):
    """What was fitted, and whether it is used from now on."""

    collection: str
    summary: str
    n: int
    n_unanswerable: int
    weights: dict[str, float] = Field(description="How much each search counts from now on.")
    ndcg_before: float = Field(description="nDCG@10 with the default weights.")
    ndcg_fitted: float = Field(description="The same with weights fitted on the other half of the questions.")
    low: float = Field(description="Lower end of the 95% interval of the gain.")
    high: float
    is_used: bool = Field(description="Whether the fitted weights are better for sure; else the defaults stay.")
    is_calibrated: bool = Field(description="Whether the probability of an answer was fitted too.")


def tune_documents(params: TuneDocumentsParams, context: Context) -> TuneDocumentsReport:
    """Fit how a collection is searched to questions about its own documents; used only if surely better."""
    with opened_ledger(context, params.collection) as ledger:
        asked = read_questions(params, context, ledger).questions
    known = [each for each in asked if each.is_answerable]
    if len(known) < _FEWEST:
        raise DataError(
            f"{len(known)} questions with known places are too few to fit anything to",
            hint=f"Expected {_FEWEST} or more: assistant data generate makes them from the documents.",
        )
    folder = context.workspace.knowledge(params.collection)
    with opened_retriever(context, params.collection) as retriever:
        pools = _pools(asked, retriever, context)
        embedder = retriever.embedder
    answered = [(question, pool) for question, pool in zip(asked, pools, strict=True) if question.is_answerable]
    default = _usual(known)
    before = _scores(answered, None)
    fitted = _cross_fitted(answered, default)
    low, high = summary.mean_interval(fitted - before, seed=context.seed)
    weights = _fit(answered, default) if low > 0 else default
    best = [_best(pool, weights) for pool in pools]
    curve = calibrate(
        [score for score, question in zip(best, asked, strict=True) if question.is_answerable],
        [score for score, question in zip(best, asked, strict=True) if not question.is_answerable],
    )
    tuning.save_tuning(_tuning(embedder, weights, curve, is_used=low > 0, by_coverage=pools[0].own is not None), folder)
    return TuneDocumentsReport(
        collection=params.collection,
        summary=_say(low > 0, curve is not None),
        n=len(known),
        n_unanswerable=len(asked) - len(known),
        weights=weights.model_dump(),
        ndcg_before=round(float(before.mean()), 4),
        ndcg_fitted=round(float(fitted.mean()), 4),
        low=round(low, 4),
        high=round(high, 4),
        is_used=low > 0,
        is_calibrated=curve is not None,
    )


TUNE_DOCUMENTS = Operation(params=TuneDocumentsParams, report=TuneDocumentsReport, run=tune_documents)


def calibrate(answered: Sequence[float], unanswered: Sequence[float]) -> answerable.Calibration | None:
    """Return the curve that tells both kinds apart; None with too few of either, or where higher is not likelier.

    Args:
        answered: Best scores of questions that the documents answer.
        unanswered: Best scores of questions that they do not answer.
    """
    if min(len(answered), len(unanswered)) < _FEWEST_OF_A_KIND:
        return None
    scores = numpy.array([*answered, *unanswered])[:, None]
    is_answered = [True] * len(answered) + [False] * len(unanswered)
    model = linear_model.LogisticRegression(C=_WEAK_REGULARIZATION, class_weight="balanced", max_iter=1_000)
    model.fit(scores, is_answered)
    slope = float(model.coef_[0, 0])
    return answerable.Calibration(slope=slope, intercept=float(model.intercept_[0])) if slope > 0 else None


def _pools(asked: Sequence[questions.KnownQuestion], retriever: Retriever, context: Context) -> list[Pool]:
    pools = []
    for number, question in enumerate(asked, start=1):
        pools.append(retriever.pool(question.question))
        context.progress("asking questions", number, len(asked))
    return pools


def _usual(known: Sequence[questions.KnownQuestion]) -> fusion.Weights:
    """Return the default weights of the language that most questions are in."""
    [(language, _n)] = Counter(language_of(each.question) for each in known).most_common(1)
    return fusion.WEIGHTS_OF_LANGUAGES[language]


def _cross_fitted(answered: Sequence[tuple[questions.KnownQuestion, Pool]], default: fusion.Weights) -> numpy.ndarray:
    """Return nDCG@10 of every question with weights fitted on the half that it is not in; float, (questions,)."""
    scores = numpy.zeros(len(answered))
    for half in (0, 1):
        weights = _fit(answered[1 - half :: 2], default)
        scores[half::2] = _scores(answered[half::2], weights)
    return scores


def _fit(answered: Sequence[tuple[questions.KnownQuestion, Pool]], default: fusion.Weights) -> fusion.Weights:
    """Return the weights with the best nDCG@10; of equal ones, those nearest to the defaults."""
    if answered[0][1].own is None:
        candidates = [default.model_copy(update={"dense_alone": share}) for share in _DENSE_ALONE]
    else:
        candidates = [
            default.model_copy(update={"dense": dense, "keyword": keyword, "around": around})
            for dense, keyword, around in itertools.product(_DENSE, _KEYWORD, _AROUND)
        ]
    return max(candidates, key=lambda each: (round(float(_scores(answered, each).mean()), 6), -_apart(each, default)))


def _apart(one: fusion.Weights, other: fusion.Weights) -> float:
    return float(sum(abs(value - other.model_dump()[name]) for name, value in one.model_dump().items()))


def _scores(answered: Sequence[tuple[questions.KnownQuestion, Pool]], weights: fusion.Weights | None) -> numpy.ndarray:
    """Return nDCG@10 of every question, by default with the weights of its language; float, (questions,)."""
    found = []
    for question, pool in answered:
        scores = pool.scores(weights or fusion.WEIGHTS_OF_LANGUAGES[language_of(question.question)])
        order = sorted(range(len(pool.chunks)), key=lambda each: (-scores[each], pool.chunks[each].id))
        found.append(measures.ndcg(measures.find_ranks(question, [pool.chunks[each] for each in order])))
    return numpy.array(found)


def _best(pool: Pool, weights: fusion.Weights) -> float:
    """Return what the probability of an answer is told from."""
    coverage = pool.coverage(weights)
    return pool.words if coverage is None else float(coverage.max(initial=-1.0))


def _tuning(
    embedder: str,
    weights: fusion.Weights,
    curve: answerable.Calibration | None,
    *,
    is_used: bool,
    by_coverage: bool,
) -> tuning.Tuning:
    fitted = tuning.default_tuning(embedder).model_copy(update={"weights": weights if is_used else None})
    if curve is None:
        return fitted
    if not by_coverage:
        return fitted.model_copy(update={"by_words": curve})
    return fitted.model_copy(update={"by_coverage": dict.fromkeys(get_args(Language), curve)})


def _say(is_used: bool, is_calibrated: bool) -> str:
    weights = "the fitted weights are used" if is_used else "the default weights stay: no fitted ones are surely better"
    curve = "the probability of an answer was fitted" if is_calibrated else "the probability of an answer was not"
    return f"{weights}; {curve}"
