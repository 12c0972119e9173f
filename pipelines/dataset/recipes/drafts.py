"""What all records of one task have in common, and how a task is put to the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.dataset.recipes.grounded import shown
from pipelines.dataset.recipes.recipe import LANGUAGE_NAMES, Opening, Task
from pipelines.dataset.writing.facts import topic_of
from pipelines.models.teacher import Reply
from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Example, Message, Rejection, Span, content_id
from pipelines.text import fold_space

_MANNER = ("persona", "form", "difficulty")


@dataclass(frozen=True, kw_only=True)
class Drafts:
    """Makes the records of one task: what they share is said once."""

    task: Task
    teacher: str
    prompt: str  # as name@version

    def example(
        self,
        opening: Opening,
        *,
        answer: str,
        messages: Sequence[Message],
        calls: Sequence[str] = (),
        shows_passages: bool = False,
        label: str = "",
        spans: Sequence[Span] = (),
        rejected: str = "",
        scores: dict[str, float] | None = None,
    ) -> Example:
        """Return what has become of an opening.

        Args:
            opening: Where it began.
            answer: What is to be learnt.
            messages: The conversation, answer last.
            calls: Keys of the calls made since the opening.
            shows_passages: Whether the passages stand in the messages.
            label: Class of the text.
            spans: Labelled pieces.
            rejected: The worse answer.
            scores: Measurements.
        """
        task, sources = self.task, tuple(chunk.id for chunk in self.task.chunks)
        return Example(
            id=content_id(task.kind, opening.text, *sources),
            kind=task.kind,
            question=opening.text,
            answer=answer,
            language=task.language,
            messages=tuple(messages),
            chunks=sources if shows_passages else (),
            sources=sources,
            label=label,
            spans=tuple(spans),
            rejected=rejected,
            attributes=topic_of(task.chunks) | task.attributes,
            calls=joined(opening.calls, calls),
            teacher=self.teacher,
            prompt=self.prompt,
            scores=scores or {},
        )

    def rejection(self, opening: Opening, *, check: str, reason: str, calls: Sequence[str] = ()) -> Rejection:
        """Return why nothing has become of an opening."""
        source = self.task.chunks[0].id if self.task.chunks else ""
        return Rejection(
            check=check, reason=reason, text=opening.text, source=source, calls=joined(opening.calls, calls)
        )

    def lost(self, opening: Opening, reply: Reply) -> Rejection:
        """Return the rejection of an opening to which the teacher's reply cannot be read."""
        return self.rejection(opening, check="schema", reason=reply.problem, calls=reply.calls)


def joined(*calls: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of calls, each once, in order."""
    return tuple(dict.fromkeys(key for each in calls for key in each))


def asked_for(task: Task) -> dict[str, object]:
    """Return what every opening prompt takes: how many, in which language and manner, and what not."""
    manner = {name: task.attributes.get(name, "") for name in _MANNER}
    return {"count": task.count, "language": LANGUAGE_NAMES[task.language], "avoid": list(task.avoid), **manner}


def subject(task: Task) -> dict[str, object]:
    """Return what a task is about, as prompts take it: passages, a topic, or both."""
    named = dict.fromkeys(task.attributes[name] for name in ("topic", "subtopic") if task.attributes.get(name))
    return {"passages": shown(task.chunks), "topic": HEADING_SEPARATOR.join(named)}


def exchange(question: str, answer: str) -> tuple[Message, Message]:
    """Return a question and its answer as messages."""
    return Message(role="user", content=question), Message(role="assistant", content=answer)


def known_label(said: str, labels: Sequence[str]) -> str | None:
    """Return the one of `labels` that is meant, whatever its case and the marks around it."""
    meant = _plain(said)
    return next((label for label in labels if _plain(label) == meant), None)


def _plain(label: str) -> str:
    return fold_space(label).casefold().strip(" .。\"'“”[]")
