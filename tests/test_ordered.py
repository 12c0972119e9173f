"""Much work at once with its results in order, and the bridge from its thread to a plain iterator."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.models.ordered import each, iterate, ordered

LONG_S = 30.0


def work_threads() -> list[threading.Thread]:
    """Return the threads of `iterate` that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == "calls"]


async def collect(source: AsyncIterator[Any]) -> list[Any]:
    """Return all that is yielded."""
    return [item async for item in source]


def results_of(source: Any, work: Any, *, ahead: int) -> list[Any]:
    """Return what `ordered` yields, from a loop of its own."""
    return asyncio.run(collect(ordered(source, work, ahead=ahead)))


async def doubled(number: int) -> int:
    """Return twice a number, at once."""
    return 2 * number


# ---- ordered


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 12))
def test_results_are_those_of_map(turns: list[int], ahead: int) -> None:
    """Whichever is done first, the results are exactly map(work, items), with `ahead` begun at most."""
    begun = done = most = 0

    async def work(turns_to_wait: int) -> int:
        nonlocal begun, most
        begun += 1
        most = max(most, begun - done)
        for _ in range(turns_to_wait):
            await asyncio.sleep(0)
        return turns_to_wait * 10

    async def read() -> list[int]:
        nonlocal done
        results = []
        async for result in ordered(each(turns), work, ahead=ahead):
            results.append(result)
            done += 1
        return results

    assert asyncio.run(read()) == [10 * number for number in turns]
    assert most <= ahead


def test_all_places_are_used() -> None:
    """So many are under way at once that each can wait for the last of them."""
    ahead, here, all_here = 8, 0, asyncio.Event()

    async def work(number: int) -> int:
        nonlocal here
        here += 1
        if here == ahead:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), LONG_S)
        return number

    assert results_of(each(range(ahead)), work, ahead=ahead) == list(range(ahead))


@pytest.mark.parametrize("at", [0, 3, 9])
def test_a_failure_of_the_work_comes_at_its_place(at: int) -> None:
    """Results before the one that failed are yielded; then its error, and nothing after."""

    async def work(number: int) -> int:
        if number == at:
            raise KeyError(number)
        return number

    async def read() -> list[int]:
        with pytest.raises(KeyError, match=str(at)):
            async for result in ordered(each(range(10)), work, ahead=4):
                seen.append(result)
        return seen

    seen: list[int] = []
    assert asyncio.run(read()) == list(range(at))


@pytest.mark.parametrize("at", [0, 5])
def test_a_failure_of_the_source_comes_after_what_it_gave(at: int) -> None:
    """What the source gave before it failed is worked on."""

    async def source() -> AsyncIterator[int]:
        for number in range(at):
            yield number
        raise OSError("the source broke")

    async def read() -> list[int]:
        with pytest.raises(OSError, match="the source broke"):
            async for result in ordered(source(), doubled, ahead=3):
                seen.append(result)
        return seen

    seen: list[int] = []
    assert asyncio.run(read()) == [2 * number for number in range(at)]


def test_many_failures_are_one() -> None:
    """Of work that fails all at once, only the first error in order is raised, and none is left over."""
    left_over: list[Any] = []

    async def work(number: int) -> int:
        raise KeyError(number)

    async def read() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: left_over.append(context))
        with pytest.raises(KeyError, match="0"):
            await collect(ordered(each(range(8)), work, ahead=8))

    asyncio.run(read())
    assert not left_over


def test_who_stops_reading_cancels_what_is_begun_and_closes_the_source() -> None:
    """After the end of a chain of stages nothing runs on, in whichever stage it was."""
    ended: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
        finally:
            ended.append("source")

    async def work(number: int) -> int:
        try:
            if number > 2:
                await asyncio.sleep(LONG_S)
            return number
        except asyncio.CancelledError:
            ended.append("work")
            raise

    async def read() -> int:
        async with aclosing(ordered(ordered(source(), work, ahead=5), doubled, ahead=2)) as results:
            async for result in results:
                if result == 4:
                    break
        tasks = len(asyncio.all_tasks())
        assert ended.count("source") == 1
        assert ended.count("work") > 0
        return tasks

    assert asyncio.run(read()) == 1  # the reader's own


# ---- iterate


def numbers(count: int) -> Any:
    """Return what makes an asynchronous iterator over numbers."""
    return lambda: each(range(count))


@pytest.mark.parametrize("count", [0, 1, 5_000])
def test_what_is_made_in_the_thread_comes_out(count: int) -> None:
    """The results come out in order, and the thread is gone at the end."""
    assert list(iterate(numbers(count))) == list(range(count))
    assert not work_threads()


def test_nothing_begins_before_it_is_read() -> None:
    """An iterator that nobody reads has no thread."""
    iterate(numbers(3))
    assert not work_threads()


@pytest.mark.parametrize("error", [OSError("once"), KeyboardInterrupt("once"), asyncio.CancelledError("once")])
def test_an_error_in_the_thread_is_raised_once(error: BaseException) -> None:
    """What fails in the thread is raised in the reader's, after the results; it never ends as if all were done."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise error

    results = iterate(broken)
    assert next(results) == 1
    with pytest.raises(type(error), match="once"):
        next(results)
    assert list(results) == []
    assert not work_threads()


def test_closing_early_is_quick_and_leaves_no_thread() -> None:
    """Who stops reading does not wait for what is under way."""

    async def slow(number: int) -> int:
        if number:
            await asyncio.sleep(LONG_S)
        return number

    started = time.monotonic()
    with closing(iterate(lambda: ordered(each(range(99)), slow, ahead=9))) as results:
        assert next(results) == 0
    assert time.monotonic() - started < 5
    assert not work_threads()


def test_clean_up_is_waited_for_and_not_interrupted() -> None:
    """Closing waits until the work has cleaned up, however long that takes."""
    cleaned = []

    async def work() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(LONG_S)
        finally:
            await asyncio.sleep(0.5)  # longer than the bridge looks away
            cleaned.append(True)

    with closing(iterate(work)) as results:
        next(results)
    assert cleaned == [True]


def test_clean_up_is_awaited_while_the_reader_is_behind() -> None:
    """Also where results wait for the reader when it stops, the work's own clean-up runs in its loop."""
    cleaned = []

    async def work() -> AsyncIterator[int]:
        try:
            for number in itertools.count():
                yield number
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(len(asyncio.all_tasks()))

    with closing(iterate(work)) as results:
        next(results)
    assert cleaned == [2]  # what passes results on, and what watches over it: nothing was cancelled before


def test_a_slow_reader_holds_the_work_back() -> None:
    """What a reader does not take is not made without end."""
    made = 0
    stalled = threading.Event()

    async def work() -> AsyncIterator[int]:
        nonlocal made
        for made in range(100_000):
            yield made
            if made == 50:
                stalled.set()

    with closing(iterate(work)) as results:
        next(results)
        assert stalled.wait(LONG_S)
    assert made < 200


def test_a_reader_that_fails_ends_the_work() -> None:
    """An error where the results are used ends the thread as well."""

    def read(results: Iterator[int]) -> None:
        for number in results:
            raise ZeroDivisionError(number)

    results = iterate(numbers(50_000))
    with pytest.raises(ZeroDivisionError):
        read(results)
    results.close()  # type: ignore[attr-defined]
    assert not work_threads()
