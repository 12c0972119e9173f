"""Pacing against simulated endpoints: the limit that is found, rates that are kept, waits that are honoured.

Time is simulated: the loop's clock jumps to whatever comes next, so nothing here sleeps.
"""

from __future__ import annotations

import asyncio
import bisect
import math
import random
import selectors
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.models import pacing
from pipelines.models.pacing import Pacer, Rate

MINUTE = 60.0
START = Pacer(most=1_000).limit


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: the time it was to wait has gone by at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, else let the time go by."""
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = _Selector()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the simulated time."""
        return self.clock.now


Simulate = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Run a coroutine in simulated time."""

    def now() -> float:
        try:
            return clock()
        except RuntimeError:  # made before the time began
            return 0.0

    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=now))

    def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            return runner.run(main())

    return run


def clock() -> float:
    """Return the simulated time."""
    return asyncio.get_running_loop().time()


class Simulated:
    """An endpoint that works on some calls at once while the others wait, or are refused."""

    def __init__(self, latency_s: Callable[[], float], *, slots: int = 999, refuses_above: int = 999) -> None:
        self.latency_s = latency_s
        self.slots = asyncio.Semaphore(slots)
        self.refuses_above = refuses_above
        self.under_way = self.most = 0
        self.refused = 0
        self.admitted: list[float] = []
        self.limits: list[int] = []

    async def call(self, pacer: Pacer, *, tokens: int = 100) -> bool:
        """Make one call; whether it was answered."""
        found = await pacer.admit(tokens, is_again=False)
        sent_at = clock()
        self.admitted.append(sent_at)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        is_refused = self.under_way > self.refuses_above
        if is_refused:
            await asyncio.sleep(0.01)
            self.refused += 1
            pacer.throttled(sent_at=sent_at, wait_s=1.0)
        else:
            async with self.slots:
                await asyncio.sleep(self.latency_s())
            pacer.succeeded(sent_at=sent_at, under_way=found)
        self.limits.append(pacer.limit)
        self.under_way -= 1
        pacer.leave()
        return not is_refused

    async def calls(self, pacer: Pacer, count: int, *, workers: int = 256) -> None:
        """Make so many calls, each until it is answered."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                while not await self.call(pacer):
                    pass

        await asyncio.gather(*(work() for _ in range(workers)))


# ---- the limit


def test_the_limit_grows_to_the_most_where_that_helps(simulate: Simulate) -> None:
    """An endpoint that answers as fast however many call is given as many as allowed."""
    pacer, endpoint = Pacer(most=64), Simulated(lambda: 0.5)
    simulate(lambda: endpoint.calls(pacer, 2_000))
    assert pacer.limit == endpoint.most == 64


def test_the_whole_speed_is_used(simulate: Simulate) -> None:
    """At half a second an answer and 64 at once, at least 95% of 128 calls a second get through."""

    async def main() -> float:
        await endpoint.calls(pacer, 6_000)
        return clock()

    pacer, endpoint = Pacer(most=64), Simulated(lambda: 0.5)
    assert simulate(main) < 6_000 / 128 / 0.95


@pytest.mark.parametrize("slots", [5, 20, 100])
def test_an_endpoint_that_only_queues_is_not_flooded(simulate: Simulate, slots: int) -> None:
    """Where more calls only wait longer, no more are sent, however often it is tried; its speed is used."""

    async def main() -> float:
        await endpoint.calls(pacer, 8_000, workers=600)
        return clock()

    pacer, endpoint = Pacer(most=512), Simulated(lambda: 0.1, slots=slots)
    assert simulate(main) < 8_000 * 0.1 / slots / 0.95
    assert slots <= pacer.limit <= endpoint.most <= 4 * max(START, slots)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
def test_no_more_than_the_limit_are_under_way(simulate: Simulate, most: int, refuses_above: int, seed: int) -> None:
    """Whatever the endpoint does, the most is never passed, at least one call may go, and all are answered."""
    chance = random.Random(seed)
    pacer = Pacer(most=most)
    endpoint = Simulated(lambda: chance.uniform(0.01, 3), refuses_above=refuses_above)
    simulate(lambda: endpoint.calls(pacer, 150, workers=60))
    assert endpoint.most <= most
    assert min(endpoint.limits) >= 1
    assert len(endpoint.admitted) == 150 + endpoint.refused


def test_one_burst_of_refusals_cuts_once(simulate: Simulate) -> None:
    """The calls that went out together and are refused together cut the limit by a third, not to nothing."""

    async def main() -> None:
        for _ in range(START):
            await pacer.admit(1, is_again=False)
        sent_at = clock()
        await asyncio.sleep(0.1)
        for _ in range(START):
            pacer.throttled(sent_at=sent_at, wait_s=0.1)
            pacer.leave()

    pacer = Pacer(most=1_000)
    simulate(main)
    assert START / 2 < pacer.limit < START


def test_the_limit_is_cut_again_and_grows_again(simulate: Simulate) -> None:
    """After each cut the limit grows by one, until the endpoint refuses again."""
    pacer, endpoint = Pacer(most=64), Simulated(lambda: 0.5, refuses_above=10)
    simulate(lambda: endpoint.calls(pacer, 1_500))
    steps = [after - before for before, after in zip(endpoint.limits[100:], endpoint.limits[101:], strict=False)]
    assert {step for step in steps if step > 0} == {1}
    assert min(steps) < 0
    assert set(endpoint.limits[-200:]) <= set(range(6, 12))
    assert endpoint.refused < 75


def test_an_endpoint_that_gets_better_is_found_out(simulate: Simulate) -> None:
    """A limit that was found once is looked for again."""

    async def main() -> None:
        await endpoint.calls(pacer, 500)
        before.append(pacer.limit)
        endpoint.slots = asyncio.Semaphore(999)
        await endpoint.calls(pacer, 5_000)

    before: list[int] = []
    pacer, endpoint = Pacer(most=256), Simulated(lambda: 0.1, slots=10)
    simulate(main)
    assert before[0] < 256
    assert pacer.limit == 256


def test_nobody_is_admitted_before_the_wait_is_over(simulate: Simulate) -> None:
    """The wait that an endpoint asks for holds for all calls; the longest counts."""

    async def main() -> float:
        await pacer.admit(1, is_again=False)
        sent_at = clock()
        pacer.throttled(sent_at=sent_at, wait_s=30)
        pacer.throttled(sent_at=sent_at, wait_s=7)
        pacer.leave()
        await pacer.admit(1, is_again=False)
        return clock()

    pacer = Pacer(most=4)
    assert simulate(main) >= 30


def test_calls_that_failed_go_first(simulate: Simulate) -> None:
    """A call that is tried again is admitted before fresh ones; each kind in its order."""

    async def call(name: str, is_again: bool) -> None:
        await pacer.admit(1, is_again=is_again)
        admitted.append(name)
        await asyncio.sleep(1)
        pacer.leave()

    async def main() -> None:
        names = [("running", False), ("fresh 1", False), ("fresh 2", False), ("again 1", True), ("again 2", True)]
        await asyncio.gather(*(call(*name) for name in names))

    admitted: list[str] = []
    pacer = Pacer(most=1)
    simulate(main)
    assert admitted == ["running", "again 1", "again 2", "fresh 1", "fresh 2"]


@pytest.mark.parametrize("moment_s", [0.0, 0.5, 1.0, 1.5])
def test_who_stops_waiting_takes_no_place(simulate: Simulate, moment_s: float) -> None:
    """A call that is cancelled while it waits, or while it runs, leaves its place to the others."""

    async def call() -> None:
        await pacer.admit(1, is_again=False)
        try:
            await asyncio.sleep(1)
        finally:
            pacer.leave()

    async def main() -> None:
        calls = [asyncio.create_task(call()) for _ in range(4)]
        await asyncio.sleep(moment_s)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.wait_for(call(), 5)

    pacer = Pacer(most=1)
    simulate(main)


def test_who_is_cancelled_when_admitted_takes_no_place(simulate: Simulate) -> None:
    """A call that is given its place and cancelled in the same moment leaves it to the others."""

    async def main() -> None:
        await pacer.admit(1, is_again=False)
        waiting = asyncio.create_task(pacer.admit(1, is_again=False))
        await asyncio.sleep(0)
        pacer.leave()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(pacer.admit(1, is_again=False), 5)

    pacer = Pacer(most=1)
    simulate(main)


def test_a_pacer_serves_one_loop_after_another(simulate: Simulate) -> None:
    """What waited in a loop that has ended does not disturb the next."""

    async def abandoned() -> None:
        pacer.throttled(sent_at=clock(), wait_s=0.5)
        waiting = asyncio.create_task(pacer.admit(1, is_again=False))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    pacer, endpoint = Pacer(most=4), Simulated(lambda: 0.1)
    simulate(abandoned)
    simulate(lambda: endpoint.calls(pacer, 50))
    assert len(endpoint.admitted) == 50


# ---- rates


def most_in_a_minute(moments: list[float], amounts: list[float]) -> float:
    """Return the largest sum of amounts in any 60 seconds."""
    sums = [0.0]
    for amount in amounts:
        sums.append(sums[-1] + amount)
    return max(
        sums[bisect.bisect_left(moments, moment + MINUTE - 1e-6)] - sums[at] for at, moment in enumerate(moments)
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.5, 300), st.floats(0.0, 2.0))
def test_the_rate_of_calls_is_never_passed(simulate: Simulate, per_minute: float, latency_s: float) -> None:
    """In no minute are there more calls than allowed, and hardly fewer."""
    count = int(2.5 * per_minute + 3)

    async def main() -> float:
        await endpoint.calls(pacer, count, workers=40)
        return clock()

    pacer = Pacer(most=64, requests_per_minute=per_minute)
    endpoint = Simulated(lambda: latency_s)
    took_s = simulate(main)
    assert most_in_a_minute(endpoint.admitted, [1.0] * count) <= math.ceil(per_minute)
    assert took_s <= (count / 0.94 / per_minute + 1) * MINUTE + count * latency_s / 16


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(1_000, 100_000), st.lists(st.floats(0.001, 0.05), min_size=1, max_size=200))
def test_the_rate_of_tokens_is_never_passed(simulate: Simulate, per_minute: float, shares: list[float]) -> None:
    """In no minute are there more tokens than allowed."""
    amounts = [int(share * per_minute) for share in shares]
    moments: list[float] = []

    async def main() -> None:
        for amount in amounts:
            await pacer.admit(amount, is_again=False)
            moments.append(clock())
            pacer.leave()

    pacer = Pacer(most=64, tokens_per_minute=per_minute)
    simulate(main)
    assert most_in_a_minute(moments, [float(amount) for amount in amounts]) <= per_minute + 1


def test_a_call_larger_than_the_rate_waits_and_is_owed_for(simulate: Simulate) -> None:
    """A call of more tokens than a minute has goes out all the same; the next waits for it."""

    async def main() -> tuple[float, float]:
        await pacer.admit(3_000, is_again=False)
        first = clock()
        await pacer.admit(10, is_again=False)
        return first, clock()

    pacer = Pacer(most=64, tokens_per_minute=1_000)
    first, second = simulate(main)
    assert first == 0
    assert second - first >= 2.9 * MINUTE


def test_tokens_that_were_not_used_are_given_back(simulate: Simulate) -> None:
    """A call takes what it can use at most, and in the end what it used."""

    async def main() -> float:
        for _ in range(20):
            await pacer.admit(50, is_again=False)
            pacer.correct_tokens(reserved=50, used=5)
            pacer.leave()
        return clock()

    pacer = Pacer(most=64, tokens_per_minute=1_000)
    assert simulate(main) < 0.2 * MINUTE


@pytest.mark.parametrize(
    ("own", "told", "kept"), [(None, 600.0, 600.0), (60.0, 600.0, 60.0), (None, None, None), (None, 0.0, None)]
)
def test_rates_that_the_endpoint_tells_are_kept(
    simulate: Simulate, own: float | None, told: float | None, kept: float | None
) -> None:
    """They hold from then on, where none was set."""

    async def main() -> float:
        pacer.learn_rates(requests_per_minute=told, tokens_per_minute=told)
        for _ in range(120):
            await pacer.admit(0, is_again=False)
            pacer.leave()
        return clock()

    pacer = Pacer(most=64, requests_per_minute=own, tokens_per_minute=own)
    took_s = simulate(main)
    assert took_s == pytest.approx(0 if kept is None else 120 / kept * MINUTE, rel=0.3)


def test_an_idle_bucket_does_not_overflow(simulate: Simulate) -> None:
    """Who waited for an hour may not send an hour's calls at once."""

    async def main() -> int:
        await asyncio.sleep(60 * MINUTE)
        count = 0
        while rate.wait_s(1) == 0:
            rate.take(1)
            count += 1
        return count

    async def make() -> Rate:
        return Rate(100)

    rate = simulate(make)
    assert simulate(main) == 5
