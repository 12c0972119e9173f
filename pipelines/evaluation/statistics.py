"""How sure a difference is."""

from __future__ import annotations

import math
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


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Return how likely chance alone divides the discordant pairs at least this unevenly.

    Where only one of two is right, chance would make it either with probability one half.

    Args:
        first_only: Questions that only the first answered rightly.
        second_only: Questions that only the second answered rightly.

    Source:
        McNemar 1947, Psychometrika 12(2), 153-157; the exact form, by the binomial distribution.
    """
    discordant = first_only + second_only
    return float(stats.binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0


def smallest_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.05, power: float = 0.8
) -> float | None:
    """Return the smallest true mean difference that a test of this size would probably have shown.

    By the normal approximation, from how much the paired differences vary; None where they
    do not, or are fewer than two.

    Args:
        first: One score per question.
        second: One score per question, in the same order.
        level: Chance of seeing a difference where there is none (two-sided).
        power: Chance of seeing one of that size.

    Source:
        Cohen 1988, Statistical Power Analysis, section 2.3 (paired observations).
    """
    differences = numpy.subtract(first, second)
    if len(differences) < 2 or numpy.ptp(differences) == 0:
        return None
    quantiles = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    return float(quantiles * differences.std(ddof=1) / math.sqrt(len(differences)))
