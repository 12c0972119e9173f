"""The remote teacher: openings first, duplicates dropped, then answers, checks, and a judge.

Much is asked at once, and everything is decided in the order of the tasks: the dataset is the
same whichever answer arrives first, and the same after a crash.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.dataset.recipes.judge import judge
from pipelines.dataset.recipes.recipe import Opening
from pipelines.dataset.writing.collect import PATIENCE_CALLS, Collector
from pipelines.errors import LLMOutputError
from pipelines.models.budget import Budget
from pipelines.models.ordered import closing, ordered
from pipelines.models.teacher import Ask, Teacher
from pipelines.records import Chunk, Example, Rejection

# Tasks begun beyond what is needed at the present yield, so that refused ones are made up for at once.
_SPARE = 1.2
_FEWEST_AHEAD = 2
# What is taken for the yield before there is one: so many examples of so many tasks.
_PRIOR_KEPT, _PRIOR_TASKS = 3.0, 2.0
# What a task takes at the least: with few calls left, tasks are finished before others are begun.
_CALLS_PER_TASK = 2
# Tasks begun before it is known what a call costs, where that matters.
_UNPRICED_AHEAD = 4


class About(Protocol):
    """What every task says of itself, whichever recipe it is for."""

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The passages that it is about; may be none."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task, and the recipe that carries it out."""

    task: Any  # of the form that the recipe takes
    recipe: Any  # with the two steps of `recipes.recipe.Recipe`

    @property
    def about(self) -> About:
        """The task, as far as all tasks are alike."""
        task: About = self.task
        return task


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A task with those of its openings that are new, and what was wrong with the others."""

    work: Work
    ask: Ask
    openings: tuple[Opening, ...]
    rejections: tuple[Rejection, ...]


class Turns:
    """Who may send: a task before which nothing is left that the ledger alone answers.

    Else a run that is repeated with another filter would pay for tasks that it turns out not to
    need, only because what it does need is still being checked.
    """

    def __init__(self) -> None:
        self._settled: set[int] = set()
        self._first = 0  # the first task that is neither done nor has anything to send
        self._waiting: dict[int, asyncio.Event] = {}

    def asking(self, ask: Ask, number: int) -> Ask:
        """Return how the task of that number asks."""

        async def wait() -> None:
            self.settle(number)
            if number > self._first:
                await self._waiting.setdefault(number, asyncio.Event()).wait()

        return lambda request: ask(dataclasses.replace(request, before_sending=wait))

    def settle(self, number: int) -> None:
        """Note that a task is done, or that it has something to send; nobody waits for it any more."""
        if number < self._first:
            return
        self._settled.add(number)
        while self._first in self._settled:
            self._settled.remove(self._first)
            self._first += 1
        for waiting in [each for each in self._waiting if each <= self._first]:
            self._waiting.pop(waiting).set()


class RemoteWriter:
    """Has a remote teacher carry out tasks."""

    def __init__(
        self,
        teacher: Teacher,
        *,
        dataset: str,
        budget: Budget,
        is_judged: bool = False,
    ) -> None:
        self.name = teacher.name
        self.calls = teacher.calls
        self._teacher = teacher
        self._dataset = dataset
        self._budget = budget
        self._is_judged = is_judged
        self._begun = self._done = 0
        self._turns = Turns()
        self._moved = asyncio.Condition()

    def write(self, tasks: Iterable[Work], collector: Collector) -> Iterator[None]:
        """Carry out tasks until there are enough examples or no more tasks.

        Raises:
            LLMError: The endpoint cannot be used, or nothing it says can.
            BudgetError: A cap is reached.
        """

        async def work(ask: Ask) -> AsyncIterator[None]:
            async with closing(self._results(tasks, collector, ask)) as stages:
                async for results in stages:
                    await asyncio.to_thread(_offer_all, results, collector)
                    self._check_yield(collector)
                    yield None
                    self._turns.settle(self._done)
                    async with self._moved:
                        self._done += 1
                        self._moved.notify_all()
                    if collector.is_full or collector.is_dry:
                        return

        return self._teacher.run(work, dataset=self._dataset, budget=self._budget)

    def _results(
        self, tasks: Iterable[Work], collector: Collector, ask: Ask
    ) -> AsyncIterator[Sequence[Example | Rejection]]:
        """Return the stages, each in order and each ahead of the next."""

        async def open_task(begun: tuple[int, Work]) -> tuple[Work, Ask, list[Opening | Rejection]]:
            number, work = begun
            own = self._turns.asking(ask, number)
            return work, own, await work.recipe.open(work.task, own)

        async def finish(opened: _Opened) -> tuple[_Opened, list[Example | Rejection]]:
            if not opened.openings:
                return opened, []
            return opened, await opened.work.recipe.finish(opened.work.task, opened.openings, opened.ask)

        async def judged(done: tuple[_Opened, list[Example | Rejection]]) -> Sequence[Example | Rejection]:
            opened, made = done
            if self._is_judged and opened.work.about.chunks:
                made = await judge(made, {chunk.id: chunk for chunk in opened.work.about.chunks}, opened.ask)
            return [*opened.rejections, *made]

        most = self._teacher.ahead
        opened = ordered(self._admitted(tasks, collector), open_task, ahead=most)
        finished = ordered(_sifted(opened, collector), finish, ahead=most)
        return ordered(finished, judged, ahead=most)

    async def _admitted(self, tasks: Iterable[Work], collector: Collector) -> AsyncIterator[tuple[int, Work]]:
        """Yield tasks by number, as many ahead of the results as the present yield asks for."""
        for number, task in enumerate(tasks):
            async with self._moved:
                await self._moved.wait_for(lambda: self._begun - self._done < self._needed(collector))
                self._begun += 1
            yield number, task

    def _needed(self, collector: Collector) -> int:
        per_task = (len(collector.kept) + _PRIOR_KEPT) / (self._done + _PRIOR_TASKS)
        needed = math.ceil(_SPARE * (collector.wanted - len(collector.kept)) / per_task)
        affordable = self._affordable()
        if affordable is not None:
            return max(1, min(self._teacher.ahead, needed, affordable))
        return max(_FEWEST_AHEAD, min(self._teacher.ahead, needed))

    def _affordable(self) -> int | None:
        """Return how many tasks can be finished with what is left of the budget; None if it has no end."""
        budget, calls = self._budget, []
        if budget.max_calls is not None:
            calls.append(budget.max_calls - budget.calls)
        if budget.max_cost_usd is not None:
            per_call = budget.cost_usd / max(budget.calls, 1)
            left = budget.max_cost_usd - budget.cost_usd
            calls.append(int(left / per_call) if per_call else _UNPRICED_AHEAD * _CALLS_PER_TASK)
        return min(calls) // _CALLS_PER_TASK if calls else None

    def _check_yield(self, collector: Collector) -> None:
        """Stop a teacher of which nothing can be used."""
        if collector.kept or collector.calls_seen < PATIENCE_CALLS or not collector.rejections:
            return
        last = collector.rejections[-1]
        raise LLMOutputError(
            f"nothing of the first {collector.calls_seen} answers of {self.name} could be used; "
            f"rejected: {collector.rejected()}; the last: {last.reason}",
            raw=last.text,
            model=self.name,
            hint=f"It said: {last.text[:160]!r}. Choose a stronger model, or other documents.",
        )


async def _sifted(
    opened: AsyncIterator[tuple[Work, Ask, list[Opening | Rejection]]], collector: Collector
) -> AsyncIterator[_Opened]:
    """Pass on the openings that are new, in order."""
    async with closing(opened) as stage:
        async for work, ask, made in stage:
            openings = [each_ for each_ in made if isinstance(each_, Opening)]
            problems = await asyncio.to_thread(collector.find_duplicates, [opening.text for opening in openings])
            rejections = [each_ for each_ in made if isinstance(each_, Rejection)]
            fresh = []
            for opening, problem in zip(openings, problems, strict=True):
                if problem is None:
                    fresh.append(opening)
                    continue
                source = work.about.chunks[0].id if work.about.chunks else ""
                rejections.append(
                    Rejection(
                        check=problem.check,
                        reason=problem.reason,
                        text=opening.text,
                        source=source,
                        calls=opening.calls,
                    )
                )
            yield _Opened(work=work, ask=ask, openings=tuple(fresh), rejections=tuple(rejections))


def _offer_all(results: Sequence[Example | Rejection], collector: Collector) -> None:
    for result in results:
        collector.offer(result)
