"""Where questions with known places come from: a dataset made of these documents, or a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import DataError
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.measuring.questions import KnownQuestion, Place, Target, find_quote, join_targets
from pipelines.records import Chunk, Document, Example, ExampleKind, Language, read_records
from pipelines.text import language_of

_SAID = 5  # bad lines that an error tells of
_KINDS = (ExampleKind.GROUNDED, ExampleKind.FALSE_PREMISE)
_COLUMNS = "question, document, quote, start, end, passage, answerable, language"


class QuestionLine(BaseModel):
    """One line of a person's own file."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1)
    document: str | None = None
    quote: str | None = None
    start: int | None = Field(None, ge=0)
    end: int | None = Field(None, ge=1)
    passage: str | None = None
    answerable: bool = True
    language: Language | None = None

    @property
    def is_unanswerable(self) -> bool:
        """Whether the line says so, or says that no document answers."""
        no_document = "document" in self.model_fields_set and self.document is None
        return not self.answerable or (no_document and self.passage is None)


@dataclass(kw_only=True)
class Questions:
    """What was read, and how much of it does not fit the collection."""

    questions: list[KnownQuestion]
    left_out: int = 0
    outside: int = 0  # questions of which some place lies in no chunk, so that nothing can find it


@dataclass(kw_only=True)
class Collection:
    """The documents and chunks of a collection, in memory."""

    ledger: KnowledgeLedger
    chunks: dict[str, list[Chunk]] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for chunk in self.ledger.chunks():
            self.chunks.setdefault(chunk.document, []).append(chunk)

    def document(self, name: str) -> Document | None:
        """Return a document; None if the collection does not hold it."""
        if name not in self.documents:
            try:
                self.documents[name] = self.ledger.document(name)
            except DataError:
                return None
        return self.documents[name]


def read_file(path: Path, ledger: KnowledgeLedger) -> Questions:
    """Return the questions of a JSONL or CSV file.

    Raises:
        DataError: It cannot be read, or lines of it are wrong; it says which, and why.
    """
    collection = Collection(ledger=ledger)
    found, wrong = [], []
    for number, record in _lines(path):
        try:
            found.append(_question(QuestionLine.model_validate(record), collection))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            said = f"{where}: {problem['msg']}" if where else 'expected an object, such as {"question": ...}'
            wrong.append(f"line {number}: {said}")
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f" (and {len(wrong) - _SAID} lines more)" if len(wrong) > _SAID else ""
        raise DataError(
            f"{path.name}: {'; '.join(wrong[:_SAID])}{more}",
            path=path,
            hint=f"Repair or remove these lines, or name another --collection. Fields are {_COLUMNS}.",
        )
    return _checked(found, path, collection)


def read_dataset(folder: Path, ledger: KnowledgeLedger) -> Questions:
    """Return the questions of a dataset's examples that rest on documents, or on none.

    Those whose documents are not in the collection, or have changed, are left out and counted.
    """
    path = folder / "examples.jsonl"
    if not path.is_file():
        raise DataError(
            f"there is no dataset in {folder}",
            path=folder,
            hint="Make one with: assistant data generate, or pass --questions FILE.",
        )
    chunks_file = folder / "chunks.jsonl"
    chunks = {chunk.id: chunk for chunk in read_records(chunks_file, Chunk)} if chunks_file.is_file() else {}
    collection = Collection(ledger=ledger)
    found, left_out = [], 0
    for example in read_records(path, Example):
        if example.kind not in (*_KINDS, ExampleKind.UNANSWERABLE):
            continue
        targets = _example_targets(example, chunks, collection)
        if targets or example.kind is ExampleKind.UNANSWERABLE:
            found.append(KnownQuestion(question=example.question, language=example.language, targets=targets))
        else:
            left_out += 1
    questions = _checked(found, path, collection)
    questions.left_out = left_out
    return questions


def _checked(found: list[KnownQuestion], path: Path, collection: Collection) -> Questions:
    if not any(each.is_answerable for each in found):
        raise DataError(
            f"{path} holds no question that this collection answers",
            path=path,
            hint="Name the collection that the questions are about with --collection.",
        )
    return Questions(questions=found, outside=sum(_is_outside(each, collection) for each in found))


def _is_outside(question: KnownQuestion, collection: Collection) -> bool:
    return not all(
        any(place.is_in(chunk) for place in target for chunk in collection.chunks.get(place.document, ()))
        for target in question.targets
    )


def _example_targets(example: Example, chunks: dict[str, Chunk], collection: Collection) -> tuple[Target, ...]:
    """Return where an example's answer stands; nothing if any of it is not there any more."""
    if example.kind is ExampleKind.UNANSWERABLE:
        return ()
    wanted = [(each.document, each.start, each.end, each.quote) for each in example.quotes]
    if not wanted:
        known = [chunks[each] for each in example.sources if each in chunks]
        wanted = [(each.document, each.start, each.end, each.text) for each in known]
    targets: list[Target] = []
    for name, start, end, text in wanted:
        document = collection.document(name)
        if document is None:
            return ()
        stands = document.text[start:end] == text
        target = (Place(name, start, end),) if stands else find_quote(text, document)
        if not target:
            return ()
        targets.append(target)
    return join_targets(targets, collection.chunks)


def _question(line: QuestionLine, collection: Collection) -> KnownQuestion:
    """Return what a line says.

    Raises:
        ValueError: It says what the collection does not hold.
    """
    language = line.language or language_of(line.question)
    if line.is_unanswerable:
        return KnownQuestion(question=line.question, language=language)
    return KnownQuestion(question=line.question, language=language, targets=(_target(line, collection),))


def _target(line: QuestionLine, collection: Collection) -> Target:
    if line.passage is not None:
        chunk = collection.ledger.find_chunks([line.passage]).get(line.passage)
        if chunk is None:
            raise ValueError(f"the collection holds no passage {line.passage!r}")
        return (Place(chunk.document, chunk.start, chunk.end),)
    if line.document is None:
        raise ValueError('expected "document", or "answerable": false')
    document = collection.document(line.document)
    if document is None:
        raise ValueError(f"the collection holds no document {line.document!r}")
    if line.quote is not None:
        target = find_quote(line.quote, document)
        if not target:
            raise ValueError(f"this quote does not stand in {line.document}: {line.quote[:60]!r}")
        return target
    if line.start is None and line.end is None:
        return (Place(document.id),)
    if line.start is None or line.end is None or not line.start < line.end <= len(document.text):
        raise ValueError(
            f"expected 0 <= start < end <= {len(document.text)} in {line.document}, got {line.start} and {line.end}"
        )
    return (Place(document.id, line.start, line.end),)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number and fields; empty cells of a table are fields that are not there."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                rows = csv.DictReader(file, strict=True)
                for row in rows:
                    yield rows.line_num, {str(name): value for name, value in row.items() if value not in ("", None)}
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is not UTF-8", path=path, hint="Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path.name} line {number} is not JSON: {error.msg}", path=path) from error
    except csv.Error as error:
        raise DataError(f"{path.name} line {rows.line_num} is not CSV: {error}", path=path) from error
