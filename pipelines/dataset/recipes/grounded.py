"""Questions about passages, and what the passages say to them: an answer, nothing, or the contrary."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, create_model

from pipelines.dataset.checks.quote import stands_in
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task, make_request, unusable
from pipelines.dataset.writing.facts import topic_of
from pipelines.models.teacher import Ask
from pipelines.prompting import inside, refusal
from pipelines.quotes import find_sentences
from pipelines.records import Chunk, Example, ExampleKind, Message, Quote, Record, Rejection, content_id
from pipelines.text import fold_space
from prompts import Prompt, load_prompt

_ASKING = {
    ExampleKind.GROUNDED: load_prompt("ask_questions"),
    ExampleKind.UNANSWERABLE: load_prompt("ask_unanswerable"),
    ExampleKind.FALSE_PREMISE: load_prompt("ask_false_premise"),
}
_ANSWERING = load_prompt("answer_questions")
_CORRECTING = load_prompt("correct_premise")
_MOST_QUOTES = 2


Question = Annotated[str, Field(min_length=4, max_length=300)]


class ProvedAnswer(Record):
    """The answer to one of several questions, with its proof."""

    number: int = Field(ge=1, le=8, description="Number of the question.")
    quotes: tuple[Annotated[str, Field(max_length=600)], ...] = Field(
        max_length=2, description="Whole sentences of the passages that prove the answer, word for word; or none."
    )
    answer: str = Field(max_length=400, description="The answer in one short sentence; empty without quotes.")


class Questions(Record):
    """What the teacher is asked to return about a passage."""

    questions: tuple[Question, ...] = Field(min_length=1, description="Questions, no two alike.")


class ProvedAnswers(Record):
    """What the teacher is asked to return for several questions."""

    answers: tuple[ProvedAnswer, ...] = Field(min_length=1, description="One for each question.")


@functools.cache
def at_most(record: type[Record], count: int) -> type[Record]:
    """Return a record of the same form whose one list has `count` items at most.

    A small model that may write on does; the endpoint's grammar ends its list for it.
    """
    [(name, field)] = record.model_fields.items()
    limited = (field.annotation, Field(min_length=1, max_length=count, description=field.description))
    return create_model(record.__name__, __base__=record, **{name: limited})  # type: ignore[call-overload, no-any-return]


class PassageRecipe:
    """Writes questions of one kind about passages, then has the same teacher answer them unprepared."""

    def __init__(self, kind: ExampleKind, *, teacher: str) -> None:
        self.prompt = _ASKING[kind].id
        self._kind = kind
        self._teacher = teacher

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return questions about the task's passages."""
        prompt = _ASKING[self._kind]
        inputs = {name: task.attributes.get(name, "anybody") for name in ("persona", "form", "difficulty")}
        request = make_request(
            prompt,
            at_most(Questions, task.count),
            sample=task.round,
            passages=shown(task.chunks),
            count=task.count,
            language=LANGUAGE_NAMES[task.language],
            avoid=list(task.avoid),
            **inputs,
        )
        reply = await ask(request)
        if not isinstance(reply.record, Questions):
            return [unusable(reply.problem, reply.raw, task, reply.calls)]
        said = [fold_space(question) for question in reply.record.questions]
        return [Opening(text=question, calls=reply.calls) for question in said[: task.count] if question]

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Have the questions answered from the passages; what that shows decides."""
        return await answer_questions(openings, task, ask, teacher=self._teacher, kind=self._kind)


async def answer_questions(
    questions: Sequence[Opening],
    task: Task,
    ask: Ask,
    *,
    teacher: str,
    kind: ExampleKind,
    parents: tuple[str, ...] = (),
) -> list[Example | Rejection]:
    """Return an example, or a rejection, for each question, from one call that answers all.

    Whoever answers is not told which questions have an answer: one counts as unanswerable only if
    no sentence was found for it, and as any other kind only if one was.
    """
    prompt = _CORRECTING if kind is ExampleKind.FALSE_PREMISE else _ANSWERING
    request = make_request(
        prompt,
        at_most(ProvedAnswers, len(questions)),
        sample=task.round,
        passages=shown(task.chunks),
        questions=[question.text for question in questions],
        language=LANGUAGE_NAMES[task.language],
    )
    reply = await ask(request)
    if not isinstance(reply.record, ProvedAnswers):
        return [unusable(reply.problem, reply.raw, task, reply.calls)]
    answers = {answer.number: answer for answer in reply.record.answers}
    made: list[Example | Rejection] = []
    for number, question in enumerate(questions, start=1):
        calls = tuple(dict.fromkeys((*question.calls, *reply.calls)))
        draft = _Draft(question.text, task, kind, teacher, prompt, calls, parents)
        made.append(draft.finish(answers.get(number)))
    return made


def shown(chunks: Sequence[Chunk]) -> list[dict[str, str]]:
    """Return passages as prompts take them."""
    named = ((chunk.heading or chunk.document, fold_space(chunk.text)) for chunk in chunks)
    return [{"heading": inside(heading, "passage"), "text": inside(text, "passage")} for heading, text in named]


class _Draft:
    """A question on its way to an example."""

    def __init__(
        self,
        question: str,
        task: Task,
        kind: ExampleKind,
        teacher: str,
        prompt: Prompt,
        calls: tuple[str, ...],
        parents: tuple[str, ...],
    ) -> None:
        self._question, self._task, self._kind = question, task, kind
        self._teacher, self._prompt, self._calls, self._parents = teacher, prompt, calls, parents

    def finish(self, answer: ProvedAnswer | None) -> Example | Rejection:
        """Return the example that the answer makes of the question, or why there is none."""
        if answer is None:
            return self._rejection("unanswered", "the teacher left this question out")
        said = [quote for quote in answer.quotes if quote.strip()]
        if self._kind is ExampleKind.UNANSWERABLE:
            if not said:
                return self._example(refusal(self._task.language), ())
            # The passage does answer it, after all: then it is a question like any other.
            self._kind = ExampleKind.GROUNDED
        if not said or not answer.answer.strip():
            return self._rejection("unanswered", "the teacher finds no answer in the passage")
        quotes: list[Quote] = []
        for text in said:
            found = find_sentences(text, self._task.chunks)
            if not found:
                reason = f"a quote stands nowhere in the passage: {fold_space(text)[:160]!r}"
                return self._rejection("quote", reason)
            quotes += [quote for quote in found if quote not in quotes]
        return self._example(fold_space(answer.answer), tuple(quotes[:_MOST_QUOTES]))

    def _example(self, answer: str, quotes: tuple[Quote, ...]) -> Example:
        chunks = self._task.chunks
        used = [chunk.id for quote in quotes for chunk in chunks if stands_in(quote, chunk)]
        sources = tuple(dict.fromkeys(used or [chunk.id for chunk in chunks]))
        return Example(
            id=content_id(self._kind, self._question, *sources, *(quote.quote for quote in quotes)),
            kind=self._kind,
            question=self._question,
            answer=answer,
            language=self._task.language,
            messages=(Message(role="user", content=self._question), Message(role="assistant", content=answer)),
            sources=sources,
            quotes=quotes,
            attributes=topic_of(chunks) | self._task.attributes,
            parents=self._parents,
            calls=self._calls,
            teacher=self._teacher,
            prompt=self._prompt.id,
        )

    def _rejection(self, check: str, reason: str) -> Rejection:
        source = self._task.chunks[0].id if self._task.chunks else ""
        return Rejection(check=check, reason=reason, text=self._question, source=source, calls=self._calls)
