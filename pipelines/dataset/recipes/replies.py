"""What the teacher is asked to return, besides questions and proved answers.

Lists hold flat items, and each record has one list at most: what can be saved of a reply that
is cut or half wrong are whole items of it. Longest texts are stated so that a small model
cannot run on for ever.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.records import Record

MOST_ITEMS = 12
MOST_JUDGED = 4

TaskText = Annotated[str, Field(min_length=8, max_length=600, description="What somebody asks for, in their words.")]
LabelName = Annotated[str, Field(min_length=1, max_length=80, description="One of the labels.")]


class PassageTask(Record):
    """Something to do with a passage."""

    task: TaskText
    needs_text: bool = Field(description="Whether the passage is handed over with the task.")


class PassageTasks(Record):
    """What the teacher is asked to return about a passage to work on."""

    tasks: tuple[PassageTask, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="Tasks, no two alike.")


class TopicTask(Record):
    """Something to do that belongs to a topic, with what it is to be done to."""

    task: TaskText
    material: str = Field("", max_length=1500, description="The text that the task is about, in full; or empty.")


class TopicTasks(Record):
    """What the teacher is asked to return about a topic to work on."""

    tasks: tuple[TopicTask, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="Tasks, no two alike.")


class DoneTask(Record):
    """What comes of one of several tasks."""

    number: int = Field(ge=1, le=MOST_ITEMS, description="Number of the task.")
    answer: str = Field(min_length=1, max_length=1900, description="The result, ready to be used.")


class DoneTasks(Record):
    """What the teacher is asked to return for several tasks."""

    answers: tuple[DoneTask, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="One for each task.")


class Exchange(Record):
    """A question that leans on what was said before, and its answer."""

    question: str = Field(min_length=2, max_length=400, description="What the person asks next.")
    answer: str = Field(min_length=1, max_length=800, description="What the assistant says to it.")


class Dialogue(Record):
    """What the teacher is asked to return about the beginning of a conversation."""

    answer: str = Field(min_length=1, max_length=800, description="What the assistant says to the first question.")
    follow_ups: tuple[Exchange, ...] = Field(min_length=1, max_length=4, description="What follows, in order.")


class Texts(Record):
    """What the teacher is asked to return about a label."""

    texts: tuple[str, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="Texts, no two alike.")


class NumberedLabel(Record):
    """The label of one of several texts."""

    number: int = Field(ge=1, le=MOST_ITEMS, description="Number of the text.")
    label: LabelName


class NumberedLabels(Record):
    """What the teacher is asked to return about texts without labels."""

    labels: tuple[NumberedLabel, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="One for each text.")


class MarkedSpan(Record):
    """A piece of a text, and what it is."""

    text: str = Field(min_length=1, max_length=200, description="The piece, word for word.")
    label: LabelName


class MarkedText(Record):
    """A text with its labelled pieces."""

    text: str = Field(min_length=5, max_length=800, description="A sentence or two.")
    spans: tuple[MarkedSpan, ...] = Field(min_length=1, max_length=20, description="Its pieces, in order.")


class MarkedTexts(Record):
    """What the teacher is asked to return about labels of pieces."""

    texts: tuple[MarkedText, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="Texts, no two alike.")


class PlainAnswer(Record):
    """What the teacher is asked to return for one question."""

    answer: str = Field(min_length=1, max_length=1200, description="The answer.")


class Comparison(Record):
    """Which of two answers is better."""

    reason: str = Field("", max_length=600, description="What makes the difference, in one short sentence.")
    better: Literal["A", "B", "tie"] = Field(description="The better answer, or 'tie' if they are equally good.")


class Judgement(Record):
    """What a judge finds of one of several examples."""

    number: int = Field(ge=1, le=MOST_JUDGED, description="Number of the example.")
    supported: bool = Field(description="Whether the passage supports everything the answer says.")
    answers: bool = Field(description="Whether the answer answers the question.")
    stands_alone: bool = Field(description="Whether the question can be understood without the passage.")
    clear: bool = Field(description="Whether question and answer are clear and well written.")
    score: int = Field(ge=1, le=5, description="How good the example is: 1 is useless, 5 is excellent.")


class Judgements(Record):
    """What a judge is asked to return about several examples."""

    judgements: tuple[Judgement, ...] = Field(min_length=1, max_length=MOST_JUDGED, description="One for each example.")


class Rephrasings(Record):
    """What the teacher is asked to return about a question, or an answer, in other words."""

    texts: tuple[str, ...] = Field(min_length=1, max_length=MOST_ITEMS, description="Other wordings, no two alike.")


class Translation(Record):
    """A text in another language."""

    translation: str = Field(min_length=1, max_length=1900, description="The text in the other language.")


class EvolvedQuestion(Record):
    """A question made of another one."""

    question: str = Field(min_length=5, max_length=400, description="The new question.")
