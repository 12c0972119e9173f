"""`docs tune`: fits how a collection is searched to questions about its own documents."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy
from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.evaluate import QuestionParams, read_questions
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation
from pipelines.records import Language
from pipelines.text import language_of, main_language

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
_NOT_CALIBRATED = (
    f"the probability of an answer was not, which takes {_FEWEST_OF_A_KIND} questions of a language that the documents "
    f"answer, and {_FEWEST_OF_A_KIND} that they do not"
)


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
    # Of the language that most questions are in.
    default = fusion.WEIGHTS_OF_LANGUAGES[main_language(each.question for each in known)]
    before = _scores(answered, None)
    fitted = _cross_fitted(answered, default)
    low, high = summary.mean_interval(fitted - before, seed=context.seed)
    weights = _fit(answered, default) if low > 0 else default
    curves = fit_curves(asked, pools, weights)
    tuning.save_tuning(_tuning(embedder, weights if low > 0 else None, curves), folder)
    return TuneDocumentsReport(
        collection=params.collection,
        summary=_say(low > 0, bool(curves)),
        n=len(known),
        n_unanswerable=len(asked) - len(known),
        weights=weights.model_dump(),
        ndcg_before=round(float(before.mean()), 4),
        ndcg_fitted=round(float(fitted.mean()), 4),
        low=round(low, 4),
        high=round(high, 4),
        is_used=low > 0,
        is_calibrated=bool(curves),
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


def fit_curves(
    asked: Sequence[questions.KnownQuestion], pools: Sequence[Pool], weights: fusion.Weights
) -> dict[Language | None, answerable.Calibration]:
    """Return a curve for each language of which there are enough questions of both kinds.

    Coverage is on another scale in each language, and words, which tell where the embedder knows
    nothing of a query's tokens, on one of their own: their curve is that of None.
    """
    best: dict[Language | None, tuple[list[float], list[float]]] = {}
    for question, pool in zip(asked, pools, strict=True):
        coverage = pool.coverage(weights)
        scale = None if coverage is None else language_of(question.question)
        score = pool.words if coverage is None else float(coverage.max(initial=-1.0))
        best.setdefault(scale, ([], []))[0 if question.is_answerable else 1].append(score)
    curves = {scale: calibrate(answered, unanswered) for scale, (answered, unanswered) in best.items()}
    return {scale: curve for scale, curve in curves.items() if curve is not None}


def _pools(asked: Sequence[questions.KnownQuestion], retriever: Retriever, context: Context) -> list[Pool]:
    pools = []
    for number, question in enumerate(asked, start=1):
        pools.append(retriever.pool(question.question))
        context.progress("asking questions", number, len(asked))
    return pools


def _cross_fitted(answered: Sequence[tuple[questions.KnownQuestion, Pool]], default: fusion.Weights) -> numpy.ndarray:
    """Return nDCG@10 of every question with weights fitted on the half that it is not in; float, (questions,)."""
    scores = numpy.zeros(len(answered))
    for half in (0, 1):
        weights = _fit(answered[1 - half :: 2], default)
        scores[half::2] = _scores(answered[half::2], weights)
    return scores


def _fit(answered: Sequence[tuple[questions.KnownQuestion, Pool]], default: fusion.Weights) -> fusion.Weights:
    """Return the weights with the best nDCG@10; of equal ones, those nearest to the defaults."""
    if all(pool.own is None for _question, pool in answered):
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


def _tuning(
    embedder: str, weights: fusion.Weights | None, curves: Mapping[Language | None, answerable.Calibration]
) -> tuning.Tuning:
    usual = tuning.default_tuning(embedder)
    by_coverage = usual.by_coverage | {language: curve for language, curve in curves.items() if language is not None}
    by_words = curves.get(None, usual.by_words)
    return usual.model_copy(update={"weights": weights, "by_coverage": by_coverage, "by_words": by_words})


def _say(is_used: bool, is_calibrated: bool) -> str:
    weights = "the fitted weights are used" if is_used else "the default weights stay: no fitted ones are surely better"
    curve = "the probability of an answer was fitted" if is_calibrated else _NOT_CALIBRATED
    return f"{weights}; {curve}"
