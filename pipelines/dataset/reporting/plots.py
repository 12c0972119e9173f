"""Plots as SVG for the inside of a page, which gives them its colours and its font.

matplotlib draws with numbers only. Words that come from data would need a font for every
script, and it would read `$` in them as mathematics; they become `<title>` elements, which
browsers show beside the pointer, and everything else is text of the page. The same input
gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from pipelines.models.embedder import Vectors

# Colours that stand for the page's own, by the name of the variable that holds each.
COLOURS = 8
_INK, _LINE = "#a1b2d0", "#a1b2d1"
_STANDS_FOR = {_INK: "soft", _LINE: "line"} | {f"#a1b2c{number}": f"c{number}" for number in range(1, COLOURS + 1)}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_POINTS_PER_INCH = 72
_HISTOGRAM = (300, 170)  # width and height in units of the page, so that 11 is the size of its small print
_MAP = (680, 400)
_MOST_BINS = 24
_STEPS = (1, 2, 2.5, 5, 10)  # of a decimal place, between two marks of an axis
_STAND_IN = re.compile("|".join(_STANDS_FOR))
_FONT_FAMILY = re.compile(r" font-family: [^;]*;?")
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plots",
    "font.size": 11,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
    "ytick.left": False,
}


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
    with style.context(["default", _SETTINGS]):
        figure, axes = _open(_HISTOGRAM)
        colours = [_colour(number) for number in range(len(groups))]
        axes.hist([list(group) for group in groups], bins=list(edges), stacked=True, color=colours, rwidth=0.92)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole, steps=_STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=_STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
        return _finish(figure, name=name, label=label)


def scatter(places: Vectors, groups: Sequence[int], titles: Sequence[str], *, name: str, label: str) -> str:
    """Return a map of points, each with a colour and a title.

    Args:
        places: Where each point lies; float, (points, 2).
        groups: Number of each point's group, from 0; no more groups than there are colours.
        titles: What each point is.
        name: Tells the plot's elements from those of the other plots of the page.
        label: What the plot shows, for those who cannot see it.
    """
    members = [[point for point, group in enumerate(groups) if group == number] for number in range(COLOURS)]
    with style.context(["default", _SETTINGS, {"axes.grid": False, "axes.spines.bottom": False}]):
        figure, axes = _open(_MAP)
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
                color=_colour(number),
                gid=f"group{number}",
            )
        return _finish(figure, name=name, label=label, titles=[[titles[point] for point in each] for each in members])


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


def _colour(number: int) -> str:
    return f"#a1b2c{number + 1}"


def _edges(values: NDArray[numpy.float64], *, whole: bool) -> NDArray[numpy.float64]:
    """Return the edges of the bins; those of counts lie halfway between two counts."""
    low, high = float(values.min()), float(values.max())
    if whole:
        width = max(1, int(numpy.ceil((high - low + 1) / _MOST_BINS)))
        return numpy.arange(low - 0.5, high + width + 0.5, width)
    bins = min(_MOST_BINS, max(1, int(numpy.sqrt(len(values)) * 1.5)))
    return numpy.histogram_bin_edges(values, bins=bins)


def _open(size: tuple[int, int]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(size[0] / _POINTS_PER_INCH, size[1] / _POINTS_PER_INCH), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    return figure, axes


def _finish(figure: Figure, *, name: str, label: str, titles: Sequence[Sequence[str]] = ()) -> str:
    """Return a figure as an element of the page."""
    with io.BytesIO() as file:
        figure.savefig(file, format="svg")
        root = ElementTree.fromstring(file.getvalue())
    # Its style sheet would be one for the whole page, and its size is the page's affair.
    for part in [
        each for each in root if each.tag == f"{{{_SVG}}}metadata" or each.find(f"{{{_SVG}}}style") is not None
    ]:
        root.remove(part)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    for number, each in enumerate(titles):
        _add_titles(root, f"group{number}", each)
    for element in root.iter():
        _adopt(element, name)
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _add_titles(root: ElementTree.Element, group: str, titles: Sequence[str]) -> None:
    """Give the points of a group their titles."""
    points = [
        use for part in root.iter(f"{{{_SVG}}}g") if part.get("id") == group for use in part.iter(f"{{{_SVG}}}use")
    ]
    for point, title in zip(points, titles, strict=True):
        ElementTree.SubElement(point, f"{{{_SVG}}}title").text = title


def _adopt(element: ElementTree.Element, name: str) -> None:
    """Put the page's colours and font in place, and make ids those of this plot alone."""
    if not (element.text or "").strip():
        element.text = None
    element.tail = None
    if look := element.get("style"):
        named = _STAND_IN.sub(lambda match: f"var(--{_STANDS_FOR[match.group()]})", look)
        element.set("style", _FONT_FAMILY.sub("", named))
    if element.tag == f"{{{_SVG}}}g":
        element.attrib.pop("id", None)
    elif identity := element.get("id"):
        element.set("id", f"{name}-{identity}")
    for attribute, value in element.attrib.items():
        if attribute in (f"{{{_XLINK}}}href", "clip-path"):
            element.set(attribute, value.replace("#", f"#{name}-"))
