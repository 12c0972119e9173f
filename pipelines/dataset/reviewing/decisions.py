"""What people decided about the records of a dataset: a log that outlives the records.

Decisions are only ever appended, and each is on the disk before the next record is shown.
The last one about a record counts. An undoing is a line of the log as well: it takes back
a whole batch, which is one keystroke, or all that a rule did.

A record is known again by its id and, once that is gone because the dataset was written
anew, by its question and what it rests on. Then a rejection and an edit still count; an
acceptance only if the answer is the same, because another one has been read by nobody.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipelines.errors import DataError
from pipelines.quotes import check_answer, locate
from pipelines.records import Chunk, Example, ExampleKind, Message, Record, Rejection, content_id, rejected
from pipelines.text import fold_space

DECISIONS = "decisions.jsonl"
REVIEWED = "reviewed"  # score of an example that a person has accepted or edited
CHECK = "review"  # of the rejections that people made

Action = Literal["accept", "reject", "edit", "undo"]


class Decision(Record):
    """One line of the log."""

    action: Action = Field(description="What was decided.")
    batch: str = Field(description="What was decided at once, and is undone at once.")
    example: str = Field("", description="Id of the example.")
    key: str = Field("", description="Hash of its question and of what it rests on; empty if others share it.")
    answer_key: str = Field("", description="Hash of the answer that was read.")
    reason: str = Field("", description="Why it was rejected.")
    question: str | None = Field(None, description="The question as it was put right.")
    answer: str | None = Field(None, description="The answer as it was put right.")
    rule: str = Field("", description="The rule that decided it, in words; empty if a person did.")
    decided: str = Field("", description="When, in UTC.")


def question_key(example: Example) -> str:
    """Return what an example has in common with the same one written anew."""
    return content_id("question", fold_space(example.question).casefold(), *sorted(example.sources))


def answer_key(example: Example) -> str:
    """Return a hash of an example's answers."""
    return content_id("answer", fold_space(example.answer), fold_space(example.rejected))


def new_batch() -> str:
    """Return a name for what is decided at once."""
    return secrets.token_hex(6)


def decide(
    action: Action,
    example: Example,
    *,
    before: Decision | None = None,
    reason: str = "",
    question: str | None = None,
    answer: str | None = None,
    batch: str = "",
    rule: str = "",
    is_alone: bool = True,
) -> Decision:
    """Return a decision about an example; what was put right before stays right.

    Args:
        action: What is decided.
        example: The example as the dataset has it, not as it was put right.
        before: What was decided about it earlier.
        reason: Why it is rejected.
        question: The question put right; None leaves it as it is.
        answer: The answer put right; None leaves it as it is.
        batch: What it is undone with; empty to be undone alone.
        rule: The rule that decides.
        is_alone: No other example of the dataset asks the same of the same sources, so that
            one written anew can be known by its question.
    """
    question = question if question is not None or before is None else before.question
    answer = answer if answer is not None or before is None else before.answer
    return Decision(
        action=action,
        batch=batch or new_batch(),
        example=example.id,
        key=question_key(example) if is_alone else "",
        answer_key=answer_key(example),
        reason=reason,
        question=None if question == example.question else question,
        answer=None if answer == example.answer else answer,
        rule=rule,
        decided=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@dataclass
class Decisions:
    """The decisions that count."""

    damaged: int = 0  # lines that were cut short when the machine went down
    _batches: dict[str, list[Decision]] = field(default_factory=dict)  # in the order they were made
    _about: dict[str, list[Decision]] = field(default_factory=dict)  # by example, the last one counts
    _keys: dict[str, list[str]] = field(default_factory=dict)  # ids of examples with that question

    def add(self, decision: Decision) -> None:
        """Take up a decision, or take back what it undoes."""
        if decision.action == "undo":
            for undone in self._batches.pop(decision.batch, ()):
                self._about[undone.example].remove(undone)
            return
        self._batches.setdefault(decision.batch, []).append(decision)
        self._about.setdefault(decision.example, []).append(decision)
        known = self._keys.setdefault(decision.key, []) if decision.key else []
        if decision.example in known:
            known.remove(decision.example)
        known.append(decision.example)

    @property
    def last_batch(self) -> Sequence[Decision]:
        """What was decided last, and not undone; empty if nothing was."""
        return next(reversed(self._batches.values()), ())

    def everything(self) -> Iterable[Decision]:
        """Yield the decision that counts about each example."""
        return (made[-1] for made in self._about.values() if made)

    def about(self, example: Example, *, present: Container[str]) -> Decision | None:
        """Return what was decided about an example; None if nothing was.

        Args:
            example: The example, as the dataset has it.
            present: Ids of all examples of the dataset; a decision about one of them is about no other.
        """
        made = self._about.get(example.id)
        if made:
            return made[-1]
        if REVIEWED in example.scores:  # it is already as people want it
            return None
        for known in reversed(self._keys.get(question_key(example), [])):
            earlier = self._about[known]
            if known in present or not earlier:
                continue
            is_read = earlier[-1].answer is not None or earlier[-1].answer_key == answer_key(example)
            if earlier[-1].action != "accept" or is_read:
                return earlier[-1]
        return None


class DecisionLog:
    """The file of a dataset's decisions, and what counts of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = read_decisions(path)

    def record(self, decisions: Sequence[Decision]) -> None:
        """Write decisions down; when this returns, they are on the disk.

        Raises:
            OSError: They cannot be written, and do not count.
        """
        if not decisions:
            return
        text = "".join(decision.model_dump_json() + "\n" for decision in decisions)
        with self.path.open("ab+") as file:
            # A line that a crash cut short must not swallow the next one.
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            is_cut = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * is_cut + text.encode())
            file.flush()
            os.fsync(file.fileno())
        for decision in decisions:
            self.made.add(decision)

    def undo(self) -> Sequence[Decision]:
        """Take back what was decided last; return it, or nothing if there is nothing."""
        undone = tuple(self.made.last_batch)
        if undone:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.record([Decision(action="undo", batch=undone[0].batch, decided=now)])
        return undone


def read_decisions(path: Path) -> Decisions:
    """Return the decisions of a log; none if there is no log.

    Raises:
        DataError: The log cannot be read.
    """
    found = Decisions()
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return found
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    for line in lines:
        try:
            found.add(Decision.model_validate_json(line))
        except ValidationError:
            found.damaged += bool(line.strip())
    return found


def apply_decisions(examples: Sequence[Example], decisions: Decisions) -> tuple[list[Example], list[Rejection]]:
    """Return the examples as people decided, and those that they do not want.

    An example that was put right keeps its id, so that doing this twice does no more than
    once. One whose answer lost its quotes that way is not kept, and reported.
    """
    present = {example.id for example in examples}
    kept: list[Example] = []
    rejections: list[Rejection] = []
    for example in examples:
        decision = decisions.about(example, present=present)
        outcome = example if decision is None else apply_decision(example, decision)
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
        else:
            kept.append(outcome)
    return kept, rejections


def apply_decision(example: Example, decision: Decision) -> Example | Rejection:
    """Return an example as it was decided, or why it is dropped."""
    if decision.action == "reject":
        return rejected(example, check=CHECK, reason=decision.reason or "rejected in review")
    problem = edit_problem(example, question=decision.question, answer=decision.answer)
    if problem:
        return rejected(example, check=CHECK, reason=problem)
    right = edited(example, question=decision.question, answer=decision.answer)
    return right.model_copy(update={"scores": {**right.scores, REVIEWED: 1.0}})


def edited(example: Example, *, question: str | None, answer: str | None) -> Example:
    """Return an example with its question and answer put right, also in its messages."""
    changes: dict[str, object] = {}
    messages = list(example.messages)
    if question is not None and question != example.question:
        changes["question"] = question
        place = _asked(example)
        if place is not None:
            said = messages[place].content
            start = said.rindex(example.question)
            whole = said[:start] + question + said[start + len(example.question) :]
            messages[place] = Message(role="user", content=whole)
    if answer is not None and answer != example.answer:
        changes["answer"] = answer
        if example.kind is ExampleKind.CLASSIFICATION:
            changes["label"] = answer
        if messages:
            messages[-1] = Message(role="assistant", content=answer)
    return example.model_copy(update={**changes, "messages": tuple(messages)})


def edit_problem(example: Example, *, question: str | None, answer: str | None) -> str:
    """Return why an example cannot be put right like that; empty if it can."""
    if (question is not None and not question.strip()) or (answer is not None and not answer.strip()):
        return "a question and an answer cannot be empty"
    asks_anew = question is not None and question != example.question
    if asks_anew and example.spans:
        return "the labelled pieces would no longer stand where they are said to stand"
    if asks_anew and example.messages and _asked(example) is None:
        return "the question does not stand in the conversation"
    if answer is None or answer == example.answer:
        return ""
    if example.rejected and fold_space(answer) == fold_space(example.rejected):
        return "the better answer would be the same as the worse one"
    lost = [
        quote.quote
        for quote in example.quotes
        if _holds(example.answer, quote.quote) and not _holds(answer, quote.quote)
    ]
    if lost:
        return f"the answer no longer holds its quote, word for word: “{fold_space(lost[0])}”"
    unproved = check_answer(answer, [_as_chunk(quote.quote) for quote in example.quotes]).unproved
    return f"the answer cites what is not among its quotes: “{fold_space(unproved[0])}”" if unproved else ""


def _asked(example: Example) -> int | None:
    """Return which message holds the question; None if none does."""
    places = range(len(example.messages) - 1, -1, -1)
    said = example.messages
    return next((n for n in places if said[n].role == "user" and example.question in said[n].content), None)


def _holds(text: str, quote: str) -> bool:
    return locate(quote, _as_chunk(text)) is not None


def _as_chunk(text: str) -> Chunk:
    return Chunk(id="", document="", start=0, end=len(text), text=text)
