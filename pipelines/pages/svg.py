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

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that stand for the page's own, by the name of the variable that holds each.
COLOURS = 8
_INK, _LINE = "#a1b2d0", "#a1b2d1"
_STANDS_FOR = {_INK: "soft", _LINE: "line"} | {f"#a1b2c{number}": f"c{number}" for number in range(1, COLOURS + 1)}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_POINTS_PER_INCH = 72
STEPS = (1, 2, 2.5, 5, 10)  # of a decimal place, between two marks of an axis
_STAND_IN = re.compile("|".join(_STANDS_FOR))
_FONT_FAMILY = re.compile(r" font-family: [^;]*;?")
SETTINGS = {
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


def colour(number: int) -> str:
    """Return the colour of a group, by its number from 0."""
    return f"#a1b2c{number + 1}"


def open_axes(size: tuple[int, int]) -> tuple[Figure, Axes]:
    """Return an empty plot of a width and height in units of the page."""
    figure = Figure(figsize=(size[0] / _POINTS_PER_INCH, size[1] / _POINTS_PER_INCH), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    return figure, axes


def finish(figure: Figure, *, name: str, label: str, titles: Sequence[Sequence[str]] = ()) -> str:
    """Return a figure as an element of the page.

    Args:
        figure: What was drawn; groups of points have the ids group0, group1 and so on.
        name: Tells the plot's elements from those of the other plots of the page.
        label: What the plot shows, for those who cannot see it.
        titles: What each point of each group is.
    """
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
