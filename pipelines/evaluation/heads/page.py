"""The page of a head's evaluation, as one HTML file that needs nothing else.

Texts and labels are escaped by the template engine, and the page forbids itself scripts and
anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.evaluation.heads.report import EvaluateHeadReport, JudgedText, Said
from pipelines.evaluation.page import PAGE, Level, draw_plot, open_template
from pipelines.text import clean_text, fold_space
from pipelines.workspace import replacing

_TEMPLATE = "head_report.html.j2"
_SHOWN = 5
_MISTAKES_SHOWN = 30
_FEW_TEXTS = 10  # of a label, whose figures are then rough
_NOTABLE_ERROR = 0.1  # of the calibration
_CHART = 240  # width and height of the plot of the probabilities


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The answers of one bin in the plot of the probabilities."""

    x: float
    y: float
    width: float
    height: float
    said: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A text with what was wanted and what was said, in words."""

    text: str
    lines: tuple[tuple[str, str], ...]


def write_page(report: EvaluateHeadReport, judged: Sequence[JudgedText], folder: Path) -> None:
    """Write the page of an evaluation into the head's folder."""
    with replacing(folder / PAGE) as file:
        file.write(render_page(report, judged))


def render_page(report: EvaluateHeadReport, judged: Sequence[JudgedText]) -> str:
    """Return the page; the same report gives the same bytes."""
    name = report.strongest.name
    wrong = sorted((text for text in judged if not text.right), key=lambda text: -(text.confidence or 0.0))
    gained = [text for text in judged if text.right and not text.baselines_right[name]]
    return open_template(_TEMPLATE).render(
        report=report,
        base_name=Path(report.base).name,
        plot=draw_plot(report.strongest.difference, report.difference, smallest=None),
        bars=bars_of(report),
        chart=_CHART,
        findings=findings(report),
        mistakes=report.mistakes[:_MISTAKES_SHOWN],
        groups=[
            ("Where the head is wrong, and most sure of itself", [_sample(text, name) for text in wrong[:_SHOWN]]),
            (
                f"Where it is right and the strongest baseline ({name}) is not",
                [_sample(text, name) for text in gained[:_SHOWN]],
            ),
        ],
    )


def bars_of(report: EvaluateHeadReport) -> list[Bar]:
    """Return a bar for each bin of probabilities, as high as the share of right answers in it."""
    return [
        Bar(
            x=round(each.low * _CHART, 1),
            y=round((1 - each.right) * _CHART, 1),
            width=round((each.high - each.low) * _CHART - 1, 1),
            height=round(each.right * _CHART, 1),
            said=f"{each.n} answers with a probability of {each.confidence:.2f}: {each.right:.0%} right",
        )
        for each in report.calibration.bins
    ]


def findings(report: EvaluateHeadReport) -> list[tuple[Level, str]]:
    """Return what a reader should know first, in words."""
    levels: dict[str, Level] = {"better": "good", "worse": "bad", "inconclusive": "look"}
    found: list[tuple[Level, str]] = [(levels[report.verdict], report.summary)]
    if report.strongest.difference <= 0:
        found.append(("look", f"No neural network is needed for as much: {report.strongest.name}."))
    missed = [each.label for each in report.per_label if each.support and not each.recall]
    if missed:
        found.append(("bad", f"Never found: {_listed(missed)}."))
    few = [each.label for each in report.per_label if each.support < _FEW_TEXTS]
    if few:
        found.append(
            ("look", f"The figures of labels with fewer than {_FEW_TEXTS} in the test are rough: {_listed(few)}.")
        )
    error = report.calibration.expected_error
    if error is not None:
        level: Level = "look" if error > _NOTABLE_ERROR else "good"
        found.append((level, f"Probabilities are off by {error:.3f} on average (expected calibration error)."))
    if report.cut:
        found.append(("look", f"Of {report.cut} texts only the beginning was read."))
    if report.leaks.count:
        found.append(("bad", f"{report.leaks.count} test texts stand in other splits too. They were left out."))
    return found


def describe(said: Said, text: str) -> str:
    """Return what a text was labelled with, in words."""
    pieces = [f"{fold_space(text[span.start : span.end])} ({span.label})" for span in said.spans]
    return said.label or "; ".join(pieces) or "nothing"


def _sample(text: JudgedText, baseline: str) -> Sample:
    sure = "" if text.confidence is None else f" · {text.confidence:.3f}"
    ways = ((baseline, text.baselines[baseline]), (f"head{sure}", text.head), ("wanted", text.wanted))
    return Sample(text=text.text, lines=tuple((title, describe(said, text.text)) for title, said in ways))


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - _SHOWN
    return clean_text(", ".join(labels[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
