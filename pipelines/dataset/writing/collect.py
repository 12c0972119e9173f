"""Takes in what a teacher writes, lets it through the checks, and knows when there is enough."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from pipelines.dataset.checks import Check
from pipelines.models.ledger import CallCounts
from pipelines.records import Example, Rejection, rejected

# A teacher of which nothing was usable after so many calls is stopped.
PATIENCE_CALLS = 20
# One that had something to say, and of which nothing was new or usable for so many, has said it all.
_DRY_CALLS = 200
_SHOWN_CHECKS = 3


class Problem(Protocol):
    """Why a question is none that is new."""

    @property
    def check(self) -> str:
        """Name of the check."""

    @property
    def reason(self) -> str:
        """What is wrong, in words."""


class QuestionFilter(Protocol):
    """Tells questions that were asked before, and remembers the others."""

    def check_all(self, questions: Sequence[str]) -> Sequence[Problem | None]:
        """Return, for each question in turn, why it is a duplicate; None if it is new."""


class Collector:
    """The examples and rejections of one run, in the order in which they were offered.

    Args:
        wanted: How many examples are enough.
        questions: Tells duplicates; each question passes it once.
        checks: What every example has to pass, in order.
        counts: What the calls have taken so far.
        show: Told of progress: kept, wanted, and details in words.
    """

    def __init__(
        self,
        wanted: int,
        *,
        questions: QuestionFilter,
        checks: Sequence[Check],
        counts: CallCounts,
        show: Callable[[int, int, dict[str, str]], None],
    ) -> None:
        self.wanted = wanted
        self.kept: list[Example] = []
        self.rejections: list[Rejection] = []
        self._questions = questions
        self._checks = checks
        self.counts = counts
        self._show = show
        self._ids: set[str] = set()
        self._calls: set[str] = set()
        self._calls_when_kept = 0
        self._started = time.monotonic()
        self._cached_before = counts.cached
        self._sent_before = counts.sent

    @property
    def calls_seen(self) -> int:
        """How many calls what was offered came from."""
        return len(self._calls)

    @property
    def is_full(self) -> bool:
        """Whether there are enough examples."""
        return len(self.kept) >= self.wanted

    @property
    def is_dry(self) -> bool:
        """Whether nothing was kept of what the last calls brought, many as they were."""
        return self.calls_seen - self._calls_when_kept >= _DRY_CALLS

    def find_duplicates(self, questions: Sequence[str]) -> Sequence[Problem | None]:
        """Return why questions are duplicates, in order; new ones are remembered."""
        return self._questions.check_all(questions)

    def offer(self, item: Example | Rejection) -> None:
        """Take an example in, or the reason why there is none; what comes after enough is left."""
        if self.is_full:
            return
        self._calls.update(item.calls)
        for check in self._checks:
            if isinstance(item, Rejection):
                break
            item = check(item)
        if isinstance(item, Example) and item.id in self._ids:
            item = rejected(item, check="exact_duplicate", reason="the same example was written before")
        if isinstance(item, Rejection):
            self.rejections.append(item)
        else:
            self._ids.add(item.id)
            self.kept.append(item)
            self._calls_when_kept = self.calls_seen
        self._show(len(self.kept), self.wanted, self._details())

    def rejected(self) -> dict[str, int]:
        """Return how many were rejected by each check, most first."""
        return dict(Counter(rejection.check for rejection in self.rejections).most_common())

    def calls(self) -> int:
        """Return how many answers this run has had, from the endpoint or the ledger."""
        return self.counts.sent + self.counts.cached - self._sent_before - self._cached_before

    def _details(self) -> dict[str, str]:
        seconds = max(1e-9, time.monotonic() - self._started)
        counts, details = self.counts, {}
        if self.rejections:
            most = list(self.rejected().items())[:_SHOWN_CHECKS]
            details["rejected"] = f"{len(self.rejections)} ({', '.join(f'{name} {count}' for name, count in most)})"
        sent = counts.sent - self._sent_before
        if sent:
            details["calls/s"] = f"{sent / seconds:.1f}"
            details["tokens"] = f"{counts.tokens_in + counts.tokens_out:,}"
            if counts.cost_usd:
                details["cost"] = f"${counts.cost_usd:.3f}"
        if self.kept and not self.is_full:
            left = seconds / len(self.kept) * (self.wanted - len(self.kept))
            details["left"] = f"{int(left // 60)}:{int(left % 60):02d}"
        return details
