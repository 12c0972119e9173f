"""What a dataset will take, told from a pilot: its yield, calls, money and time, each with a range."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from pipelines.dataset.writing.collect import Collector
from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.models.ledger import Ledger
from pipelines.models.pacing import START
from pipelines.operation import Plan
from pipelines.records import Example, Rejection
from pipelines.settings import Endpoint
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.models import prices
else:
    prices = lazy_import("pipelines.models.prices", extra="teacher")

PLAN = "plan.json"
_RESAMPLES = 1_000
_LOW, _HIGH = 0.05, 0.95
# Without a pilot: measured on two cores with the embedded teacher, and guessed for remote ones.
_EMBEDDED_PER_SECOND = (1.5, 5.0)
_REMOTE_SECONDS_PER_EXAMPLE = (0.1, 20.0)
_CALLS_PER_EXAMPLE = 1.3
_TOKENS_PER_CALL = (900, 250)  # in and out


class Range(BaseModel):
    """A 90% interval."""

    low: float
    high: float

    def times(self, factor: float) -> Range:
        """Return the interval of so many times as much."""
        return Range(low=round(self.low * factor, 4), high=round(self.high * factor, 4))


class Forecast(BaseModel):
    """What a dataset will take."""

    examples: int = Field(description="Examples in the whole dataset.")
    pilot_kept: int = Field(description="Examples that the pilot kept.")
    pilot_calls: int = Field(description="Calls that it took.")
    share_kept: Range = Field(description="Share of what the teacher writes that is kept.")
    calls: Range = Field(description="Calls for the whole dataset.")
    tokens: Range = Field(description="Tokens, sent and received.")
    cost_usd: Range | None = Field(description="US dollars; null where the price is not known.")
    minutes: Range = Field(description="Minutes, at the pace of the pilot.")

    def for_examples(self, wanted: int) -> Forecast:
        """Return what a dataset of another size will take."""
        factor = wanted / self.examples
        scaled = {"calls": self.calls, "tokens": self.tokens, "minutes": self.minutes}
        changes: dict[str, object] = {name: value.times(factor) for name, value in scaled.items()}
        cost = self.cost_usd.times(factor) if self.cost_usd is not None else None
        return self.model_copy(update={**changes, "examples": wanted, "cost_usd": cost})


def forecast_of(collector: Collector, ledger: Ledger, *, wanted: int, seconds: float, seed: int) -> Forecast:
    """Return the forecast for `wanted` examples from what a pilot collected.

    The tasks of the pilot are drawn again with replacement (bootstrap); a dataset of other
    passages than the pilot's differs from it as these draws differ among each other.

    Args:
        collector: What the pilot kept and rejected.
        ledger: Where its calls are.
        wanted: Examples in the whole dataset.
        seconds: How long the pilot took; what came from the ledger counts as what it took then.
        seed: Seed of the draws.

    Raises:
        DataError: The pilot wrote nothing.

    Source:
        Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
    """
    tasks = _tasks(collector, ledger)
    if not tasks:
        raise DataError("the pilot wrote nothing", hint="Use documents with whole sentences.")
    rng = random.Random(seed)
    seconds = max(seconds, _seconds_asked(collector, ledger))
    draws = []
    for _ in range(_RESAMPLES):
        drawn = [rng.choice(tasks) for _ in tasks]
        sums = [sum(values) for values in zip(*drawn, strict=True)]
        kept = max(sums[0], 0.5)  # a draw in which nothing was kept says: very many, not infinitely many
        scale = wanted / kept
        draws.append((sums[0] / max(sums[1], 1), sums[2] * scale, sums[3] * scale, sums[4] * scale, scale))
    ranges = [_range(sorted(column)) for column in zip(*draws, strict=True)]
    return Forecast(
        examples=wanted,
        pilot_kept=len(collector.kept),
        pilot_calls=collector.calls(),
        share_kept=ranges[0],
        calls=ranges[1],
        tokens=ranges[2],
        cost_usd=None if collector.counts.unpriced else ranges[3],
        minutes=ranges[4].times(seconds / 60),
    )


def plan_of(endpoint: Endpoint | None, *, about: str, base: str, wanted: int, forecast: Forecast | None) -> Plan:
    """Return the plan that a person approves: from a forecast, or as a guess that says so."""
    title = f"Write {wanted} examples about {about}"
    if endpoint is None:
        low, high = (wanted * 2 / rate / 60 for rate in reversed(_EMBEDDED_PER_SECOND))
        minutes = (forecast.minutes.low, forecast.minutes.high) if forecast else (low, high)
        return Plan(
            title=title, steps=(f"the embedded model {base} writes questions on this machine",), minutes=minutes
        )
    sent = f"passages of the documents, personal data masked, are sent to {endpoint.model} at {endpoint.url}"
    if forecast is None:
        low, high = (wanted * each / 60 for each in _REMOTE_SECONDS_PER_EXAMPLE)
        calls = round(wanted * _CALLS_PER_EXAMPLE)
        return Plan(
            title=title,
            steps=(sent, "a pilot of a few examples comes first; what it shows is put to you before the rest"),
            minutes=(low, high),
            calls=calls,
            cost_usd=_guessed_cost(endpoint, calls),
        )
    cost = forecast.cost_usd
    measured = (
        f"the pilot kept {forecast.pilot_kept} examples of {forecast.pilot_calls} calls; the whole takes "
        f"{forecast.calls.low:.0f} to {forecast.calls.high:.0f} calls"
        + (f" and ${cost.low:.2f} to ${cost.high:.2f}" if cost is not None else "")
    )
    return Plan(
        title=title,
        steps=(sent, measured),
        minutes=(forecast.minutes.low, forecast.minutes.high),
        calls=round((forecast.calls.low + forecast.calls.high) / 2),
        cost_usd=(cost.low + cost.high) / 2 if cost is not None else None,
    )


def _guessed_cost(endpoint: Endpoint, calls: int) -> float | None:
    price = prices.find_price(endpoint)
    tokens_in, tokens_out = _TOKENS_PER_CALL
    return calls * price.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out) if price is not None else None


def write_forecast(folder: Path, inputs: Mapping[str, object], forecast: Forecast) -> None:
    """Keep a forecast beside the dataset, with what it was made for."""
    write_json(folder / PLAN, {"inputs": dict(inputs), "forecast": forecast.model_dump(mode="json")})


def read_forecast(folder: Path, inputs: Mapping[str, object], *, wanted: int) -> Forecast | None:
    """Return the forecast for `wanted` examples, if a pilot with the same inputs made one; else None."""
    try:
        stored = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        if stored["inputs"] == json.loads(json.dumps(inputs)):
            return Forecast.model_validate(stored["forecast"]).for_examples(wanted)
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return None


def _tasks(collector: Collector, ledger: Ledger) -> list[tuple[float, float, float, float, float]]:
    """Return, for each task of the pilot: examples kept, written, calls, tokens, and dollars."""
    kept: dict[str, int] = defaultdict(int)
    written: dict[str, int] = defaultdict(int)
    keys: dict[str, set[str]] = defaultdict(set)
    items: list[Example | Rejection] = [*collector.kept, *collector.rejections]
    for item in items:
        # A task is known by its first call; the embedded teacher has none, there each fact is one.
        task = item.calls[0] if item.calls else f"{len(written)}"
        kept[task] += isinstance(item, Example)
        written[task] += 1
        keys[task].update(item.calls)
    found = ledger.find(sorted(set().union(*keys.values()))) if keys else {}
    rows = []
    for task, own in keys.items():
        calls = [found[key] for key in own if key in found]
        tokens = sum(call.tokens_in + call.tokens_out for call in calls)
        cost = sum(call.cost_usd or 0.0 for call in calls)
        rows.append((float(kept[task]), float(written[task]), float(len(own) or 1), float(tokens), cost))
    return rows


def _seconds_asked(collector: Collector, ledger: Ledger) -> float:
    """Return how long the calls of a pilot took when they were sent, side by side as a run starts."""
    items: list[Example | Rejection] = [*collector.kept, *collector.rejections]
    keys = {key for item in items for key in item.calls}
    calls = ledger.find(sorted(keys)) if keys else {}
    return sum(call.seconds for call in calls.values()) / max(1, min(len(calls), START))


def _range(ordered: list[float]) -> Range:
    low, high = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (_LOW, _HIGH))
    return Range(low=round(low, 4), high=round(high, 4))
