"""A file of existing data: what it is, and what each of its records says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.dataset.imports.chats import Speakers, find_assistant, find_speakers, is_chat, read_chats
from pipelines.dataset.imports.encoding import Encoding, detect_encoding, open_text
from pipelines.dataset.imports.formats import (
    Container,
    Entry,
    Problem,
    detect_container,
    read_json_lines,
    read_json_values,
    read_table,
)
from pipelines.dataset.imports.shapes import COLUMNS, SHAPES, Columns, Parts, conversation, read_parts
from pipelines.errors import DataError
from pipelines.text import clean_text

EXPECTED = (
    "Expected JSON or JSONL (messages, conversations, instruction and output, question and answer, text and label, "
    "text and spans, or chosen and rejected), CSV with such columns, or a chat log of 'name: text' lines"
)
_HEAD_CHARACTERS = 100_000
_SHOWN = 200
_CONTAINERS: dict[str, Container] = {"csv": "csv", "chat-log": "chat-log"}
_DEEPEST = 3  # lists in lists, as in SQuAD: articles, paragraphs, questions


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, and how it is to be read."""

    path: Path
    encoding: Encoding
    container: Container
    shape: str
    columns: Columns
    speakers: Speakers | None = None  # of a chat log
    assistant: str = ""

    @property
    def name(self) -> str:
        """Name of the form in which the file is written."""
        return self.shape if self.shape in SHAPES else self.container

    def read(self) -> Iterator[tuple[str, Parts] | Problem]:
        """Yield where each record begins and what it says, or why it cannot be used.

        Raises:
            DataError: The first line of a table holds no column names.
        """
        return self._read_records() if self.speakers is None else self._read_chats(self.speakers)

    def _read_records(self) -> Iterator[tuple[str, Parts] | Problem]:
        with open_text(self.path, self.encoding, newline="" if self.container == "csv" else None) as file:
            if self.container == "csv":
                entries = read_table(file, columns=(*COLUMNS, *self.columns.named))
            elif self.container == "jsonl":
                entries = read_json_lines(file)
            else:
                entries = read_json_values(file)
            for entry in entries:
                if isinstance(entry, Problem):
                    yield entry
                else:
                    yield from self._unfolded(entry, depth=_DEEPEST)

    def _unfolded(self, entry: Entry, *, depth: int) -> Iterator[tuple[str, Parts] | Problem]:
        """Yield what a record says, or the records in it if it is only their wrapping: {"data": [...]}."""
        try:
            if self.encoding.is_damaged and "\ufffd" in entry.text:
                raise ValueError(f"holds bytes that are not {self.encoding.name.upper()}")
            parts = read_parts(entry.value, shape=self.shape, columns=self.columns)
        except ValueError as error:
            yield Problem(place=entry.place, reason=str(error), text=entry.text)
            return
        inside = list(_nested(entry)) if parts is None and depth else []
        if parts is not None:
            yield entry.place, parts
        elif not inside:
            yield Problem(place=entry.place, reason=self._shapeless(entry), text=entry.text)
        for each in inside:
            yield from self._unfolded(each, depth=depth - 1)

    def _shapeless(self, entry: Entry) -> str:
        wanted = f" in the form {self.shape}" if self.shape in SHAPES else ""
        fields = ", ".join(map(str, entry.value)) if isinstance(entry.value, dict) else ""
        return f"holds no question with an answer{wanted}; its fields are: {fields[:_SHOWN] or 'none'}"

    def _read_chats(self, speakers: Speakers) -> Iterator[tuple[str, Parts] | Problem]:
        with open_text(self.path, self.encoding) as file:
            for read in read_chats(file, speakers, assistant=self.assistant):
                if isinstance(read, Problem):
                    yield read
                    continue
                place, turns = read
                try:
                    yield place, conversation(turns)
                except ValueError as error:
                    yield Problem(place=place, reason=str(error), text="\n".join(text for _role, text in turns))


def open_source(path: Path, *, form: str, question: str, answer: str, assistant: str, encoding: str) -> Source:
    """Find out how a file is to be read, by its first characters.

    Args:
        path: The file.
        form: Form that it is said to have; "auto" to tell by its content.
        question: Column or field of the question; empty to try the usual names.
        answer: Column or field of the answer.
        assistant: Speaker of a chat log whose words are to be learnt.
        encoding: Encoding that it is said to have; empty to tell by its bytes.

    Raises:
        DataError: It cannot be read, is nothing that can be taken in, or is a chat log of
            which it cannot be told who is the assistant.
    """
    found = detect_encoding(path, declared=encoding)
    columns = Columns(question=question, answer=answer)
    container = _CONTAINERS.get(form) or _container(path, found, columns)
    if (form == "jsonl" and container == "csv") or (form != container == "chat-log" and form != "auto"):
        raise DataError(f"{path.name} is not {form}, but looks like {container}", path=path, hint="Leave out --format.")
    source = Source(path=path, encoding=found, container=container, shape=form, columns=columns)
    if container != "chat-log":
        return source
    with open_text(path, found) as file:
        speakers = find_speakers(file)
    return dataclasses.replace(source, speakers=speakers, assistant=find_assistant(speakers, assistant))


def _container(path: Path, encoding: Encoding, columns: Columns) -> Container:
    with open_text(path, encoding) as file:
        head = file.read(_HEAD_CHARACTERS)
    container = detect_container(head, columns=columns.named or COLUMNS, is_chat=is_chat)
    if container is None:
        first = next((line.strip() for line in head.splitlines() if line.strip()), "")
        raise DataError(
            f"cannot tell what {path.name} is; it begins with {clean_text(first)[:80]!r}",
            path=path,
            hint=f"{EXPECTED}. Name its columns with --question and --answer, or its form with --format.",
        )
    return container


def _nested(entry: Entry) -> Iterator[Entry]:
    """Yield the records of the list in an object, with what the object says of them all."""
    if not isinstance(entry.value, dict):
        return
    lists = [each for each in entry.value.values() if _is_records(each)]
    if len(lists) != 1:
        return
    shared = {name: each for name, each in entry.value.items() if isinstance(each, str)}
    for number, each in enumerate(lists[0], start=1):
        yield Entry(place=f"{entry.place}.{number}", value={**shared, **each}, text=str(each))


def _is_records(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, dict) for each in value)
