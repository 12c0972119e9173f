"""Pairs of a better and a worse answer, chosen by a judge out of several answers to a question."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.dataset.recipes.degrade import is_comparable
from pipelines.dataset.recipes.drafts import Drafts, exchange, joined
from pipelines.dataset.recipes.grounded import PassageRecipe, shown
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task, make_request
from pipelines.dataset.recipes.replies import Comparison, PlainAnswer
from pipelines.models.teacher import Ask, Reply
from pipelines.records import Example, ExampleKind, Rejection
from pipelines.text import fold_space
from prompts import load_prompt

_ANSWERING = load_prompt("answer_plainly")
_COMPARING = load_prompt("compare_answers")


@dataclass(frozen=True, kw_only=True)
class _Pair:
    better: str
    worse: str
    margin: float  # lead in comparisons won, as a share of the largest there can be


class PreferenceRecipe:
    """Has a question answered several times, and keeps the best and the worst answer.

    A judge that sees the passage compares the answers two by two, each pair in both orders:
    only what it says in both counts, because judges prefer a place.
    """

    def __init__(self, *, teacher: str, answers: int = 3, least_margin: float = 0.5) -> None:
        if answers < 2:
            raise ValueError(f"expected at least 2 answers to choose from, got {answers}")
        self.prompt = _ANSWERING.id
        self._teacher = teacher
        self._answers = answers
        self._least_margin = least_margin
        self._asking = PassageRecipe(ExampleKind.GROUNDED, teacher=teacher)

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return questions."""
        return await self._asking.open(task, ask)

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return a pair of answers to each question, where one is clearly better."""
        return list(await asyncio.gather(*(self._finish(task, opening, ask) for opening in openings)))

    async def _finish(self, task: Task, opening: Opening, ask: Ask) -> Example | Rejection:
        drafts = Drafts(task=task, teacher=self._teacher, prompt=self.prompt)
        replies = await self._answer(task, opening, ask)
        calls = joined(*(reply.calls for reply in replies))
        said = {
            fold_space(reply.record.answer).casefold().rstrip(".。!！ "): reply.record.answer.strip()
            for reply in replies
            if isinstance(reply.record, PlainAnswer)
        }
        if not said:
            return drafts.lost(opening, replies[-1])
        answers = list(said.values())
        if len(answers) == 1:
            return drafts.rejection(opening, check="margin", reason="all answers are the same", calls=calls)
        wins, judged = await _tournament(task, opening, answers, ask)
        calls = joined(calls, judged)
        pair = _choose(answers, wins)
        if pair is None or pair.margin < self._least_margin:
            reason = "no answer is clearly better than another, whichever is shown first"
            return drafts.rejection(opening, check="margin", reason=reason, calls=calls)
        if not is_comparable(pair.better, pair.worse, degradation=""):
            reason = f"the answers are of unlike length: {len(pair.better)} and {len(pair.worse)} characters"
            return drafts.rejection(opening, check="length_bias", reason=reason, calls=calls)
        return drafts.example(
            opening,
            answer=pair.better,
            rejected=pair.worse,
            messages=exchange(opening.text, pair.better),
            calls=calls,
            scores={"margin": pair.margin},
        )

    async def _answer(self, task: Task, opening: Opening, ask: Ask) -> list[Reply]:
        inputs = {
            "passages": shown(task.chunks),
            "question": opening.text,
            "language": LANGUAGE_NAMES[task.language],
        }
        samples = range(self._answers)
        requests = [make_request(_ANSWERING, PlainAnswer, sample=sample, **inputs) for sample in samples]
        return list(await asyncio.gather(*map(ask, requests)))


async def _tournament(
    task: Task, opening: Opening, answers: Sequence[str], ask: Ask
) -> tuple[set[tuple[int, int]], tuple[str, ...]]:
    """Return who is better than whom in both orders, and the calls that it took."""
    orders = list(itertools.permutations(range(len(answers)), 2))
    requests = [
        make_request(
            _COMPARING,
            Comparison,
            passages=shown(task.chunks),
            question=opening.text,
            first=answers[first],
            second=answers[second],
        )
        for first, second in orders
    ]
    replies = await asyncio.gather(*map(ask, requests))
    verdicts = {
        order: reply.record.better
        for order, reply in zip(orders, replies, strict=True)
        if isinstance(reply.record, Comparison)
    }
    wins = {
        (one, other) for one, other in orders if verdicts.get((one, other)) == "A" and verdicts.get((other, one)) == "B"
    }
    return wins, joined(*(reply.calls for reply in replies))


def _choose(answers: Sequence[str], wins: set[tuple[int, int]]) -> _Pair | None:
    """Return the two answers of which one won by most, and against the other itself."""
    score = [
        sum(one == number for one, _ in wins) - sum(other == number for _, other in wins)
        for number in range(len(answers))
    ]
    if not wins:
        return None
    best, worst = max(sorted(wins), key=lambda win: score[win[0]] - score[win[1]])
    margin = (score[best] - score[worst]) / (2 * (len(answers) - 1))
    return _Pair(better=answers[best], worse=answers[worst], margin=margin)
