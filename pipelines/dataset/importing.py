"""`data import`: existing data becomes a dataset that passes the same checks as a written one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.dataset.checks import Check
from pipelines.dataset.files import CHUNKS, EXAMPLES, MANIFEST, REJECTED
from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.operation import Context, Operation, Positional
from pipelines.quotes import check_answer, locate
from pipelines.records import Chunk, Example, ExampleKind, Message, Name, Quote, Rejection, content_id, rejected
from pipelines.text import clean_text, language_of
from pipelines.workspace import locked, replacing

if TYPE_CHECKING:
    from pipelines.dataset.curation import waterfall
    from pipelines.dataset.imports import source as import_source
    from pipelines.dataset.imports.formats import Problem
    from pipelines.dataset.imports.shapes import Parts
    from pipelines.dataset.imports.source import Source
else:
    import_source = lazy_import("pipelines.dataset.imports.source", extra="data")
    waterfall = lazy_import("pipelines.dataset.curation.waterfall", extra="data")

IMPORTED = "import"  # teacher of an example that was not written here
_PROMPT = "import@1"
_PROGRESS_EVERY = 500
_SHOWN_TEXT = 2_000

Format = Literal["auto", "jsonl", "csv", "sharegpt", "alpaca", "openai", "chat-log"]
Kind = Literal[
    "grounded",
    "unanswerable",
    "false_premise",
    "instruction",
    "conversation",
    "classification",
    "spans",
    "preference",
]


class ImportParams(BaseModel):
    """Which file to take in, and how to read it."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset to make.")
    file: Annotated[Path, Positional()] = Field(description="File with the existing data.")
    format: Format = Field("auto", description="How it is written; told by its content unless given.")
    kind: Kind | None = Field(None, description="What its records teach; told by what they hold unless given.")
    question: str = Field("", description="Column or field that holds the question.")
    answer: str = Field("", description="Column or field that holds the answer, or the label.")
    assistant: str = Field("", description="Speaker of a chat log whose words are to be learnt.")
    encoding: str = Field("", description="Encoding of the file; told by its bytes unless given.")
    replace: bool = Field(False, description="Replace a dataset of that name.")


class ImportReport(BaseModel):
    """What became of the records."""

    dataset: str
    path: str
    format: str
    encoding: str
    kept: int
    rejected: dict[str, int]
    kinds: dict[str, int]
    trimmed: int
    problems: list[str]
    samples: list[str]


def import_dataset(params: ImportParams, context: Context) -> ImportReport:
    """Take in existing data: JSON, JSONL, CSV, ShareGPT, Alpaca, OpenAI messages or a chat log."""
    path = context.resolve(params.file)
    if not path.is_file():
        raise DataError(f"there is no file {path}", path=path)
    source = import_source.open_source(
        path,
        form=params.format,
        question=params.question,
        answer=params.answer,
        assistant=params.assistant,
        encoding=params.encoding,
    )
    folder = context.workspace.dataset(params.dataset)
    chosen = params.model_dump(mode="json", exclude={"file", "replace"})
    inputs = {"import": chosen, "name": path.name, "file": file_hash(path)}
    with locked(folder):
        manifest = Manifest(path=folder / MANIFEST, inputs=inputs)
        finished = manifest.finished(ImportReport)
        if finished is not None and (folder / EXAMPLES).is_file():
            context.notice(f"the dataset {params.dataset} already holds this file: {finished.kept} examples")
            return finished
        if (folder / EXAMPLES).is_file() and not params.replace:
            raise DataError(
                f"there is a dataset {params.dataset!r} already, made of something else",
                path=folder,
                hint="Choose another name, or pass --replace.",
            )
        report = write_import(source, params, context, checks=waterfall.text_checks())
        manifest.finish(report)
    return report


IMPORT_DATASET = Operation(params=ImportParams, report=ImportReport, run=import_dataset)


def write_import(
    source: Source, params: ImportParams, context: Context, *, checks: Sequence[Check] = ()
) -> ImportReport:
    """Write the dataset of a file's records; each example passes `checks` in turn.

    Raises:
        DataError: The file cannot be read, or nothing in it is usable.
    """
    folder = context.workspace.dataset(params.dataset)
    counts = _Sorted()
    reader = _Reader(file_name=clean_text(source.path.name), kind=ExampleKind(params.kind) if params.kind else None)
    with ExitStack() as files:
        examples, rejections, chunks = (
            files.enter_context(replacing(folder / name)) for name in (EXAMPLES, REJECTED, CHUNKS)
        )
        for read in source.read():
            made = reader.make(read)
            example, chunk = made if isinstance(made, tuple) else (made, None)
            example = _checked(example, checks) if isinstance(example, Example) else example
            is_new_chunk = counts.add(example, chunk)
            (rejections if isinstance(example, Rejection) else examples).write(example.model_dump_json() + "\n")
            if chunk is not None and is_new_chunk:
                chunks.write(chunk.model_dump_json() + "\n")
            if counts.seen % _PROGRESS_EVERY == 0:
                context.progress("importing", counts.seen, rejected=str(counts.rejected.total()))
        if not counts.kinds:
            raise _nothing_usable(source, counts)
    context.progress("importing", counts.seen, counts.seen, rejected=str(counts.rejected.total()))
    return ImportReport(
        dataset=params.dataset,
        path=str(folder),
        format=source.name,
        encoding=source.encoding.name,
        kept=counts.kinds.total(),
        rejected=dict(counts.rejected),
        kinds=dict(counts.kinds),
        trimmed=reader.trimmed,
        problems=counts.problems,
        samples=counts.samples,
    )


@dataclass
class _Sorted:
    """Counts of what was kept and dropped, with a few of each to show."""

    kinds: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    _chunks: set[str] = field(default_factory=set)

    @property
    def seen(self) -> int:
        """How many records there were so far."""
        return self.kinds.total() + self.rejected.total()

    def add(self, outcome: Example | Rejection, chunk: Chunk | None) -> bool:
        """Count a record; return whether its chunk was not there before."""
        if isinstance(outcome, Rejection):
            self.rejected[outcome.check] += 1
            if len(self.problems) < 3:
                self.problems.append(outcome.reason)
            return False
        self.kinds[outcome.kind.value] += 1
        if len(self.samples) < 3:
            self.samples.append(outcome.question[:200])
        if chunk is None or chunk.id in self._chunks:
            return False
        self._chunks.add(chunk.id)
        return True


def _nothing_usable(source: Source, counted: _Sorted) -> DataError:
    came = "; ".join(counted.problems) or "no record at all"
    return DataError(
        f"nothing in {source.path.name} could be used ({counted.seen} records): {came}",
        path=source.path,
        hint=f"{import_source.EXPECTED}. Name the columns with --question and --answer.",
    )


def _checked(example: Example, checks: Sequence[Check]) -> Example | Rejection:
    for check in checks:
        outcome = check(example)
        if isinstance(outcome, Rejection):
            return outcome
        example = outcome
    return example


# ---- examples


@dataclass
class _Reader:
    """Makes examples of what records say."""

    file_name: str
    kind: ExampleKind | None
    trimmed: int = 0
    _ids: set[str] = field(default_factory=set)

    def make(self, read: tuple[str, Parts] | Problem) -> tuple[Example, Chunk | None] | Rejection:
        """Return an example with the chunk that its record brought, or why there is none."""
        if not isinstance(read, tuple):
            return _rejection(read.place, read.reason, read.text)
        place, parts = read
        try:
            example, chunk = self._example(parts)
        except ValueError as error:
            return _rejection(place, str(error), parts.messages[-2].content)
        if example.id in self._ids:
            return rejected(example, check="exact_duplicate", reason=f"{place} is the same as an earlier record")
        self._ids.add(example.id)
        self.trimmed += parts.trimmed
        return example, chunk

    def _example(self, parts: Parts) -> tuple[Example, Chunk | None]:
        question, answer = parts.messages[-2].content, parts.messages[-1].content
        chunk = self._chunk(parts)
        quotes = _quotes(answer, chunk) if chunk else ()
        kind = self.kind or _kind(parts, quotes)
        if kind is ExampleKind.GROUNDED and not quotes:
            raise ValueError("is to be grounded, but its answer quotes nothing of a passage that it brings")
        if kind is ExampleKind.PREFERENCE and not parts.rejected:
            raise ValueError("is to be a preference, but has no worse answer")
        if kind is ExampleKind.SPANS and parts.spans is None:
            raise ValueError("is to have spans, but brings none")
        said = [each.content for each in parts.messages]
        worse = parts.rejected if kind is ExampleKind.PREFERENCE else ""
        example = Example(
            id=content_id(*said, worse, parts.context),
            kind=kind,
            question=question,
            answer=answer,
            language=language_of(question),
            messages=_messages(parts, kind),
            sources=(chunk.id,) if chunk else (),
            quotes=quotes,
            label=answer if kind is ExampleKind.CLASSIFICATION else "",
            spans=parts.spans or () if kind is ExampleKind.SPANS else (),
            rejected=worse,
            teacher=IMPORTED,
            prompt=_PROMPT,
        )
        return example, chunk

    def _chunk(self, parts: Parts) -> Chunk | None:
        if not parts.context:
            return None
        document = f"{self.file_name}#{content_id(parts.context)[:8]}"
        end = len(parts.context)
        chunk_id = content_id(document, "0", str(end), parts.context)
        return Chunk(id=chunk_id, document=document, start=0, end=end, text=parts.context, heading=parts.title)


def _kind(parts: Parts, quotes: Sequence[Quote]) -> ExampleKind:
    if parts.rejected:
        return ExampleKind.PREFERENCE
    if parts.spans is not None:
        return ExampleKind.SPANS
    if parts.label:
        return ExampleKind.CLASSIFICATION
    if quotes:
        return ExampleKind.GROUNDED
    asked = sum(message.role == "user" for message in parts.messages)
    return ExampleKind.CONVERSATION if asked > 1 else ExampleKind.INSTRUCTION


def _quotes(answer: str, chunk: Chunk) -> tuple[Quote, ...]:
    """Return what an answer takes from its passage, word for word."""
    whole = locate(answer, chunk)
    return (whole,) if whole else check_answer(answer, [chunk]).quotes


def _messages(parts: Parts, kind: ExampleKind) -> tuple[Message, ...]:
    """Return the conversation; where nothing else will show the passage, the question brings it."""
    if not parts.context or kind is ExampleKind.GROUNDED:
        return parts.messages
    asked = Message(role="user", content=f"{parts.context}\n\n{parts.messages[-2].content}")
    return (*parts.messages[:-2], asked, parts.messages[-1])


def _rejection(place: str, reason: str, text: str) -> Rejection:
    # What is wrong with a record may be half a character, which no file could hold.
    whole = [each.encode("utf-8", errors="replace").decode() for each in (f"{place} {reason}", text[:_SHOWN_TEXT])]
    return Rejection(check="schema", reason=clean_text(whole[0]), text=clean_text(whole[1]))
