"""How likely it is that documents answer a query at all, told from the best that was found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegression

# Less of either kind would fit chance.
FEWEST = 20
_WEAK_REGULARIZATION = 100.0


class Calibration(BaseModel):
    """From a score to a probability: a logistic curve.

    Source:
        Platt 1999, Probabilistic Outputs for Support Vector Machines, section 2.
    """

    model_config = ConfigDict(frozen=True)

    slope: float
    intercept: float

    def probability(self, score: float) -> float:
        """Return how likely it is that the documents answer, from 0 to 1."""
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, self.slope * score + self.intercept))))


# Fitted on questions about one half of the articles of SQuAD asked of either half (BENCHMARKS.md).
BY_COVERAGE = Calibration(slope=45.6, intercept=-20.7)
BY_COSINE = Calibration(slope=24.9, intercept=-12.3)


def calibrate(answerable: Sequence[float], unanswerable: Sequence[float]) -> Calibration | None:
    """Return the curve that tells both kinds apart; None with too few of either, or no difference.

    Args:
        answerable: Best scores of questions that the documents answer.
        unanswerable: Best scores of questions that they do not answer.
    """
    if min(len(answerable), len(unanswerable)) < FEWEST:
        return None
    scores = numpy.array([*answerable, *unanswerable])[:, None]
    is_answerable = [True] * len(answerable) + [False] * len(unanswerable)
    model = LogisticRegression(C=_WEAK_REGULARIZATION, class_weight="balanced").fit(scores, is_answerable)
    slope = float(model.coef_[0, 0])
    return Calibration(slope=slope, intercept=float(model.intercept_[0])) if slope > 0 else None
