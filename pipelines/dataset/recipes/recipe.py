"""What a recipe is: how the teacher is asked for one kind of example.

Every kind is written in two steps. First the openings: questions, tasks, or texts to label.
They are looked through for duplicates, and only those that are new are taken further, so that
no answer is paid for twice. The second step makes examples of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel

from pipelines.models.teacher import Ask, Request
from pipelines.prompting import to_messages
from pipelines.records import Chunk, Example, ExampleKind, Language, Rejection
from prompts import Prompt

# Prompts name the language in words that any teacher knows.
LANGUAGE_NAMES: dict[Language, str] = {"en": "English", "zh": "Chinese (简体中文)"}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work: what to write, about which passages, and in what manner."""

    kind: ExampleKind
    chunks: tuple[Chunk, ...]  # one passage, or two that are to be joined; none for a bare topic
    count: int  # openings wanted
    language: Language
    attributes: dict[str, str]  # persona, form, difficulty, subtopic
    labels: tuple[str, ...] = ()  # of a classification, or of spans
    round: int = 0  # how often these passages were asked about before; another round is another sample
    avoid: tuple[str, ...] = ()  # openings that are not to be repeated


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A question, a task or a text, before its answer is asked for."""

    text: str
    calls: tuple[str, ...]
    detail: dict[str, str] = field(default_factory=dict)  # what else the first step said, by name


class Recipe(Protocol):
    """Writes one kind of example."""

    prompt: str  # of the second step, or of the only one, as name@version

    async def open(self, task: Task, ask: Ask) -> list[Opening | Rejection]:
        """Return openings for a task."""

    async def finish(self, task: Task, openings: Sequence[Opening], ask: Ask) -> list[Example | Rejection]:
        """Make examples of those openings that are new; one or a rejection for each."""


def make_request(prompt: Prompt, schema: type[BaseModel], *, sample: int = 0, **inputs: object) -> Request:
    """Return a request made of a prompt."""
    return Request(
        tag=prompt.id,
        messages=to_messages(prompt, **inputs),
        schema=schema,
        temperature=prompt.defaults["temperature"],
        max_tokens=prompt.defaults["max_tokens"],
        sample=sample,
    )


def unusable(problem: str, raw: str, task: Task, calls: tuple[str, ...]) -> Rejection:
    """Return the rejection of a reply that is not the record it was asked for."""
    source = task.chunks[0].id if task.chunks else ""
    return Rejection(check="schema", reason=problem, text=raw[:2000], source=source, calls=calls)
