"""What was fitted to a collection: the weights of its searches, and what tells that it does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.knowledge.answerable import BY_COSINE, BY_COVERAGE, Calibration
from pipelines.knowledge.fusion import DEFAULT_WEIGHTS, Weights
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.knowledge.retrieve import Pool

TUNING = "tuning.json"


class Tuning(BaseModel):
    """How a collection is searched."""

    model_config = ConfigDict(frozen=True)

    embedder: str = ""
    weights: Weights = DEFAULT_WEIGHTS
    by_coverage: Calibration = BY_COVERAGE
    by_cosine: Calibration = BY_COSINE

    def answerable(self, pool: Pool) -> float:
        """Return how likely it is that the documents answer the query of a pool, from 0 to 1."""
        if not len(pool.chunks):
            return 0.0
        calibration = self.by_cosine if pool.own is None else self.by_coverage
        return calibration.probability(best_score(pool, self.weights))


DEFAULT_TUNING = Tuning()


def best_score(pool: Pool, weights: Weights) -> float:
    """Return the score of the best chunk that can be compared between queries; 0 for an empty pool."""
    coverage = pool.coverage(weights)
    scores = pool.dense if coverage is None else coverage
    return float(scores.max()) if len(scores) else 0.0


def load_tuning(folder: Path, *, embedder: str) -> Tuning:
    """Return what was fitted to the collection in `folder` with its embedder; the defaults if nothing was."""
    try:
        tuning = Tuning.model_validate_json((folder / TUNING).read_bytes())
    except (OSError, ValidationError):
        return DEFAULT_TUNING
    return tuning if tuning.embedder == embedder else DEFAULT_TUNING


def save_tuning(tuning: Tuning, folder: Path) -> None:
    """Keep what was fitted to the collection in `folder`."""
    write_json(folder / TUNING, tuning.model_dump(mode="json"))
