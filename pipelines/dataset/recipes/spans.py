"""Texts with labelled pieces, for teaching a student token classification (NER)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from pipelines.dataset.recipes.drafts import Drafts, asked_for, known_label, subject
from pipelines.dataset.recipes.recipe import Opening, Task, make_request, unusable
from pipelines.dataset.recipes.replies import MarkedSpan, MarkedText, MarkedTexts
from pipelines.models.teacher import Ask
from pipelines.prompting import to_messages
from pipelines.records import Example, Language, Message, Rejection, Span
from pipelines.text import fold_space
from prompts import load_prompt

_MARKING = load_prompt("mark_texts")
_LABELLING: dict[Language, str] = {"en": "label_spans", "zh": "label_spans_zh"}
# A letter or digit of a script that puts spaces between words.
_LETTER = r"[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"


class SpansRecipe:
    """Has texts written and marked at once; the marks are then found in the text, or it is dropped."""

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _MARKING.id
        self._teacher = teacher

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return texts, each with its marks in `detail["spans"]`.

        Raises:
            ValueError: There are no labels.
        """
        if not task.labels:
            raise ValueError("expected a task with the labels of spans; it has none")
        inputs = {**subject(task), **asked_for(task), "labels": list(task.labels)}
        reply = await ask(make_request(_MARKING, MarkedTexts, sample=task.round, **inputs))
        if not isinstance(reply.record, MarkedTexts):
            return [unusable(reply.problem, reply.raw, task, reply.calls)]
        return [
            Opening(text=fold_space(each.text), calls=reply.calls, detail={"spans": each.model_dump_json()})
            for each in reply.record.texts[: task.count]
        ]

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return those texts as examples in which all marks are found; nothing is asked."""
        del ask
        return [self._finish(task, opening) for opening in openings]

    def _finish(self, task: Task, opening: Opening) -> Example | Rejection:
        drafts = Drafts(task=task, teacher=self._teacher, prompt=self.prompt)
        marked = MarkedText.model_validate_json(opening.detail["spans"]).spans
        try:
            spans = locate_spans(opening.text, marked, labels=task.labels)
        except ValueError as error:
            return drafts.rejection(opening, check="spans", reason=str(error))
        found = [{"text": opening.text[span.start : span.end], "label": span.label} for span in spans]
        answer = json.dumps(found, ensure_ascii=False)
        prompt = load_prompt(_LABELLING[task.language])
        asked = to_messages(prompt, text=opening.text, labels=list(task.labels))
        messages = (*asked, Message(role="assistant", content=answer))
        return drafts.example(opening, answer=answer, messages=messages, spans=spans)


def locate_spans(text: str, marked: Sequence[MarkedSpan], *, labels: Sequence[str]) -> list[Span]:
    """Return where marked pieces stand in `text`, in the order of the text.

    A piece is found at its first whole-word occurrence that no earlier mark has taken. The same
    mark once more than the piece occurs is a repetition, and is passed over.

    Raises:
        ValueError: A piece is not in the text, overlaps another, or has an unknown label.
    """
    spans: list[Span] = []
    for mark in marked:
        piece = fold_space(mark.text)
        label = known_label(mark.label, labels)
        if label is None:
            raise ValueError(f"{mark.label!r} is none of the labels {', '.join(labels)}")
        places = _places(piece, text)
        if not places:
            raise ValueError(f"the piece {piece!r} does not stand in the text")
        free = [place for place in places if not any(_overlap(place, span) for span in spans)]
        if free:
            spans.append(Span(start=free[0][0], end=free[0][1], label=label))
        elif not any((span.start, span.end) in places and span.label == label for span in spans):
            raise ValueError(f"the piece {piece!r} overlaps another one")
    return sorted(spans, key=lambda span: span.start)


def _places(piece: str, text: str) -> list[tuple[int, int]]:
    """Return start and end of each occurrence that is not a part of a longer word."""
    if not piece:
        return []
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, piece) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, piece[-1]) else ""
    return [match.span() for match in re.finditer(before + re.escape(piece) + after, text)]


def _overlap(place: tuple[int, int], span: Span) -> bool:
    return place[0] < span.end and span.start < place[1]
