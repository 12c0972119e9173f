"""Curves of a run, read from its `metrics.jsonl`, in memory that does not grow with the run.

The loop writes one object a line. Every number in it but the step becomes a point of the
curve of its name, so what a run logs tomorrow is a curve without a change here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_MOST_POINTS = 1_000
_MOST_CURVES = 64


@dataclass
class Curve:
    """Values by step: exact at its ends and its lowest point, thinned between them.

    Once there are more than `most` points, each two neighbours become their mean, and from
    then on each point stands for twice as many steps.
    """

    most: int = _MOST_POINTS
    steps: list[int] = field(default_factory=list)  # the last that each point stands for
    values: list[float] = field(default_factory=list)
    count: int = 0
    first: float = math.nan
    last: float = math.nan
    last_step: int = 0
    lowest: float = math.inf
    lowest_step: int = 0
    rises: int = 0  # in a row, up to the last value
    _stride: int = 1
    _waiting: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Add the value of a step; steps come in order."""
        if not self.count:
            self.first = value
        self.rises = self.rises + 1 if self.count and value > self.last else 0
        self.count, self.last, self.last_step = self.count + 1, value, step
        if value < self.lowest:
            self.lowest, self.lowest_step = value, step
        self._waiting.append(value)
        if len(self._waiting) == self._stride:
            self.steps.append(step)
            self.values.append(math.fsum(self._waiting) / self._stride)
            self._waiting.clear()
        if len(self.steps) > self.most:
            self._thin()

    def points(self) -> list[tuple[int, float]]:
        """Return the curve, its last value included."""
        found = list(zip(self.steps, self.values, strict=True))
        return [*found, (self.last_step, self.last)] if self._waiting else found

    def _thin(self) -> None:
        pairs = len(self.steps) // 2
        if len(self.steps) % 2:
            self._waiting = [self.values[-1]] * self._stride
        self.values = [(self.values[2 * pair] + self.values[2 * pair + 1]) / 2 for pair in range(pairs)]
        self.steps = self.steps[1 : 2 * pairs : 2]
        self._stride *= 2


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All curves of a run, by name, in the order in which they first appeared."""

    by_name: Mapping[str, Curve]
    unreadable: int  # lines that were no measurements, but for a torn last one

    def get(self, name: str) -> Curve:
        """Return a curve; an empty one if the run did not log it."""
        return self.by_name.get(name, Curve())


def read_curves(path: Path, *, most_points: int = _MOST_POINTS) -> Curves:
    """Read the metrics of a run; there are none where there is no file.

    A last line without its end, from a process that was killed, is ignored.
    """
    curves: dict[str, Curve] = {}
    unreadable = 0
    for line in _lines(path):
        step, values = _parse(line) or (0, {})
        unreadable += not step
        for name, value in values.items():
            if name in curves or len(curves) < _MOST_CURVES:
                curves.setdefault(name, Curve(most=most_points)).add(step, value)
    return Curves(by_name=curves, unreadable=unreadable)


def measurements(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each step with its values; lines that are no measurements are left out."""
    for line in _lines(path):
        if parsed := _parse(line):
            yield parsed


def _lines(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line


def _parse(line: bytes) -> tuple[int, dict[str, float]] | None:
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict) or type(entry.get("step")) is not int or entry["step"] < 1:
            return None
        step = entry.pop("step")
        return step, {name: value for name, value in entry.items() if _is_measured(value)}
    except (ValueError, OverflowError):  # also what is not UTF-8, and numbers that no run has
        return None


def _is_measured(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
