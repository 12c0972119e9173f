"""Tasks and their results: something to do with a passage, or about a topic."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.dataset.checks.phrases import POINTS_AT_PASSAGE
from pipelines.dataset.recipes.drafts import Drafts, asked_for, exchange, subject
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task, make_request, unusable
from pipelines.dataset.recipes.replies import DoneTasks, PassageTasks, TopicTasks
from pipelines.models.teacher import Ask, Reply, Request
from pipelines.records import Example, Rejection
from pipelines.text import fold_space
from prompts import load_prompt

_ABOUT_PASSAGE = load_prompt("write_tasks")
_ABOUT_TOPIC = load_prompt("invent_tasks")
_DOING = load_prompt("do_tasks")


class InstructionRecipe:
    """Writes tasks, then has all tasks about a passage done in one call.

    A task about a passage is asked with the passage below it, or without, where it names all
    that it is about. A task about a topic brings its own material, if it needs any.
    """

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _DOING.id
        self._teacher = teacher

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return tasks about the passages, or about the topic where there are none.

        Raises:
            ValueError: There are neither passages nor a topic.
        """
        reply = await ask(_opening_request(task))
        openings = _read(reply, task)
        return openings[: task.count] or [unusable(reply.problem, reply.raw, task, reply.calls)]

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Have the tasks done, all in one call."""
        if not openings:
            return []
        # The passages are shown once, for all tasks.
        tasks = [opening.text if task.chunks else _with_material(opening) for opening in openings]
        language = LANGUAGE_NAMES[task.language]
        passages = subject(task)["passages"]
        request = make_request(_DOING, DoneTasks, sample=task.round, passages=passages, tasks=tasks, language=language)
        reply = await ask(request)
        drafts = Drafts(task=task, teacher=self._teacher, prompt=self.prompt)
        if not isinstance(reply.record, DoneTasks):
            return [drafts.lost(opening, reply) for opening in openings]
        answers = {done.number: done.answer.strip() for done in reply.record.answers}
        return [
            _finished(opening, answers.get(number, ""), drafts, reply)
            for number, opening in enumerate(openings, start=1)
        ]


def _finished(opening: Opening, answer: str, drafts: Drafts, reply: Reply) -> Example | Rejection:
    if not answer:
        return drafts.rejection(opening, check="unanswered", reason="the teacher left this task out", calls=reply.calls)
    return drafts.example(
        opening,
        answer=answer,
        messages=exchange(_with_material(opening), answer),
        calls=reply.calls,
        shows_passages=bool(drafts.task.chunks and opening.detail.get("material")),
    )


def _opening_request(task: Task) -> Request:
    about = subject(task)
    if task.chunks:
        passages = about["passages"]
        return make_request(_ABOUT_PASSAGE, PassageTasks, sample=task.round, passages=passages, **asked_for(task))
    if not about["topic"]:
        raise ValueError("expected a task with passages, or with the attribute 'subtopic' or 'topic'; got neither")
    return make_request(_ABOUT_TOPIC, TopicTasks, sample=task.round, topic=about["topic"], **asked_for(task))


def _read(reply: Reply, task: Task) -> list[Opening | Rejection]:
    """Return the tasks of a reply, each with the material that it is about."""
    if isinstance(reply.record, PassageTasks):
        passages = "\n\n".join(chunk.text.strip() for chunk in task.chunks)
        said = [
            # Some teachers hand over a text that they then call unnecessary.
            (each.task, passages if each.needs_text or POINTS_AT_PASSAGE.search(each.task) else "")
            for each in reply.record.tasks
        ]
    elif isinstance(reply.record, TopicTasks):
        said = [(each.task, each.material.strip()) for each in reply.record.tasks]
    else:
        return []
    return [Opening(text=fold_space(text), calls=reply.calls, detail={"material": material}) for text, material in said]


def _with_material(opening: Opening) -> str:
    material = opening.detail.get("material")
    return f"{opening.text}\n\n{material}" if material else opening.text
