"""New examples made of existing ones: other wordings, and other questions about the same passages.

An augmented example names its parent and keeps what the parent rests on. The two steps are
those of every recipe: openings first, which are looked through for duplicates.

Source:
    Xu et al. 2023, WizardLM, section 3, arXiv:2304.12244 (evolving questions); Sennrich et al.
    2016, arXiv:1511.06709 (back-translation).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pipelines.dataset.recipes.drafts import joined
from pipelines.dataset.recipes.grounded import answer_questions, shown
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task, make_request
from pipelines.dataset.recipes.replies import EvolvedQuestion, Rephrasings, Translation
from pipelines.models.teacher import Ask, Reply
from pipelines.records import Chunk, Example, ExampleKind, Language, Message, Rejection, content_id
from pipelines.text import fold_space
from prompts import load_prompt

Operation = Literal["deepen", "constrain", "concretise", "broaden"]

_REPHRASING = load_prompt("rephrase_question")
_REWORDING = load_prompt("reword_answer")
_TRANSLATING = load_prompt("translate")
_EVOLVING = load_prompt("evolve_question")
_OTHER: dict[Language, Language] = {"en": "zh", "zh": "en"}
# All but spans, which point into the words of the text.
_ASKED_ANYHOW = frozenset(ExampleKind) - {ExampleKind.SPANS}
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, kw_only=True)
class AugmentTask:
    """One piece of work: an example to make others of."""

    parent: Example
    chunks: tuple[Chunk, ...]  # the passages that the parent was written from; none if it was imported
    count: int = 1  # openings wanted
    round: int = 0  # how often the parent was taken before; another round is another sample
    avoid: tuple[str, ...] = ()  # wordings that are not to be repeated


class AugmentRecipe(Protocol):
    """Makes new examples of an existing one; any other kind of parent is a `ValueError`."""

    prompt: str  # that asks for what is new, as name@version
    kinds: frozenset[ExampleKind]  # of parents that it takes

    async def open(self, task: AugmentTask, ask: Ask) -> list[Opening | Rejection]:
        """Return what the new examples begin with."""

    async def finish(self, task: AugmentTask, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Make examples of those openings that are new; one or a rejection for each."""


class ParaphraseRecipe:
    """Says the question of an example in other words; all else stays the parent's."""

    kinds = _ASKED_ANYHOW

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _REPHRASING.id
        self._teacher = teacher

    async def open(self, task: AugmentTask, ask: Ask) -> list[Opening | Rejection]:
        """Return other wordings of the question."""
        _check_kind(task, self.kinds)
        inputs = {"text": task.parent.question, "count": task.count, "avoid": list(task.avoid)}
        language = LANGUAGE_NAMES[task.parent.language]
        reply = await ask(make_request(_REPHRASING, Rephrasings, sample=task.round, language=language, **inputs))
        if not isinstance(reply.record, Rephrasings):
            return [_unusable(reply, task)]
        return _same_numbers(task.parent.question, reply.record.texts[: task.count], reply.calls, task)

    async def finish(self, task: AugmentTask, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return the parent with each of the questions; nothing is asked."""
        del ask
        return [_asked_otherwise(task.parent, opening, self._teacher, self.prompt) for opening in openings]


class BackTranslationRecipe:
    """Translates the question into the other language and back; all else stays the parent's."""

    kinds = _ASKED_ANYHOW

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _TRANSLATING.id
        self._teacher = teacher

    async def open(self, task: AugmentTask, ask: Ask) -> list[Opening | Rejection]:
        """Return what comes back of the question, in two calls."""
        _check_kind(task, self.kinds)
        parent = task.parent
        text, calls = parent.question, tuple[str, ...]()
        for language in (_OTHER[parent.language], parent.language):
            request = make_request(
                _TRANSLATING, Translation, sample=task.round, text=text, language=LANGUAGE_NAMES[language]
            )
            reply = await ask(request)
            calls = joined(calls, reply.calls)
            if not isinstance(reply.record, Translation):
                return [_unusable(reply, task, calls)]
            text = reply.record.translation
        return _same_numbers(parent.question, [text], calls, task)

    async def finish(self, task: AugmentTask, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return the parent with the question that came back; nothing is asked."""
        del ask
        return [_asked_otherwise(task.parent, opening, self._teacher, self.prompt) for opening in openings]


class EvolRecipe:
    """Makes another question of a question, and has it answered from the parent's passages."""

    kinds = frozenset({ExampleKind.GROUNDED})

    def __init__(self, operation: Operation, *, teacher: str) -> None:
        self.prompt = _EVOLVING.id
        self._operation = operation
        self._teacher = teacher

    async def open(self, task: AugmentTask, ask: Ask) -> list[Opening | Rejection]:
        """Return the new question.

        Raises:
            ValueError: There are no passages to answer it from.
        """
        _check_kind(task, self.kinds)
        if not task.chunks:
            raise ValueError(f"expected the passages of example {task.parent.id}; there are none")
        request = make_request(
            _EVOLVING,
            EvolvedQuestion,
            sample=task.round,
            passages=shown(task.chunks),
            question=task.parent.question,
            operation=self._operation,
            language=LANGUAGE_NAMES[task.parent.language],
        )
        reply = await ask(request)
        if not isinstance(reply.record, EvolvedQuestion):
            return [_unusable(reply, task)]
        return [Opening(text=fold_space(reply.record.question), calls=reply.calls)]

    async def finish(self, task: AugmentTask, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Have the questions answered, with quotes, from the parent's passages."""
        if not openings:
            return []
        answering = Task(
            kind=ExampleKind.GROUNDED,
            chunks=task.chunks,
            count=len(openings),
            language=task.parent.language,
            attributes=task.parent.attributes | {"evolution": self._operation},
            round=task.round,
        )
        return await answer_questions(
            openings,
            answering,
            ask,
            teacher=self._teacher,
            kind=ExampleKind.GROUNDED,
            parents=(task.parent.id,),
        )


class AnswerRecipe:
    """Says the answer of an example in other words; question and quotes stay the parent's.

    Here an opening is the new answer, since that is what must not be there already.
    """

    kinds = frozenset(
        {ExampleKind.GROUNDED, ExampleKind.FALSE_PREMISE, ExampleKind.INSTRUCTION, ExampleKind.CONVERSATION}
    )

    def __init__(self, *, teacher: str) -> None:
        self.prompt = _REWORDING.id
        self._teacher = teacher

    async def open(self, task: AugmentTask, ask: Ask) -> list[Opening | Rejection]:
        """Return other wordings of the answer."""
        _check_kind(task, self.kinds)
        parent = task.parent
        request = make_request(
            _REWORDING,
            Rephrasings,
            sample=task.round,
            passages=shown(task.chunks),
            question=_last_question(parent),
            answer=parent.answer,
            count=task.count,
            language=LANGUAGE_NAMES[parent.language],
        )
        reply = await ask(request)
        if not isinstance(reply.record, Rephrasings):
            return [_unusable(reply, task)]
        return _same_numbers(parent.answer, reply.record.texts[: task.count], reply.calls, task)

    async def finish(self, task: AugmentTask, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Return the parent with each of the answers; nothing is asked."""
        del ask
        parent = task.parent
        return [
            _child(
                parent,
                opening,
                self._teacher,
                self.prompt,
                answer=opening.text,
                messages=(*parent.messages[:-1], Message(role="assistant", content=opening.text)),
            )
            for opening in openings
        ]


def _check_kind(task: AugmentTask, kinds: frozenset[ExampleKind]) -> None:
    if task.parent.kind not in kinds:
        raise ValueError(f"expected a parent of the kinds {', '.join(sorted(kinds))}, got {task.parent.kind}")


def _unusable(reply: Reply, task: AugmentTask, calls: tuple[str, ...] = ()) -> Rejection:
    return Rejection(
        check="schema",
        reason=reply.problem,
        text=reply.raw[:2000],
        source=task.parent.source,
        calls=calls or reply.calls,
    )


def _same_numbers(
    text: str, others: Sequence[str], calls: tuple[str, ...], task: AugmentTask
) -> list[Opening | Rejection]:
    """Return as openings those wordings that keep the numbers of a text, and change its words."""
    wanted = sorted(_NUMBER.findall(text))
    openings: list[Opening | Rejection] = []
    for said in dict.fromkeys(map(fold_space, others)):
        if not said or said.casefold() == fold_space(text).casefold():
            check, reason = "exact_duplicate", "the wording is the parent's own"
        elif sorted(_NUMBER.findall(said)) != wanted:
            check, reason = "meaning", f"its numbers are not those of {fold_space(text)[:160]!r}"
        else:
            openings.append(Opening(text=said, calls=calls))
            continue
        openings.append(Rejection(check=check, reason=reason, text=said, source=task.parent.source, calls=calls))
    return openings


def _asked_otherwise(parent: Example, opening: Opening, teacher: str, prompt: str) -> Example:
    """Return the parent with another question, also where its messages hold the question."""
    messages = list(parent.messages)
    for place, message in enumerate(messages):
        if message.role == "user" and parent.question in message.content:
            content = _replaced(message.content, parent.question, opening.text)
            messages[place] = message.model_copy(update={"content": content})
            break
    return _child(parent, opening, teacher, prompt, question=opening.text, messages=tuple(messages))


def _replaced(content: str, question: str, other: str) -> str:
    """Return a turn with another question, which stands before its material or after its passages."""
    if content.startswith(question):
        return other + content[len(question) :]
    before, _question, after = content.rpartition(question)
    return before + other + after


def _child(parent: Example, opening: Opening, teacher: str, prompt: str, **changes: object) -> Example:
    shared: dict[str, object] = {
        "id": content_id(parent.kind, parent.id, prompt, opening.text),
        "parents": (parent.id,),
        "calls": opening.calls,
        "teacher": teacher,
        "prompt": prompt,
        "scores": {},
        "flags": (),
        "split": None,
    }
    return parent.model_copy(update={**shared, **changes})


def _last_question(parent: Example) -> str:
    """Return what the answer is given to, with its material; of a conversation, its last question."""
    return parent.messages[-2].content if len(parent.messages) > 1 else parent.question
