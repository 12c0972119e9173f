"""`training.html`: how a run went, as one page without scripts, in the adapter's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from pipelines.pages.environment import page_template, spaced
from pipelines.text import clean_text
from pipelines.training.progress import METRICS
from pipelines.training.tracking import plots
from pipelines.training.tracking.curves import Curve, Curves, read_curves
from pipelines.training.tracking.findings import find
from pipelines.training.tracking.machine import describe_machine
from pipelines.workspace import replacing

PAGE = "training.html"
_LOSSES = ("loss", "validation_loss")
_MOST_VALIDATIONS = 40
_AT_THE_TOP = {
    "best_validation_loss": ("best validation loss", "{:.3f}"),
    "steps": ("steps", "{:,.0f}"),
    "examples": ("examples", "{:,.0f}"),
    "tokens_per_second": ("tokens a second", "{:,.0f}"),
    "peak_memory_mb": ("MB of memory at most", "{:,.0f}"),
    "seconds": ("seconds", "{:,.0f}"),
}


@dataclass(frozen=True, kw_only=True)
class SmallPlot:
    """One of the curves beside the losses."""

    title: str
    note: str
    drawing: Markup


def write_page(folder: Path, *, params: Mapping[str, object], outcome: Mapping[str, object]) -> Path:
    """Write the page about the run whose metrics lie in `folder`; return where it is.

    Args:
        folder: The adapter's folder.
        params: What the run was started with.
        outcome: What it came to: the fields of its report.
    """
    page = render_page(
        folder.name, read_curves(folder / METRICS), params=params, outcome=outcome, machine=describe_machine()
    )
    with replacing(folder / PAGE) as file:
        file.write(page)
    return folder / PAGE


def render_page(
    adapter: str,
    curves: Curves,
    *,
    params: Mapping[str, object],
    outcome: Mapping[str, object],
    machine: Mapping[str, str],
) -> str:
    """Return the page about a run; the same input gives the same bytes."""
    validation = curves.get("validation_loss")
    best = (validation.lowest_step, validation.lowest) if validation.count else None
    loss_points = curves.get("loss").points()
    return page_template("pipelines.training", "training.html.j2").render(
        adapter=adapter,
        figures=_figures(outcome),
        findings=find(curves),
        losses=Markup(plots.loss_plot(loss_points, validation.points(), best=best)) if loss_points else "",
        best=best,
        is_patience_used=_is_patience_used(validation, params),
        validations=_lately(validation),
        others=_others(curves),
        tables=[("Parameters", _lines(params)), ("Outcome", _lines(outcome)), ("Machine", _lines(machine))],
    )


def _figures(outcome: Mapping[str, object]) -> list[tuple[str, str]]:
    known = {name: outcome[name] for name in _AT_THE_TOP if isinstance(outcome.get(name), int | float)}
    return [(_AT_THE_TOP[name][0], _AT_THE_TOP[name][1].format(value)) for name, value in known.items()]


def _is_patience_used(validation: Curve, params: Mapping[str, object]) -> bool:
    """Whether as many validations as the patience followed the best one."""
    patience = params.get("patience")
    after = sum(step > validation.lowest_step for step, _value in validation.points())
    return isinstance(patience, int) and after >= patience


def _lately(validation: Curve) -> list[tuple[int, float, bool]]:
    """Return step and loss of the last validations, and which of them is the best."""
    points = validation.points()[-_MOST_VALIDATIONS:]
    return [(step, value, step == validation.lowest_step) for step, value in points]


def _others(curves: Curves) -> list[SmallPlot]:
    found = []
    names = [name for name in curves.by_name if name not in _LOSSES]
    for number, name in enumerate(names):
        curve, title = curves.by_name[name], clean_text(spaced(name))
        drawing = plots.small_plot(curve.points(), name=f"curve-{number}", label=f"{title} by step", number=number % 8)
        note = f"from {curve.first:,.4g} to {curve.last:,.4g}"
        found.append(SmallPlot(title=title, note=note, drawing=Markup(drawing)))
    return found


def _lines(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(spaced(name), _shown(value)) for name, value in values.items() if value not in (None, "", [], {})]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
