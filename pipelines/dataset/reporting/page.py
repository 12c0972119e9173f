"""The page of `data report`: what was counted and measured, as HTML.

Whatever comes from documents, models or people is escaped by the template engine, and the
page forbids itself scripts and anything from elsewhere.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipelines.dataset.reporting import plots
from pipelines.dataset.reporting import view as report_view
from pipelines.dataset.reporting.diversity import closest_pairs
from pipelines.dataset.reporting.findings import find
from pipelines.dataset.reporting.tally import Point, Tally
from pipelines.dataset.reporting.view import LANGUAGES, Measured, pieces
from pipelines.models.embedder import Vectors
from pipelines.pages import svg
from pipelines.pages.environment import cut, page_template, spaced
from pipelines.records import Language
from pipelines.text import clean_text

_TEMPLATE = "report.html.j2"
_MOST_SCORES = 12
_CLOSEST_PAIRS = 6
_FEWEST_ON_MAP = 3


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing with its words."""

    title: str
    drawing: Markup
    note: str = ""
    legend: Sequence[tuple[str, int]] = ()


def render_page(dataset: str, tally: Tally, measured: Measured, *, baseline_name: str = "") -> str:
    """Return the page about a dataset; the same counts and measures give the same bytes."""
    return page_template("pipelines.dataset", _TEMPLATE, pieces=pieces).render(
        dataset=dataset,
        tally=tally,
        measured=measured,
        baseline_name=baseline_name,
        languages=LANGUAGES,
        findings=find(tally, measured),
        figures=report_view.figures(tally, measured),
        origin=report_view.origin(tally),
        steps=report_view.funnel(tally),
        kinds=report_view.kind_bars(tally),
        lengths=_lengths(tally),
        topics=report_view.topic_bars(tally),
        checks=sorted(tally.checks, key=lambda check: -check.count),
        pairs=_closest(measured),
        scores=_scores(tally),
        maps=_maps(measured),
        lines=report_view.compare_lines(measured),
    )


def _lengths(tally: Tally) -> list[Plot]:
    plotted = {"questions": tally.question_words, "answers": tally.answer_words}
    return [_length_plot(name, lengths) for name, lengths in plotted.items() if lengths]


def _length_plot(name: str, lengths: Mapping[Language, Sequence[int]]) -> Plot:
    languages = sorted(lengths)
    groups = [lengths[language] for language in languages]
    everything = [length for group in groups for length in group]
    label = f"Histogram of the lengths of the {name}, in words"
    legend = [(LANGUAGES[language], number + 1) for number, language in enumerate(languages)]
    return Plot(
        title=f"Words in the {name}",
        drawing=Markup(plots.histogram(groups, name=f"words-{name}", label=label, whole=True)),
        note=f"median {statistics.median(everything):,.0f}, from {min(everything):,} to {max(everything):,}",
        legend=legend if len(legend) > 1 else (),
    )


def _scores(tally: Tally) -> list[Plot]:
    found = []
    for number, name in enumerate(sorted(tally.scores)[:_MOST_SCORES]):
        values = tally.scores[name]
        drawing = plots.histogram(
            [values],
            name=f"score-{number}",
            label=f"Histogram of the score {clean_text(name)}",
            whole=all(value.is_integer() for value in values),
        )
        note = f"{len(values):,} examples, median {statistics.median(values):.3g}"
        found.append(Plot(title=name, drawing=Markup(drawing), note=note))
    return found


def _closest(measured: Measured) -> list[tuple[Point, Point, float]]:
    if measured.vectors is None:
        return []
    pairs = closest_pairs(measured.vectors, count=_CLOSEST_PAIRS)
    return [(measured.mapped[pair.first], measured.mapped[pair.second], pair.cosine) for pair in pairs]


def _maps(measured: Measured) -> list[Plot]:
    """Return the questions on a plane, coloured by kind and by document."""
    if measured.vectors is None or len(measured.mapped) < _FEWEST_ON_MAP:
        return []
    places = plots.flatten(measured.vectors)
    sortings = {
        "kind": [spaced(each.kind) for each in measured.mapped],
        "document": [each.document or "no document" for each in measured.mapped],
    }
    several = {name: sorted_by for name, sorted_by in sortings.items() if len(set(sorted_by)) > 1}
    chosen = several or {"kind": sortings["kind"]}
    return [_map(name, sorted_by, places, measured.mapped) for name, sorted_by in chosen.items()]


def _map(name: str, sorted_by: Sequence[str], places: Vectors, points: Sequence[Point]) -> Plot:
    order = [value for value, _count in sorted(Counter(sorted_by).items(), key=lambda each: (-each[1], each[0]))]
    shown = order if len(order) <= svg.COLOURS else order[: svg.COLOURS - 1]
    groups = [shown.index(value) if value in shown else len(shown) for value in sorted_by]
    titles = [f"{cut(clean_text(each.question), 160)} ({clean_text(value)})" for each, value in zip(points, sorted_by)]
    legend = [(value, number + 1) for number, value in enumerate(shown)]
    if len(shown) < len(order):
        legend.append((f"{len(order) - len(shown)} others", len(shown) + 1))
    drawing = plots.scatter(places, groups, titles, name=f"map-{name}", label=f"Map of the questions by {name}")
    return Plot(title=f"By {name}", drawing=Markup(drawing), legend=legend)
