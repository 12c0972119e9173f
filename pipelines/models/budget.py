"""The caps of a run. What a call may cost is set aside before it is sent, so none is passed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.errors import BudgetError

_HINT = "What was paid for is kept. Run the same command with a higher cap to go on from here."


@dataclass
class Budget:
    """What a run may spend; None is no cap. Safe for threads."""

    max_cost_usd: float | None = None
    max_calls: int | None = None
    max_minutes: float | None = None
    calls: int = 0
    cost_usd: float = 0.0  # of answered calls
    _reserved: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, cost_usd: float | None) -> None:
        """Set aside what a call may cost at most.

        Args:
            cost_usd: The most that the call can cost; None where no price is known.

        Raises:
            BudgetError: A cap would be passed, or a cap on cost meets an unknown price.
        """
        with self._lock:
            if self.left_s() == 0:
                raise self.time_error()
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise BudgetError(f"the cap of {self.max_calls} calls is reached", hint=_HINT)
            if self.max_cost_usd is not None:
                if cost_usd is None:
                    raise BudgetError(
                        "a cap on cost is set, but the price of this model is not known",
                        hint="Set teacher_input_price and teacher_output_price, or use --max-calls instead.",
                    )
                if self.cost_usd + self._reserved + cost_usd > self.max_cost_usd:
                    raise BudgetError(
                        f"the next call could pass the cap of ${self.max_cost_usd:.2f}; ${self.cost_usd:.4f} are spent",
                        hint=_HINT,
                    )
            self.calls += 1
            self._reserved += cost_usd or 0.0

    def has_to_wait(self, cost_usd: float | None) -> bool:
        """Whether there is money for a call once calls that are under way have cost less than was set aside."""
        with self._lock:
            if self.max_cost_usd is None or cost_usd is None:
                return False
            spent = self.cost_usd + cost_usd
            return spent <= self.max_cost_usd < spent + self._reserved

    def settle(self, reserved: float | None, spent: float | None) -> None:
        """Replace what was set aside for a call by what it cost; nothing if it failed."""
        with self._lock:
            self._reserved -= reserved or 0.0
            self.cost_usd += spent or 0.0

    def give_back(self, reserved: float | None) -> None:
        """Return what was set aside for a call that was refused or lost, and is not paid for."""
        with self._lock:
            self._reserved -= reserved or 0.0
            self.calls -= 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time within, in which a person is asked."""
        started = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._started += time.monotonic() - started

    def left_s(self) -> float | None:
        """Return how many seconds are left; None without a cap on time."""
        if self.max_minutes is None:
            return None
        return max(0.0, self._started + self.max_minutes * 60 - time.monotonic())

    def time_error(self) -> BudgetError:
        """Return the error of a run whose time is over."""
        return BudgetError(f"the cap of {self.max_minutes:g} minutes is reached", hint=_HINT)
