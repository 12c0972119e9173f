"""Several scores of the same chunks as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipelines.records import Language

Scores = NDArray[numpy.float64]


class Weights(BaseModel):
    """How much each search counts, in standard deviations over the pool; late interaction counts one."""

    model_config = ConfigDict(frozen=True)

    dense: float = Field(0.1, ge=0, description="Of the cosine of query and chunk.")
    keyword: float = Field(0.2, ge=0, description="Of BM25.")
    around: float = Field(0.6, ge=0, le=1, description="Share of a chunk's coverage that its neighbours may add to.")
    dense_alone: float = Field(0.5, ge=0, le=1, description="Of the cosine, where tokens have no vectors.")


DEFAULT_WEIGHTS = Weights()
# Of Chinese queries: tokens that are parts of words tell less than the whole sentence (BENCHMARKS.md).
WEIGHTS_OF_LANGUAGES: dict[Language, Weights] = {"en": DEFAULT_WEIGHTS, "zh": Weights(dense=2.0, keyword=1.0)}
_NO_SPREAD = 1e-9  # what rounding leaves of equal scores


def fuse(weights: Weights, *, dense: Scores, keyword: Scores, coverage: Scores | None) -> Scores:
    """Return one score for each chunk of a pool; float, (chunks,), comparable within the pool only.

    Args:
        weights: How much each counts.
        dense: Cosines; float, (chunks,).
        keyword: BM25, 0 without a match; float, (chunks,).
        coverage: Late interaction; float, (chunks,). None if tokens have no vectors.
    """
    if coverage is None:
        return weights.dense_alone * _standardize(dense) + (1 - weights.dense_alone) * _standardize(keyword)
    return _standardize(coverage) + weights.dense * _standardize(dense) + weights.keyword * _standardize(keyword)


def reciprocal_ranks(rankings: Sequence[Sequence[str]], *, k: int = 60) -> dict[str, float]:
    """Return the sum over rankings of 1 / (k + rank) for every id, ranks from 1.

    Source:
        Cormack, Clarke and Büttcher 2009, Reciprocal Rank Fusion.
    """
    total: dict[str, float] = {}
    for ranking in rankings:
        for rank, each in enumerate(ranking, start=1):
            total[each] = total.get(each, 0.0) + 1 / (k + rank)
    return total


def _standardize(scores: Scores) -> Scores:
    spread = float(scores.std()) if len(scores) else 0.0
    return (scores - scores.mean()) / spread if spread > _NO_SPREAD else numpy.zeros_like(scores)
