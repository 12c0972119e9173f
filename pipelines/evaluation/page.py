"""The page of an evaluation: what was found, for people, as one HTML file that needs nothing else.

Whatever comes from documents, models or people is escaped by the template engine, and the
page forbids itself scripts and anything from elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2

from pipelines.evaluation.card import About
from pipelines.evaluation.report import ARM_TITLES, EvaluateReport, Interval, JudgedQuestion
from pipelines.text import clean_text, language_of
from pipelines.workspace import replacing

PAGE = "report.html"
_TEMPLATE = "report.html.j2"
_SHOWN = 5  # examples on which the tuned model won most, and on which it lost most
_PLOT_WIDTH = 640
_MARGIN = 1.15
_LEAST_REACH = 0.05
_NOTABLE_RISE = 0.05  # of the loss on general texts, as a share
_NOTABLE_GAP = 0.1  # nats per token

Level = Literal["good", "look", "bad"]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a value stands on the axis of the plot, and how it is written."""

    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The difference with its interval, on an axis around zero."""

    width: int
    zero: float
    low: Mark
    mean: Mark
    high: Mark
    ticks: tuple[Mark, ...]
    unseen: tuple[float, float] | None  # between these, a difference would probably not have been seen


def write_page(report: EvaluateReport, questions: Sequence[JudgedQuestion], about: About, folder: Path) -> None:
    """Write the page of an evaluation into the adapter's folder."""
    with replacing(folder / PAGE) as file:
        file.write(render_page(report, questions, about))


def render_page(report: EvaluateReport, questions: Sequence[JudgedQuestion], about: About) -> str:
    """Return the page; the same report gives the same bytes."""
    best, worst = extremes(questions, report.mcnemar.against)
    return open_template(_TEMPLATE).render(
        report=report,
        about=about,
        titles=ARM_TITLES,
        plot=plot_of(report),
        findings=findings(report),
        groups=[("Where the tuned model gained most", best), ("Where it lost most", worst)],
    )


def plot_of(report: EvaluateReport) -> Plot:
    """Return where the parts of the plot stand."""
    return draw_plot(report.power.mean_difference, report.difference, smallest=report.power.smallest_difference)


def draw_plot(mean: float, interval: Interval, *, smallest: float | None) -> Plot:
    """Return the plot of a difference.

    Args:
        mean: The difference.
        interval: Its interval.
        smallest: Difference below which the test would probably have shown none.
    """
    low, high = interval.low, interval.high
    reach = max(abs(low), abs(high), smallest or 0.0, _LEAST_REACH) * _MARGIN

    def mark(value: float) -> Mark:
        return Mark(x=round((value + reach) / (2 * reach) * _PLOT_WIDTH, 1), text=f"{value:+.3f}")

    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if reach / step <= 5)
    count = int(reach / step)
    return Plot(
        width=_PLOT_WIDTH,
        zero=mark(0.0).x,
        low=mark(low),
        mean=mark(mean),
        high=mark(high),
        ticks=tuple(mark(number * step) for number in range(-count, count + 1)),
        unseen=None if smallest is None else (mark(-smallest).x, mark(smallest).x),
    )


def extremes(questions: Sequence[JudgedQuestion], against: str) -> tuple[list[JudgedQuestion], list[JudgedQuestion]]:
    """Return the questions on which the tuned model gained most, and on which it lost most."""

    def gain(question: JudgedQuestion) -> float:
        return question.scores.get("tuned", 0.0) - question.scores.get(against, 0.0)

    ordered = sorted(questions, key=gain)
    worst = [question for question in ordered[:_SHOWN] if gain(question) < 0]
    best = [question for question in reversed(ordered[-_SHOWN:]) if gain(question) > 0]
    return best, worst


def findings(report: EvaluateReport) -> list[tuple[Level, str]]:
    """Return what a reader should know first, in words."""
    levels: dict[str, Level] = {"better": "good", "worse": "bad", "inconclusive": "look"}
    found: list[tuple[Level, str]] = [(levels[report.verdict], report.summary)]
    if report.verdict == "inconclusive" and report.power.smallest_difference is not None:
        found.append(
            (
                "look",
                f"With {report.n} questions, a difference below {report.power.smallest_difference:.3f} would "
                "probably not have been seen. More test questions tell smaller differences.",
            )
        )
    closest = report.arms.get("closest")
    if closest is not None and closest.score >= report.tuned:
        found.append(("look", "Quoting the closest sentence without any model scores as much as the tuned model."))
    if report.leaks.count:
        found.append(("bad", f"{report.leaks.count} test questions stand in other splits too. They were left out."))
    forgetting, memorised = report.forgetting, report.memorisation
    if forgetting is not None:
        rise = forgetting.tuned / forgetting.base - 1 if forgetting.base else 0.0
        level: Level = "look" if rise > _NOTABLE_RISE else "good"
        found.append((level, f"On general texts, tuning changed the loss by {rise:+.1%}."))
    if memorised is not None:
        grown = memorised.gap["tuned"] - memorised.gap["base"]
        level = "look" if grown > _NOTABLE_GAP or memorised.echoes else "good"
        found.append(
            (
                level,
                f"{memorised.echoes} test answers echo a training answer; the gap between the losses on training and "
                f"test records changed by {grown:+.3f} nats per token.",
            )
        )
    return found


@functools.cache
def open_template(name: str) -> jinja2.Template:
    """Return a template of a page, which escapes whatever it is given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.evaluation"),
        autoescape=True,  # by name it would be off: the file ends in .j2
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": clean_text,
        "language": language_of,
        "cut": lambda text, most: text if len(text) <= most else f"{text[:most].rstrip()}…",
        "spaced": lambda name: name.replace("_", " "),
        "score": lambda value: "–" if value is None else f"{value:.3f}",
    }
    return environment.get_template(name)
