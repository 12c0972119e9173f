"""The records that cross a boundary: files on disk, a model's output, another stage.

All are frozen, refuse unknown fields, and describe each field, because the descriptions
feed the schemas that models are given and the documentation. Offsets are counted in
Unicode characters from the start of the document's extracted text, end exclusive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from pipelines.errors import DataError

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Language = Literal["en", "zh"]
# A name becomes a folder: letters and digits of any script, then also . _ and -
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.\-]{0,63}$")]


class Record(BaseModel):
    """Base of all records: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a conversation."""

    role: Role = Field(description="Who speaks.")
    content: str = Field(description="What is said, as plain text.")


class Document(Record):
    """One file of a collection, as the text that was understood of it."""

    id: str = Field(description="Path below the folder that was added, with forward slashes.")
    source: str = Field(description="Absolute path of the file when it was read.")
    title: str = Field(description="Title, or the file's name where it has none.")
    sha256: str = Field(description="Hash of the file's bytes.")
    text: str = Field(description="Extracted text; all offsets point into it.")
    headings: tuple[tuple[int, int, str], ...] = Field(
        (), description="Headings in order: offset where the section starts, level from 1, title."
    )
    pages: tuple[int, ...] = Field((), description="Offset at which each page starts; empty if it has none.")
    notes: tuple[str, ...] = Field((), description="How it was read: a guessed encoding, hidden text left out.")

    def page_at(self, offset: int) -> int | None:
        """Return the number, from 1, of the page that holds `offset`; None without pages."""
        if not self.pages:
            return None
        return max(1, sum(start <= offset for start in self.pages))


class Chunk(Record):
    """A piece of a document, small enough to be retrieved and shown to a model."""

    id: str = Field(description="Stable id, of the document's id, the text, and how often it occurred before.")
    document: str = Field(description="Id of the document.")
    start: int = Field(ge=0, description="Offset of the first character.")
    end: int = Field(ge=0, description="Offset after the last character.")
    text: str = Field(description="document.text[start:end], to the letter.")
    heading: str = Field("", description="Titles of the sections around it, outermost first.")
    page: int | None = Field(None, description="Page of the first character, from 1.")


class Passage(Record):
    """A chunk that retrieval found for a query."""

    chunk: Chunk = Field(description="What was found.")
    score: float = Field(description="Fused score; higher is better, comparable within one query only.")
    cosine: float = Field(description="Cosine of the query's and the chunk's vectors, in [-1, 1].")


class Quote(Record):
    """A verbatim piece of a document that an answer rests on."""

    document: str = Field(description="Id of the document.")
    quote: str = Field(min_length=1, description="The document's text from start to end, to the letter.")
    start: int = Field(ge=0, description="Offset of the first character.")
    end: int = Field(ge=1, description="Offset after the last character.")
    page: int | None = Field(None, description="Page of the first character, from 1.")


class Conversation(BaseModel):
    """A training record of whatever origin: messages, the last one to be learnt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    messages: tuple[Message, ...] = Field(min_length=2, description="The conversation, answer last.")


class ExampleKind(StrEnum):
    """What an example teaches."""

    GROUNDED = "grounded"  # an answer with quotes of one passage, or of two
    UNANSWERABLE = "unanswerable"  # the documents do not say
    FALSE_PREMISE = "false_premise"  # a question that supposes what is wrong, put right with a quote
    INSTRUCTION = "instruction"  # a task, with or without material to work on
    CONVERSATION = "conversation"  # several turns, of which later ones need the earlier
    CLASSIFICATION = "classification"  # a text and its label
    SPANS = "spans"  # a text and the labelled pieces in it, for token classification (NER)
    PREFERENCE = "preference"  # a better and a worse answer


class Span(Record):
    """A labelled piece of an example's text."""

    start: int = Field(ge=0, description="Offset of the first character in the example's question.")
    end: int = Field(ge=1, description="Offset after the last character.")
    label: str = Field(min_length=1, description="What it is.")


class Example(Record):
    """One training record."""

    id: str = Field(description="Hash of the question and of what it rests on.")
    kind: ExampleKind = Field(description="What the example teaches.")
    question: str = Field(min_length=1, description="The question alone; the task, or the text to label.")
    answer: str = Field(min_length=1, description="The answer to be learnt, with its quotes.")
    language: Language = Field("en", description="Language of the question.")
    messages: tuple[Message, ...] = Field((), description="The conversation to train on, answer last.")
    chunks: tuple[str, ...] = Field((), description="Ids of the chunks shown, in the order shown.")
    sources: tuple[str, ...] = Field((), description="Ids of the chunks that it was written from; empty if imported.")
    quotes: tuple[Quote, ...] = Field((), description="What the answer rests on; empty if on nothing.")
    label: str = Field("", description="Class of the text, for classification.")
    spans: tuple[Span, ...] = Field((), description="Labelled pieces of the text, in order, for token classification.")
    rejected: str = Field("", description="The worse answer of a preference pair.")
    degradation: str = Field("", description="What was done to the better answer to make the worse; empty if judged.")
    attributes: dict[str, str] = Field(
        default_factory=dict, description="What was asked for: subtopic, persona, difficulty, form and the like."
    )
    parents: tuple[str, ...] = Field((), description="Ids of the examples that it was made from by augmentation.")
    calls: tuple[str, ...] = Field((), description="Keys of the calls in the ledger that it came from.")
    flags: tuple[str, ...] = Field((), description="What a person should look at: toxicity, bias.")
    teacher: str = Field(description="Model that wrote it; 'import' if it was not written here.")
    prompt: str = Field(description="Prompt that asked for it, as name@version.")
    scores: dict[str, float] = Field(default_factory=dict, description="What the checks measured.")
    split: Split | None = Field(None, description="Where it belongs; None before curation.")

    @property
    def source(self) -> str:
        """Id of the first chunk that it was written from; empty if there is none."""
        return self.sources[0] if self.sources else ""


class Rejection(Record):
    """What was dropped, by which check, and why."""

    check: str = Field(description="Name of the check; rejections are counted by it.")
    reason: str = Field(description="What was wrong, in words.")
    text: str = Field(description="What was dropped: the question, or the raw reply.")
    source: str = Field("", description="Id of the chunk that it came from.")
    example: Example | None = Field(None, description="The whole record, where it had become one.")
    calls: tuple[str, ...] = Field((), description="Keys of the calls in the ledger that it came from.")


def rejected(example: Example, *, check: str, reason: str) -> Rejection:
    """Return the rejection of an example, which keeps it whole."""
    return Rejection(
        check=check, reason=reason, text=example.question, source=example.source, example=example, calls=example.calls
    )


class Subtopics(Record):
    """What the teacher is asked to return about a topic."""

    subtopics: tuple[str, ...] = Field(min_length=1, max_length=40, description="Short titles, no two alike.")


class Notes(Record):
    """What the teacher is asked to return about one subtopic."""

    paragraphs: tuple[str, ...] = Field(
        min_length=1, max_length=8, description="Paragraphs of two to five sentences, each full of facts."
    )


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def content_id(*parts: str) -> str:
    """Return a short stable id of `parts`: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def write_records(path: Path, records: Iterable[BaseModel]) -> int:
    """Write `records` as JSONL, replacing the file at once; return how many there were."""
    partial = path.with_name(path.name + ".partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(record.model_dump_json() + "\n")
                count += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_records(path: Path, record: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Read a JSONL file, one validated record a line.

    Raises:
        DataError: The file is missing, or a line is not such a record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                yield record.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors()[0]
                where = ".".join(map(str, problem["loc"])) or "the line"
                raise DataError(
                    f"{path.name} line {number} is not a valid {record.__name__}: {where}: {problem['msg']}",
                    path=path,
                    hint="Repair or remove that line.",
                ) from error
