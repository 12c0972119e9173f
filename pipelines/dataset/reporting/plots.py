"""The plots of `data report`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from matplotlib import style
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from pipelines.models.embedder import Vectors
from pipelines.pages import svg

_HISTOGRAM = (300, 170)  # width and height in units of the page, so that 11 is the size of its small print
_MAP = (680, 400)
_MOST_BINS = 24


def histogram(groups: Sequence[Sequence[float]], *, name: str, label: str, whole: bool = False) -> str:
    """Return a histogram of numbers, those of each group stacked in a colour of its own.

    Args:
        groups: The numbers of each group; no more groups than there are colours.
        name: Tells the plot's elements from those of the other plots of the page.
        label: What the plot shows, for those who cannot see it.
        whole: Whether the numbers are counts, so that no bin lies between two of them.
    """
    values = numpy.asarray([value for group in groups for value in group], dtype=numpy.float64)
    edges = _edges(values, whole=whole)
    with style.context(["default", svg.SETTINGS]):
        figure, axes = svg.open_axes(_HISTOGRAM)
        colours = [svg.colour(number) for number in range(len(groups))]
        axes.hist([list(group) for group in groups], bins=list(edges), stacked=True, color=colours, rwidth=0.92)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole, steps=svg.STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=svg.STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
        return svg.finish(figure, name=name, label=label)


def scatter(places: Vectors, groups: Sequence[int], titles: Sequence[str], *, name: str, label: str) -> str:
    """Return a map of points, each with a colour and a title.

    Args:
        places: Where each point lies; float, (points, 2).
        groups: Number of each point's group, from 0; no more groups than there are colours.
        titles: What each point is.
        name: Tells the plot's elements from those of the other plots of the page.
        label: What the plot shows, for those who cannot see it.
    """
    members = [[point for point, group in enumerate(groups) if group == number] for number in range(svg.COLOURS)]
    with style.context(["default", svg.SETTINGS, {"axes.grid": False, "axes.spines.bottom": False}]):
        figure, axes = svg.open_axes(_MAP)
        axes.set_axis_off()
        axes.margins(0.03)
        for number, points in enumerate(members):
            axes.plot(
                *places[points].T,
                linestyle="none",
                marker="o",
                markersize=6.5,
                markeredgewidth=0,
                alpha=0.72,
                color=svg.colour(number),
                gid=f"group{number}",
            )
        return svg.finish(
            figure, name=name, label=label, titles=[[titles[point] for point in each] for each in members]
        )


def flatten(vectors: Vectors) -> Vectors:
    """Return the two directions in which vectors differ most (PCA); float, (vectors, 2)."""
    centred = vectors - vectors.mean(axis=0)
    left, lengths, _right = numpy.linalg.svd(centred, full_matrices=False)
    places = numpy.zeros((len(vectors), 2), dtype=numpy.float32)
    found = (left * lengths)[:, :2]
    # The sign of a direction is arbitrary; this one does not hang on the library's mood.
    signs = numpy.sign(found[numpy.abs(found).argmax(axis=0), range(found.shape[1])])
    places[:, : found.shape[1]] = found * signs
    return places


def _edges(values: NDArray[numpy.float64], *, whole: bool) -> NDArray[numpy.float64]:
    """Return the edges of the bins; those of counts lie halfway between two counts."""
    low, high = float(values.min()), float(values.max())
    if whole:
        width = max(1, int(numpy.ceil((high - low + 1) / _MOST_BINS)))
        return numpy.arange(low - 0.5, high + width + 0.5, width)
    bins = min(_MOST_BINS, max(1, int(numpy.sqrt(len(values)) * 1.5)))
    return numpy.histogram_bin_edges(values, bins=bins)
