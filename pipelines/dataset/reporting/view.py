"""What the page of `data report` shows, as short lists: bars, steps, lines of a table."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from pipelines.dataset.reporting.diversity import MEASURES, Comparison, Diversity, Measure
from pipelines.dataset.reporting.tally import Point, Stage, Tally
from pipelines.pages.environment import spaced
from pipelines.records import Example

if TYPE_CHECKING:
    from pipelines.models.embedder import Vectors

LANGUAGES: dict[str, str] = {"en": "English", "zh": "Chinese"}
_MOST_BARS = 12
_MOST_ATTRIBUTES = 12
_FIRST_ATTRIBUTES = ("subtopic", "persona", "difficulty", "form")
_EVEN = 0.02  # two values that differ by less than this share are not told apart
_HASH = re.compile(r"[0-9a-f]{32,64}")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured on a sample of the questions; nothing where there are none."""

    drawn: int = 0
    mapped: Sequence[Point] = ()  # those of them that have vectors
    vectors: Vectors | None = None
    no_vectors_because: str = ""
    diversity: Diversity | None = None
    comparison: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line of a list of counts; shares are from 0 to 1."""

    label: str
    count: int
    length: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Bars:
    """The commonest of what was counted."""

    title: str
    bars: Sequence[Bar]
    values: int
    other_values: int
    other_count: int
    effective: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step from what was asked for to what is kept; `start` and `length` are shares of the widest."""

    label: str
    count: int
    start: float
    length: float
    kind: Literal["total", "loss", "gain"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measure of diversity, of ours and of the baseline; lengths are shares of the larger."""

    measure: Measure
    ours: float
    baseline: float | None = None
    ours_length: float = 0.0
    baseline_length: float = 0.0
    better: Literal["ours", "baseline", "even"] = "even"


def bars(title: str, counts: Mapping[str, int], *, most: int = _MOST_BARS) -> Bars:
    """Return the commonest of `counts` as bars, the longest of length 1."""
    order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    total, largest = sum(counts.values()) or 1, max(counts.values(), default=0) or 1
    shown = order if len(order) <= most + 1 else order[:most]  # a rest of one value is no shorter
    shares = [count / total for count in counts.values() if count]
    return Bars(
        title=title,
        bars=[Bar(label=label, count=n, length=n / largest, share=n / total) for label, n in shown],
        values=len(order),
        other_values=len(order) - len(shown),
        other_count=sum(count for _label, count in order[len(shown) :]),
        effective=math.exp(-sum(share * math.log(share) for share in shares)),
    )


def funnel(tally: Tally) -> list[Step]:
    """Return the way from what was asked for to what is kept, as steps of a waterfall."""
    requested = tally.generated.report.requested if tally.generated else None
    drafted = tally.examples + tally.rejected("generation")
    placed = sum(split.count for split in tally.splits.values())
    widest = max(requested or 0, drafted, placed) or 1

    def step(label: str, count: int, kind: Literal["total", "loss", "gain"], *, start: int = 0) -> Step:
        return Step(label=label, count=count, start=start / widest, length=count / widest, kind=kind)

    steps = [step("asked for", requested, "total")] if requested else []
    steps.append(step("drafted", drafted, "total"))
    left = drafted
    for stage, result in (("generation", "written"), ("curation", "")):
        for check in sorted(tally.checks, key=lambda each: -each.count):
            if check.stage == stage:
                left -= check.count
                steps.append(step(check.check, check.count, "loss", start=left))
        if result:
            steps.append(step(result, left, "total"))
    if tally.splits:
        if placed > left:
            steps.append(step("added by curation", placed - left, "gain", start=left))
        elif placed < left:
            steps.append(step("left out by curation", left - placed, "loss", start=placed))
        steps.append(step("in the splits", placed, "total"))
    return steps


def compare_lines(measured: Measured) -> list[Line]:
    """Return every measure that was taken; beside the baseline's where there is one."""
    lines = []
    for measure in MEASURES:
        source = measured.comparison.ours if measured.comparison else measured.diversity
        ours = getattr(source, measure.name, None)
        baseline = getattr(measured.comparison.baseline, measure.name) if measured.comparison else None
        if ours is None:
            continue
        if baseline is None:
            lines.append(Line(measure=measure, ours=ours))
            continue
        largest = max(abs(ours), abs(baseline)) or 1.0
        ahead = (ours - baseline) * (1 if measure.better == "more" else -1)
        lines.append(
            Line(
                measure=measure,
                ours=ours,
                baseline=baseline,
                ours_length=max(0.0, ours / largest),
                baseline_length=max(0.0, baseline / largest),
                better="even" if abs(ahead) <= _EVEN * largest else "ours" if ahead > 0 else "baseline",
            )
        )
    return lines


def figures(tally: Tally, measured: Measured) -> list[tuple[str, str]]:
    """Return the few numbers that stand at the top."""
    drafted = tally.examples + tally.rejected("generation")
    found = [("examples", f"{tally.examples:,}")]
    if drafted:
        found.append(("of drafts kept", f"{tally.examples / drafted:.0%}"))
    if tally.documents:
        found.append(("documents", f"{len(tally.documents):,}"))
    if measured.diversity and measured.diversity.vendi_score is not None:
        found.append(("Vendi score", f"{measured.diversity.vendi_score:,.1f}"))
    if measured.diversity:
        found.append(("near duplicates", f"{measured.diversity.near_duplicates:.1%}"))
    if tally.generated:
        calls = tally.generated.report.calls
        if calls.tokens_in is not None and calls.tokens_out is not None:
            found.append(("tokens", f"{calls.tokens_in + calls.tokens_out:,}"))
        if calls.cost_usd is not None:
            found.append(("spent", _dollars(calls.cost_usd)))
    return found


def origin(tally: Tally) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return how the dataset came about, as tables with their titles; no table is empty."""
    made = [
        ("Written by", _listed(tally.teachers)),
        ("Prompts", _listed(tally.prompts)),
        ("Made from others", f"{tally.augmented:,} examples" if tally.augmented else ""),
        *(_of_stage(tally.generated, tally.examples) if tally.generated else ()),
    ]
    tables = [
        ("What it took", made),
        ("Written with", list(_flat("", tally.generated.inputs)) if tally.generated else []),
        ("Curated with", list(_flat("", tally.curated.inputs)) if tally.curated else []),
    ]
    filled = [(title, [(label, value) for label, value in lines if value]) for title, lines in tables]
    return [(title, lines) for title, lines in filled if lines]


def _of_stage(stage: Stage, examples: int) -> Iterator[tuple[str, str]]:
    """Yield what the stage that wrote the examples took."""
    report, calls = stage.report, stage.report.calls
    counted = {
        "sent": calls.sent,
        "answered from the ledger": calls.cached,
        "failed": calls.failed,
        "corrected": calls.corrected,
    }
    yield "Finished", stage.finished
    yield "Time", f"{report.seconds:,.1f} s" if report.seconds is not None else ""
    yield "Calls", ", ".join(f"{count:,} {what}" for what, count in counted.items() if count is not None)
    if calls.tokens_in is not None and calls.tokens_out is not None:
        yield "Tokens", f"{calls.tokens_in:,} in, {calls.tokens_out:,} out"
    yield "Cost", _cost(calls.cost_usd, calls.sent, examples)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(_MOST_BARS))


def _cost(cost_usd: float | None, sent: int | None, examples: int) -> str:
    if cost_usd is None:
        return "unknown: no price is set for the teacher" if sent else ""
    per_thousand = f", {_dollars(cost_usd / examples * 1000)} for a thousand kept" if examples and cost_usd else ""
    return f"{_dollars(cost_usd)}{per_thousand}"


def _dollars(amount: float) -> str:
    return f"${amount:,.4f}" if 0 < amount < 0.1 else f"${amount:,.2f}"


def _flat(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Yield what a manifest says a stage was started with, as lines of a table."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(key if name in ("", "params") else f"{name} {key}", inner)
    elif isinstance(value, list):
        yield spaced(name), ", ".join(_short(each) for each in value)
    elif value is not None:
        yield spaced(name), _short(value)


def _short(value: JsonValue) -> str:
    text = str(value)
    return text[:12] if _HASH.fullmatch(text) else text


def kind_bars(tally: Tally) -> list[Bars]:
    """Return what the examples teach, in which languages, and the labels that they use."""
    languages = {LANGUAGES.get(name, name): count for name, count in tally.languages.items()}
    found = [bars("Kinds", {spaced(kind): n for kind, n in tally.kinds.items()}), bars("Languages", languages)]
    return [*found, bars("Labels", tally.labels)] if tally.labels else found


def topic_bars(tally: Tally) -> list[Bars]:
    """Return the attributes that were asked for, the usual ones first, and the documents."""
    names = [name for name in _FIRST_ATTRIBUTES if name in tally.attributes]
    names += sorted(tally.attributes.keys() - set(names))
    found = [bars(spaced(name).capitalize(), tally.attributes[name]) for name in names[:_MOST_ATTRIBUTES]]
    return [*found, bars("Examples per document", tally.documents)] if tally.documents else found


def pieces(example: Example) -> list[tuple[str, str]]:
    """Return the question in pieces, each with the label that it has; empty for most."""
    found: list[tuple[str, str]] = []
    position = 0
    for span in example.spans:
        if position <= span.start < span.end <= len(example.question):  # else they overlap, and stay unmarked
            found += [
                (example.question[position : span.start], ""),
                (example.question[span.start : span.end], span.label),
            ]
            position = span.end
    return [*found, (example.question[position:], "")]
