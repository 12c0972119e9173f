"""Much work at once, with its results in the order of the work.

The order is what makes a run repeatable: whichever answer arrives first, duplicates are told
and records are kept as if everything had been done one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Results that wait for a slow reader in another thread; whoever stops reading has paid for them.
_AHEAD = 64
_POLL_S = 0.2


async def each(items: Iterable[ItemT]) -> AsyncIterator[ItemT]:
    """Yield the items of a plain iterable."""
    for item in items:
        yield item


@contextlib.asynccontextmanager
async def closing(source: AsyncIterable[ItemT]) -> AsyncIterator[AsyncIterator[ItemT]]:
    """Iterate over `source`, and end it at the end of the block: a generator's clean-up is awaited."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()


async def ordered(
    source: AsyncIterable[ItemT], work: Callable[[ItemT], Awaitable[ResultT]], *, ahead: int
) -> AsyncIterator[ResultT]:
    """Do `work` on every item, `ahead` of them begun at most, and yield the results in order.

    Items are drawn only as places become free. Whoever stops reading cancels what is begun,
    and closes the source.
    """
    begun: asyncio.Queue[asyncio.Future[ResultT] | None] = asyncio.Queue()
    places = asyncio.Semaphore(ahead)

    async def begin() -> None:
        try:
            async with closing(source) as iterator:
                await places.acquire()
                async for item in iterator:
                    begun.put_nowait(asyncio.ensure_future(work(item)))
                    await places.acquire()
        finally:
            begun.put_nowait(None)

    beginner = asyncio.create_task(begin())
    waiting: asyncio.Future[ResultT] | None = None
    try:
        while (waiting := await begun.get()) is not None:
            yield await waiting
            places.release()
        await beginner  # raises what the source raised
    finally:
        left: list[asyncio.Future[Any]] = [beginner, *([waiting] if waiting else [])]
        while not begun.empty():
            future = begun.get_nowait()
            left += [future] if future is not None else []
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def iterate(make: Callable[[], AsyncIterator[ResultT]]) -> Iterator[ResultT]:
    """Run an asynchronous iterator in a thread of its own, and yield what it yields.

    Closing the iterator ends the work: what is begun is cancelled, and its clean-up awaited.
    """
    bridge = _Bridge(make)
    thread = threading.Thread(target=bridge.run, name="calls", daemon=True)
    thread.start()
    try:
        while not isinstance(result := bridge.results.get(), _End):
            yield result
        if result.error is not None:
            raise result.error
    finally:
        bridge.stopping.set()
        thread.join()


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Bridge(Generic[ResultT]):
    """An event loop in one thread, whose results are read in another."""

    def __init__(self, make: Callable[[], AsyncIterator[ResultT]]) -> None:
        self._make = make
        self.results: queue.Queue[ResultT | _End] = queue.Queue(_AHEAD)
        self.stopping = threading.Event()

    def run(self) -> None:
        """Run the loop until the work has ended or is to stop."""
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._put(_End(error))
        else:
            self._put(_End())

    async def _main(self) -> None:
        task = asyncio.create_task(self._pass_on())
        while not task.done() and not self.stopping.is_set():
            await asyncio.wait([task], timeout=_POLL_S)
        task.cancel()  # once: another time would interrupt the clean-up
        await task

    async def _pass_on(self) -> None:
        async with closing(self._make()) as results:
            async for result in results:
                if self.results.full():
                    await asyncio.to_thread(self._put, result)
                else:
                    self._put(result)
                if self.stopping.is_set():  # before more is drawn, and paid for
                    return

    def _put(self, result: ResultT | _End) -> None:
        while not self.stopping.is_set():
            try:
                self.results.put(result, timeout=_POLL_S)
                return
            except queue.Full:
                continue
