"""How sure a difference is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from scipy import stats

_RESAMPLES = 9_999


def difference_interval(first: Sequence[float], second: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Return the 95% interval of the mean of first - second, by paired bootstrap.

    Args:
        first: One score per question.
        second: One score per question, in the same order.
        seed: Seed of the resampling.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13
        (percentile method; scipy.stats.bootstrap).
    """
    differences = numpy.subtract(first, second)
    if len(differences) < 2 or numpy.ptp(differences) == 0:
        mean = float(differences.mean()) if len(differences) else 0.0
        return mean, mean
    result = stats.bootstrap(
        (differences,), numpy.mean, n_resamples=_RESAMPLES, method="percentile", rng=numpy.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
