"""How many calls are under way at once, and how soon the next may go.

The endpoint's limit is found, not asked for: the number of calls under way grows while that
brings more answers a second, and is cut when the endpoint says that it is too much. Calls
that are tried again go before fresh ones, so that nothing grows old.

Source:
    Chiu and Jain 1989, Analysis of the Increase and Decrease Algorithms for Congestion
    Avoidance (additive increase, multiplicative decrease); RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time

START = 32  # calls under way at first
_CUT = 0.7
# Twice the calls have to bring this much more a second, or the endpoint only queues them.
_WORTH_IT = 1.25
# After so many times its limit in answers without a change, the search begins anew.
_SEARCH_AGAIN = 20
_SECONDS_PER_MINUTE = 60.0
_BURST_SHARE = 20
_ROUNDING = 1e-6


class Rate:
    """A token bucket: in no minute more than so many, and at once a small share of that.

    Source:
        RFC 2697, section 3 (token bucket).
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._burst = max(1.0, per_minute / _BURST_SHARE)
        # What a full bucket lets through at once is missing from what flows in.
        self._per_second = (per_minute + 1.0 - self._burst) / _SECONDS_PER_MINUTE
        self._left = self._burst
        self._at = time.monotonic()

    def wait_s(self, amount: float) -> float:
        """Return how long until `amount` may be taken; a large one waits for a full bucket."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        missing = min(amount, self._burst) - self._left
        return missing / self._per_second if missing > _ROUNDING else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`; what turns out to be too much is owed."""
        self._left -= amount


class Pacer:
    """Admits calls, one event loop at a time.

    Args:
        most: Most calls under way at once.
        requests_per_minute: Rate that is never passed; None is no limit.
        tokens_per_minute: The same for tokens.
    """

    def __init__(
        self, *, most: int, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self.limit = min(START, most)
        self._most = self._ceiling = most
        self._requests = Rate(requests_per_minute) if requests_per_minute else None
        self._tokens = Rate(tokens_per_minute) if tokens_per_minute else None
        self._under_way = 0
        self._waiting: list[tuple[int, int, float, asyncio.Future[int]]] = []
        self._order = itertools.count()
        self._closed_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_searching = True
        self._changed_at = 0.0
        self._answers: list[tuple[int, float]] = []  # calls under way when it was sent, and its latency
        self._speed = 0.0  # calls a second at the limit before
        self._successes = 0

    async def admit(self, tokens: int, *, is_again: bool) -> int:
        """Wait for a place, and return how many calls are under way with this one.

        `leave` has to be called afterwards, whatever happened.

        Args:
            tokens: Tokens that the call takes at most.
            is_again: The call has failed before; it goes before fresh ones.
        """
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (0 if is_again else 1, next(self._order), tokens, place))
        self._wake()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._under_way -= 1
        self._wake()

    def correct_tokens(self, *, reserved: int, used: int) -> None:
        """Tell how many tokens a call really took."""
        if self._tokens is not None:
            self._tokens.take(used - reserved)

    def learn_rates(self, *, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Keep to rates that the endpoint has told, where none were set."""
        if self._requests is None and requests_per_minute:
            self._requests = Rate(requests_per_minute)
        if self._tokens is None and tokens_per_minute:
            self._tokens = Rate(tokens_per_minute)

    def succeeded(self, *, sent_at: float, under_way: int) -> None:
        """Tell that a call was answered; more may be under way if that is worth it.

        Args:
            sent_at: When the call was sent.
            under_way: What `admit` returned for it.
        """
        if sent_at < self._changed_at:
            return
        if not self._is_searching:
            self._successes += 1
            if self._successes >= self.limit < self._ceiling:
                self._change(self.limit + 1)
            elif self._successes >= _SEARCH_AGAIN * self.limit and self.limit < self._most:
                self._is_searching, self._speed, self._ceiling = True, 0.0, self._most
            return
        self._answers.append((under_way, time.monotonic() - sent_at))
        # After a change half of them: the other half went out while the limit was still the old one.
        if len(self._answers) >= (max(1, self.limit // 2) if self._speed else self.limit):
            self._search()

    def throttled(self, *, sent_at: float, wait_s: float) -> None:
        """Tell that the endpoint refused a call for now; all wait, and fewer go on.

        Args:
            sent_at: When the call was sent; one burst of refusals cuts once.
            wait_s: How long the endpoint wants to be left alone.
        """
        self._closed_until = max(self._closed_until, time.monotonic() + wait_s)
        if sent_at >= self._changed_at:
            self._is_searching = False
            self._change(max(1, int(self.limit * _CUT)))

    def _search(self) -> None:
        # Little's law: calls under way are the speed times the latency. Those that each call found
        # are counted, not the limit: the first ones after a change find a queue that is still short.
        speed = sum(found for found, _ in self._answers) / (sum(latency for _, latency in self._answers) or 1e-9)
        if speed < self._speed * _WORTH_IT:
            self._is_searching = False
            self._ceiling = max(1, self.limit // 2)
            self._change(self._ceiling)
        elif self.limit < self._most:
            self._speed = speed
            self._change(min(self._most, 2 * self.limit))
        else:
            self._is_searching = False

    def _change(self, limit: int) -> None:
        self.limit = limit
        self._changed_at = time.monotonic()
        self._answers.clear()
        self._successes = 0
        self._wake()

    def _wake(self) -> None:
        """Admit whoever may go now; come back later for the others."""
        while self._waiting and self._under_way < self.limit:
            _priority, _order, tokens, place = self._waiting[0]
            if place.done():  # whoever waited has gone
                heapq.heappop(self._waiting)
                continue
            wait_s = self._wait_s(tokens)
            if wait_s > 0:
                self._come_back(wait_s)
                return
            heapq.heappop(self._waiting)
            self._take(tokens)
            place.set_result(self._under_way)

    def _wait_s(self, tokens: float) -> float:
        rates = [(self._requests, 1.0), (self._tokens, tokens)]
        waits = [rate.wait_s(amount) for rate, amount in rates if rate is not None]
        return max([self._closed_until - time.monotonic(), *waits])

    def _take(self, tokens: float) -> None:
        self._under_way += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _come_back(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)
