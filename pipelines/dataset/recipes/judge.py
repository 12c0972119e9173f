"""The judge: a rubric of plain yes-or-no questions and a score, with the passage in sight."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipelines.dataset.recipes.drafts import joined
from pipelines.dataset.recipes.grounded import shown
from pipelines.dataset.recipes.recipe import make_request
from pipelines.dataset.recipes.replies import MOST_JUDGED, Judgement, Judgements
from pipelines.models.teacher import Ask
from pipelines.records import Chunk, Example, ExampleKind, Rejection, rejected
from prompts import load_prompt

_JUDGING = load_prompt("judge_examples")
_CRITERIA = {
    "supported": "the passage does not support it",
    "answers": "the question is not answered",
    "stands_alone": "the question cannot be understood alone",
    "clear": "it is not clear",
}
# What these are asked stands in their messages, with the material or the labels.
_ASKED_IN_FULL = frozenset({ExampleKind.INSTRUCTION, ExampleKind.CLASSIFICATION, ExampleKind.SPANS})


async def judge(
    made: Sequence[Example | Rejection], chunks_by_id: Mapping[str, Chunk], ask: Ask, *, least_score: int = 3
) -> list[Example | Rejection]:
    """Return each example with its scores, or its rejection, in their order.

    Up to four examples of the same passages are judged in one call. One that the judge leaves
    out, or whose reply cannot be read, is kept without scores: that is not the example's fault.

    Args:
        made: What to judge; what is rejected already is passed on.
        chunks_by_id: The passages that they were written from; those that are missing are not shown.
        ask: Asks the judge.
        least_score: Examples with a lower score, from 1 to 5, are rejected, as are those that
            fail a criterion.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, each in enumerate(made):
        if isinstance(each, Example):
            groups[each.sources].append(place)
    batches = [
        places[start : start + MOST_JUDGED]
        for places in groups.values()
        for start in range(0, len(places), MOST_JUDGED)
    ]

    async def judged(batch: Sequence[int]) -> list[Example | Rejection]:
        examples = [each for each in (made[place] for place in batch) if isinstance(each, Example)]
        return await _judge(examples, chunks_by_id, ask, least_score)

    results = list(made)
    for batch, found in zip(batches, await asyncio.gather(*map(judged, batches))):
        for place, each in zip(batch, found, strict=True):
            results[place] = each
    return results


async def _judge(
    examples: Sequence[Example], chunks_by_id: Mapping[str, Chunk], ask: Ask, least_score: int
) -> list[Example | Rejection]:
    passages = shown([chunks_by_id[source] for source in examples[0].sources if source in chunks_by_id])
    said = [_said(example) for example in examples]
    questions, answers = [question for question, _ in said], [answer for _, answer in said]
    reply = await ask(make_request(_JUDGING, Judgements, passages=passages, questions=questions, answers=answers))
    verdicts: dict[int, Judgement] = {}
    if isinstance(reply.record, Judgements):
        for judgement in reply.record.judgements:
            verdicts.setdefault(judgement.number, judgement)
    results: list[Example | Rejection] = []
    for number, example in enumerate(examples, start=1):
        paid = example.model_copy(update={"calls": joined(example.calls, reply.calls)})
        verdict = verdicts.get(number)
        results.append(paid if verdict is None else _decide(paid, verdict, least_score))
    return results


def _said(example: Example) -> tuple[str, str]:
    """Return what the judge reads as question and as answer."""
    if example.kind is ExampleKind.CONVERSATION and len(example.messages) > 2:
        turns = [f"{message.role}: {message.content}" for message in example.messages if message.role != "system"]
        return example.question, "\n".join(turns[1:])
    if example.kind in _ASKED_IN_FULL and len(example.messages) > 1:
        return example.messages[-2].content, example.answer
    return example.question, example.answer


def _decide(example: Example, verdict: Judgement, least_score: int) -> Example | Rejection:
    scores = {f"judge_{name}": float(getattr(verdict, name)) for name in (*_CRITERIA, "score")}
    scored = example.model_copy(update={"scores": {**example.scores, **scores}})
    failed = [meaning for name, meaning in _CRITERIA.items() if not getattr(verdict, name)]
    if verdict.score < least_score:
        failed.append(f"its score is {verdict.score} of 5, expected {least_score} at least")
    return rejected(scored, check="judge", reason="; ".join(failed)) if failed else scored
