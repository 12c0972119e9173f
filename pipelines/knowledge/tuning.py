"""What was fitted to a collection: the weights of its searches, and what tells that it does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.knowledge.answerable import BY_COVERAGE, BY_WORDS, Calibration
from pipelines.knowledge.fusion import WEIGHTS_OF_LANGUAGES, Weights
from pipelines.records import Language
from pipelines.text import language_of
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.knowledge.retrieve import Pool

TUNING = "tuning.json"


class Tuning(BaseModel):
    """How a collection is searched."""

    model_config = ConfigDict(frozen=True)

    embedder: str = ""
    weights: Weights | None = None  # those of the query's language
    by_coverage: dict[Language, Calibration] = {}  # by the query's; not known for every embedder
    by_words: Calibration = BY_WORDS

    def weights_for(self, query: str) -> Weights:
        """Return how much each search counts for a query."""
        return self.weights or WEIGHTS_OF_LANGUAGES[language_of(query)]

    def answerable(self, query: str, pool: Pool) -> float:
        """Return how likely it is that the documents answer a query, from 0 to 1, by the pool that it found."""
        if not len(pool.chunks):
            return 0.0
        coverage = pool.coverage(self.weights_for(query))
        curve = self.by_coverage.get(language_of(query))
        if coverage is None or curve is None:
            return self.by_words.probability(pool.words)
        return curve.probability(float(coverage.max()))


def default_tuning(embedder: str) -> Tuning:
    """Return how a collection is searched to which nothing was fitted.

    Args:
        embedder: Name of its embedder, as `Embedder.name` gives it: the model's, and a hash.
    """
    known = (curves for model, curves in BY_COVERAGE.items() if embedder.startswith(model))
    return Tuning(embedder=embedder, by_coverage=next(known, {}))


def load_tuning(folder: Path, *, embedder: str) -> Tuning:
    """Return what was fitted to the collection in `folder` with its embedder; the defaults if nothing was."""
    try:
        tuning = Tuning.model_validate_json((folder / TUNING).read_bytes())
    except (OSError, ValidationError):
        return default_tuning(embedder)
    return tuning if tuning.embedder == embedder else default_tuning(embedder)


def save_tuning(tuning: Tuning, folder: Path) -> None:
    """Keep what was fitted to the collection in `folder`."""
    write_json(folder / TUNING, tuning.model_dump(mode="json"))
