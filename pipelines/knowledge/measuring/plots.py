"""The plots of an evaluation's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
from matplotlib import style
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipelines.knowledge.measuring.report import ARM_TITLES, RANKS, ArmFigures
from pipelines.pages import svg

_TALL, _LOW = (680, 280), (680, 200)  # width and height in units of the page; one width makes letters of one size
_BINS = 20


def recall_plot(arms: Sequence[ArmFigures]) -> str:
    """Return the share found within the first ranks, by each way of searching."""
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_TALL)
        for number, arm in enumerate(arms):
            axes.plot(
                range(1, RANKS + 1),
                arm.recall_curve,
                color=svg.colour(number),
                linewidth=2.4 if arm.arm == "all" else 1.5,
                marker="o",
                markersize=4.5,
            )
        axes.set_xticks(range(1, RANKS + 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=svg.STEPS))
        shown = ", ".join(f"{ARM_TITLES[arm.arm]} {arm.recall_curve[-1]:.0%}" for arm in arms)
        return svg.finish(figure, name="recall", label=f"Share found by rank; within the first {RANKS}: {shown}")


def latency_plot(seconds: Sequence[float], *, p95_ms: float) -> str:
    """Return how many searches took how long, with a line at the 95th percentile."""
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_LOW)
        taken = numpy.array(seconds) * 1000
        # One search that was held up would press all others into one bar.
        edges = numpy.linspace(0, max(float(numpy.percentile(taken, 99)), p95_ms) * 1.05, _BINS + 1)
        axes.hist(numpy.clip(taken, 0, edges[-1]), bins=edges.tolist(), color=svg.colour(0))
        axes.axvline(p95_ms, color=svg.colour(1), linewidth=1.4, linestyle=(0, (4, 3)))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=svg.STEPS))
        return svg.finish(figure, name="latency", label="Searches by duration in milliseconds")


def answerability_plot(scores: Mapping[bool, Sequence[float]], *, threshold: float) -> str:
    """Return how likely an answer was held to be, for questions that have one and those that have none."""
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_LOW)
        edges = numpy.linspace(0, 1, _BINS + 1)
        for number, is_answerable in enumerate((True, False)):
            values = scores[is_answerable]
            shares = [1 / len(values)] * len(values)
            axes.hist(values, bins=edges.tolist(), weights=shares, color=svg.colour(number), alpha=0.65)
        axes.axvline(threshold, color=svg.colour(2), linewidth=1.4, linestyle=(0, (4, 3)))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=svg.STEPS))
        return svg.finish(figure, name="answerable", label="Questions by the probability of an answer")
