"""`data explain`: the whole life of a record: its documents, prompts, calls, checks and scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.dataset.files import CHUNKS, EXAMPLES, REJECTED, REJECTED_BY_CURATION, split_file
from pipelines.errors import DataError
from pipelines.operation import Context, Operation, Positional
from pipelines.records import SPLITS, Chunk, Example, Name, Rejection, read_records

_SHORTEST_ID = 4


class ExplainParams(BaseModel):
    """Which record to explain."""

    dataset: Annotated[Name, Positional()] = Field(description="Name of the dataset.")
    record: Annotated[str, Positional()] = Field(
        min_length=1, description="Id of an example, or its first characters, or the whole question."
    )


class ExplainedChunk(BaseModel):
    """A passage that the record rests on."""

    chunk: str
    document: str
    start: int
    end: int
    page: int | None
    text: str


class ExplainedCall(BaseModel):
    """One call that the record came from."""

    key: str
    model: str
    asked: str
    answered: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    seconds: float


class ExplainReport(BaseModel):
    """The life of a record."""

    dataset: str
    id: str
    state: str  # kept, or rejected by which check and why
    splits: list[str]
    example: Example | None
    passages: list[ExplainedChunk]
    calls: list[ExplainedCall]
    made_from: list[str]
    made_into: list[str]


def explain_example(params: ExplainParams, context: Context) -> ExplainReport:
    """Tell the whole life of a record: documents, prompts, calls, checks and scores."""
    folder = context.workspace.dataset(params.dataset)
    if not folder.is_dir():
        known = ", ".join(context.workspace.names("datasets")) or "none"
        raise DataError(f"there is no dataset {params.dataset!r}; known: {known}", path=folder)
    found = list(_found(folder, params.record))
    # What was dropped before it became an example has no id, and is meant only if nothing else is.
    found = [each for each in found if each[0]] or found
    if len(written := {example.id for example in _examples(folder)} & {each[0] for each in found}) == 1:
        # Curation asks a question again without its passage, and pairs it: such copies are meant by their ids.
        found = [each for each in found if each[0] in written]
    if not found:
        raise DataError(
            f"no record of {params.dataset} is called {params.record!r}",
            path=folder,
            hint="The ids are in its files; the beginning of one is enough, and so is the whole question.",
        )
    if len(ids := sorted({identity for identity, _state, _item in found})) > 1:
        raise DataError(
            f"{params.record!r} means {len(ids)} records: {', '.join(ids[:8])}",
            path=folder,
            hint="Name one of them by its whole id.",
        )
    example = next((item for _id, _state, item in found if isinstance(item, Example)), None)
    rejection = next((item for _id, _state, item in found if isinstance(item, Rejection)), None)
    shown = example or (rejection.example if rejection else None)
    calls = shown.calls if shown else rejection.calls if rejection else ()
    sources = shown.sources if shown else (rejection.source,) if rejection else ()
    return ExplainReport(
        dataset=params.dataset,
        id=found[0][0],
        state="; ".join(dict.fromkeys(state for _id, state, _item in found)),
        splits=[item.split for _id, _state, item in found if isinstance(item, Example) and item.split],
        example=shown,
        passages=_passages(folder, sources),
        calls=_calls(calls, context),
        made_from=list(shown.parents) if shown else [],
        made_into=[each.id for each in _examples(folder) if shown and shown.id in each.parents],
    )


EXPLAIN_EXAMPLE = Operation(params=ExplainParams, report=ExplainReport, run=explain_example, is_reading=True)


def _found(folder: Path, wanted: str) -> Iterator[tuple[str, str, Example | Rejection]]:
    """Yield the records that are meant, from the last stage to the first: id, what became of it, and itself."""
    for split in SPLITS:
        for example in _read(folder / split_file(split)):
            if _is_meant(example.id, example.question, wanted):
                yield example.id, f"in the {split} split", example
    for example in _examples(folder):
        if _is_meant(example.id, example.question, wanted):
            yield example.id, "kept by generation", example
    for name, stage in ((REJECTED_BY_CURATION, "curation"), (REJECTED, "generation")):
        path = folder / name
        for rejection in read_records(path, Rejection) if path.is_file() else ():
            identity = rejection.example.id if rejection.example else ""
            if _is_meant(identity, rejection.text, wanted):
                yield identity, f"rejected by {stage}: {rejection.check}: {rejection.reason}", rejection


def _is_meant(identity: str, question: str, wanted: str) -> bool:
    return question == wanted or (len(wanted) >= _SHORTEST_ID and identity.startswith(wanted))


def _examples(folder: Path) -> Iterator[Example]:
    return _read(folder / EXAMPLES)


def _read(path: Path) -> Iterator[Example]:
    return read_records(path, Example) if path.is_file() else iter(())


def _passages(folder: Path, sources: tuple[str, ...]) -> list[ExplainedChunk]:
    path = folder / CHUNKS
    chunks = {chunk.id: chunk for chunk in read_records(path, Chunk)} if path.is_file() else {}
    return [
        ExplainedChunk(
            chunk=chunk.id, document=chunk.document, start=chunk.start, end=chunk.end, page=chunk.page, text=chunk.text
        )
        for chunk in (chunks.get(source) for source in sources)
        if chunk is not None
    ]


def _calls(keys: tuple[str, ...], context: Context) -> list[ExplainedCall]:
    stored = context.models.ledger.find(keys) if keys else {}
    return [
        ExplainedCall(
            key=call.key,
            model=call.model,
            asked=_asked(call.request),
            answered=call.response,
            tokens_in=call.tokens_in,
            tokens_out=call.tokens_out,
            cost_usd=call.cost_usd,
            seconds=call.seconds,
        )
        for call in (stored.get(key) for key in keys)
        if call is not None
    ]


def _asked(request: str) -> str:
    """Return the messages of a stored request as text."""
    try:
        messages = json.loads(request)["messages"]
        return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)
    except (ValueError, KeyError, TypeError):
        return request
