"""How likely it is that documents answer a query at all, told from the best that was found."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from pipelines.records import Language


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


# How alike tokens are differs between embedders and languages; what words tell does not. English is fitted on
# questions about one half of the articles of SQuAD, asked of either half, and for the default model with the same
# weight on those of examples/handbook_questions.jsonl, which are on the subject and share few words; Chinese on 68
# questions asked of the Chinese Debian FAQ (BENCHMARKS.md).
BY_COVERAGE: dict[str, dict[Language, Calibration]] = {
    "all-minilm-l6-v2": {"en": Calibration(slope=15.5, intercept=-6.52)},
    "multilingual-e5-small": {
        "en": Calibration(slope=130, intercept=-95.6),
        "zh": Calibration(slope=76, intercept=-57.5),
    },
}
BY_WORDS = Calibration(slope=3.44, intercept=-1.61)
