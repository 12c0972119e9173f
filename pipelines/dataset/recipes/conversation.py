"""Conversations about a passage, of which the later questions need what was said before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipelines.dataset.recipes.drafts import Drafts, exchange
from pipelines.dataset.recipes.grounded import PassageRecipe, shown
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task, make_request
from pipelines.dataset.recipes.replies import Dialogue
from pipelines.models.teacher import Ask
from pipelines.records import Example, ExampleKind, Rejection, content_id
from pipelines.text import fold_space
from prompts import load_prompt

_CONTINUING = load_prompt("continue_dialogue")
_MOST_FOLLOW_UPS = 4


class ConversationRecipe:
    """Asks a first question about a passage, then has the whole conversation written in one call.

    Turns cannot be out of order: the reply holds questions with their answers. How many follow
    the first, one to four, is drawn by it, so that conversations of all lengths are learnt.
    """

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _CONTINUING.id
        self._teacher = teacher
        self._asking = PassageRecipe(ExampleKind.GROUNDED, teacher=teacher)

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return first questions."""
        return await self._asking.open(task, ask)

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Have each conversation written, a call for each."""
        return list(await asyncio.gather(*(self._continue(task, opening, ask) for opening in openings)))

    async def _continue(self, task: Task, opening: Opening, ask: Ask) -> Example | Rejection:
        request = make_request(
            _CONTINUING,
            Dialogue,
            sample=task.round,
            passages=shown(task.chunks),
            question=opening.text,
            count=_follow_ups(opening.text),
            persona=task.attributes.get("persona", ""),
            language=LANGUAGE_NAMES[task.language],
        )
        reply = await ask(request)
        drafts = Drafts(task=task, teacher=self._teacher, prompt=self.prompt)
        if not isinstance(reply.record, Dialogue):
            return drafts.lost(opening, reply)
        turns = _turns(opening.text, reply.record)
        if len(turns) < 2:
            reason = "what follows only repeats the first question"
            return drafts.rejection(opening, check="turns", reason=reason, calls=reply.calls)
        messages = [message for question, answer in turns for message in exchange(question, answer)]
        return drafts.example(opening, answer=turns[-1][1], messages=messages, calls=reply.calls)


def _follow_ups(question: str) -> int:
    return 1 + int(content_id("follow-ups", question), 16) % _MOST_FOLLOW_UPS


def _turns(question: str, said: Dialogue) -> list[tuple[str, str]]:
    """Return questions and answers in order, each question once: small teachers begin anew."""
    turns = [(question, said.answer), *((each.question, each.answer) for each in said.follow_ups)]
    kept: dict[str, tuple[str, str]] = {}
    for asked, answered in turns:
        kept.setdefault(fold_space(asked).casefold(), (fold_space(asked), answered.strip()))
    return list(kept.values())
