"""Texts and their labels, for teaching a student to sort texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipelines.dataset.recipes.drafts import Drafts, asked_for, known_label, subject
from pipelines.dataset.recipes.recipe import Opening, Task, make_request, unusable
from pipelines.dataset.recipes.replies import MOST_ITEMS, NumberedLabels, Texts
from pipelines.models.teacher import Ask
from pipelines.prompting import to_messages
from pipelines.records import Example, Language, Message, Rejection, content_id
from prompts import load_prompt

_WRITING = load_prompt("write_texts")
_LABELLING = load_prompt("label_texts")
_CLASSIFYING: dict[Language, str] = {"en": "classify", "zh": "classify_zh"}


class ClassificationRecipe:
    """Writes texts for each label, and keeps those that are given it again, unseen.

    The second step is told neither what a text is meant to be, nor can it guess from the order
    of the texts or the labels, which are shuffled by their contents.
    """

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _LABELLING.id
        self._teacher = teacher

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return texts, as many of each label as of the others; a call for each label.

        Raises:
            ValueError: There are no labels, or the attribute 'label' is none of them.
        """
        counts = _counts(task).items()
        written = await asyncio.gather(*(_write(task, label, count, ask) for label, count in counts if count))
        return [each for texts in written for each in texts]

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return those texts as examples whose label is found again without being told."""
        order = sorted(range(len(openings)), key=lambda place: content_id("text", openings[place].text))
        batches = [order[start : start + MOST_ITEMS] for start in range(0, len(order), MOST_ITEMS)]
        verified = await asyncio.gather(
            *(self._verify(task, [openings[place] for place in batch], ask) for batch in batches)
        )
        made = {place: each for batch, found in zip(batches, verified) for place, each in zip(batch, found)}
        return [made[place] for place in range(len(openings))]

    async def _verify(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        texts = [opening.text for opening in openings]
        labels = sorted(task.labels, key=lambda label: content_id("label", label, *texts))
        reply = await ask(make_request(_LABELLING, NumberedLabels, sample=task.round, texts=texts, labels=labels))
        drafts = Drafts(task=task, teacher=self._teacher, prompt=self.prompt)
        if not isinstance(reply.record, NumberedLabels):
            return [drafts.lost(opening, reply) for opening in openings]
        said = {each.number: each.label for each in reply.record.labels}
        made: list[Example | Rejection] = []
        for number, opening in enumerate(openings, start=1):
            meant = opening.detail["label"]
            if known_label(said.get(number, ""), task.labels) == meant:
                messages = (*classify_messages(opening.text, task), Message(role="assistant", content=meant))
                made.append(drafts.example(opening, answer=meant, messages=messages, label=meant, calls=reply.calls))
            else:
                found = repr(said[number]) if number in said else "nothing"
                reason = f"written as {meant!r}, but labelled as {found}"
                made.append(drafts.rejection(opening, check="label", reason=reason, calls=reply.calls))
        return made


def classify_messages(text: str, task: Task) -> tuple[Message, ...]:
    """Return how the student is asked for the label of a text."""
    return to_messages(load_prompt(_CLASSIFYING[task.language]), text=text, labels=list(task.labels))


def _counts(task: Task) -> dict[str, int]:
    """Return how many texts of each label to write; who gets one more changes with the round."""
    if not task.labels:
        raise ValueError("expected a classification task with labels; it has none")
    wanted = list(task.labels)
    if "label" in task.attributes:
        if task.attributes["label"] not in task.labels:
            raise ValueError(f"expected one of the labels {task.labels!r}, got {task.attributes['label']!r}")
        wanted = [task.attributes["label"]]
    share, left = divmod(task.count, len(wanted))
    return {label: share + ((place - task.round) % len(wanted) < left) for place, label in enumerate(wanted)}


async def _write(task: Task, label: str, count: int, ask: Ask) -> list[Opening | Rejection]:
    inputs = {**subject(task), **asked_for(task), "count": min(count, MOST_ITEMS)}
    request = make_request(_WRITING, Texts, sample=task.round, label=label, labels=list(task.labels), **inputs)
    reply = await ask(request)
    if not isinstance(reply.record, Texts):
        return [unusable(reply.problem, reply.raw, task, reply.calls)]
    texts = [text for text in dict.fromkeys(text.strip() for text in reply.record.texts) if text]
    return [Opening(text=text, calls=reply.calls, detail={"label": label}) for text in texts[:count]]
