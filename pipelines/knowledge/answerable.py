"""How likely it is that documents answer a query at all, told from the best that was found."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict


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
