"""What the measures share: a row of the table, medians, memory, and the handbook."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HANDBOOK = Path(__file__).parent.parent / "examples" / "handbook"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    against: str = ""
    ratio: float | None = None  # above 1 is better than what it is held against
    peak_mb: int = 0

    def line(self) -> str:
        """Return the row in Markdown."""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        peak = f"{self.peak_mb} MB" if self.peak_mb else ""
        return f"| {self.what} | {self.figure} | {self.against} | {ratio} | {peak} |"


def median_seconds(run: Callable[[], object], *, times: int) -> float:
    """Return the median duration of `run`, in seconds, after one run that is not counted."""
    run()
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return statistics.median(durations)


def peak_mb() -> int:
    """Return the largest memory that this process has taken, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
