"""The plots of `training.html`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import style
from matplotlib.ticker import MaxNLocator

from pipelines.pages import svg

Points = Sequence[tuple[int, float]]
_LARGE, _SMALL = (680, 260), (300, 160)  # width and height in units of the page
_FEW = 60  # validations up to which each is marked


def loss_plot(training: Points, validation: Points, *, best: tuple[int, float] | None) -> str:
    """Return both losses by step, with a line and a mark where validation was best."""
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_LARGE)
        axes.plot(*_columns(training), color=svg.colour(0), linewidth=1.4, alpha=0.85)
        axes.plot(
            *_columns(validation),
            color=svg.colour(1),
            linewidth=2,
            marker="o" if len(validation) <= _FEW else "",
            markersize=4.5,
        )
        if best is not None:
            axes.axvline(best[0], color=svg.colour(2), linewidth=1.2, linestyle=(0, (4, 3)))
            axes.plot([best[0]], [best[1]], color=svg.colour(2), marker="D", markersize=7, linestyle="none")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=svg.STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=svg.STEPS))
        return svg.finish(figure, name="loss", label="Training and validation loss by step")


def small_plot(points: Points, *, name: str, label: str, number: int) -> str:
    """Return one curve by step, in the colour of a number."""
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_SMALL)
        axes.plot(*_columns(points), color=svg.colour(number), linewidth=1.6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=svg.STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=svg.STEPS))
        return svg.finish(figure, name=name, label=label)


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [step for step, _value in points], [value for _step, value in points]
