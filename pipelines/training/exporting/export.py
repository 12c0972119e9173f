"""`train export`: a trained adapter in the forms that other programs run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.manifest import file_hash
from pipelines.models.catalog import ADAPTER_WEIGHTS, DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Conversation, Name, read_records
from pipelines.training.exporting.card import Facts, read_scores, read_training, write_card
from pipelines.training.exporting.formats import (
    DEFAULT_FORMATS,
    WHOLE_GGUF,
    ExportFormat,
    gguf_of_modelfile,
    read_formats,
)
from pipelines.training.exporting.place import ExportedFormat, Place, check_space, size_mb, staged
from pipelines.training.place import HEAD_WEIGHTS, is_adapter, is_head

if TYPE_CHECKING:
    from pipelines.models import hardware
    from pipelines.training.exporting import write
    from pipelines.training.exporting.compare import Conversations
else:
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    write = lazy_import("pipelines.training.exporting.write", extra="train")

EXPORTS = "exports"
_LAYOUT = 1  # of what is written here; raised when the same adapter gives other files
_CONVERSATIONS = 32
_LONGEST_CHARS = 12_000  # of a conversation to compare on; a longer one takes too much memory


class ExportParams(BaseModel):
    """What to export, and as what."""

    adapter: Annotated[Name, Positional()] = Field(description="Adapter to export.")
    formats: str = Field(
        DEFAULT_FORMATS, description=f"Formats to write, separated by commas: {', '.join(ExportFormat)}."
    )
    output: Path | None = Field(None, description="Folder to write into; exports/ADAPTER if not given.")
    base: str = Field("", description="Base model of the adapter; the one that training recorded if not given.")


class ExportReport(BaseModel):
    """What was written, and how each format compares with the original."""

    adapter: str
    base: str
    path: str
    compared_on: str
    conversations: int
    formats: list[ExportedFormat]
    seconds: float


def export_adapter(params: ExportParams, context: Context) -> ExportReport:
    """Write an adapter for other programs: merged, GGUF, Ollama; each is compared with the original."""
    started = time.monotonic()
    formats = read_formats(params.formats)
    sources = _sources(params, context, formats)
    output = context.workspace.root / EXPORTS / params.adapter
    if params.output is not None:
        output = context.resolve(params.output)
    write.check_formats(sources, formats)
    places = _places(sources, formats, output)
    results = {kind: done for kind, place in places.items() if (done := place.finished()) is not None}
    compared_on, conversations = _conversations(sources, context)
    missing = [kind for kind in formats if kind not in results]
    if missing:
        facts = Facts(
            name=params.adapter,
            base=sources.base_name,
            training=read_training(sources.adapter),
            scores=read_scores(sources.adapter),
            compared=f"{len(conversations)} conversations of {compared_on}",
        )
        _export(context, sources, facts, conversations, places, missing, results)
    else:
        context.notice(f"the export in {output} is up to date")
    return ExportReport(
        adapter=params.adapter,
        base=sources.base_name,
        path=str(output),
        compared_on=compared_on,
        conversations=len(conversations),
        formats=[results[kind] for kind in formats],
        seconds=round(time.monotonic() - started, 1),
    )


EXPORT_ADAPTER = Operation(params=ExportParams, report=ExportReport, run=export_adapter)


def _sources(params: ExportParams, context: Context, formats: tuple[ExportFormat, ...]) -> write.Sources:
    folder = context.workspace.adapter(params.adapter)
    if is_head(folder) and not is_adapter(folder):
        raise DataError(
            f"{params.adapter!r} is a head, and not an adapter of a chat model: there is no other format for it",
            path=folder,
            hint=f"Use it with: assistant train predict {params.adapter} --text TEXT; "
            f"judge it with: assistant evaluate {params.adapter}. Its weights are in {folder / HEAD_WEIGHTS}.",
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise DataError(
            f"there is no adapter {params.adapter!r}",
            path=folder,
            hint=f"Train it: assistant train start {params.adapter}",
        )
    recorded = read_training(folder).get("base")
    base = params.base or (recorded if isinstance(recorded, str) else DEFAULT_BASE_MODEL)
    context.check_model(base)
    return write.Sources(
        name=params.adapter,
        base_name=Path(base).name,
        base=context.models.base_folder(base),
        adapter=folder,
        gguf=gguf_of_modelfile(formats) if ExportFormat.OLLAMA in formats else None,
    )


def _places(sources: write.Sources, formats: Sequence[ExportFormat], output: Path) -> dict[ExportFormat, Place]:
    """Return where each format goes, with all that its files are made from."""
    files = [*sorted(sources.adapter.glob("adapter_*")), *sorted(sources.base.iterdir())]
    hashes = {f"{path.parent.name}/{path.name}": file_hash(path) for path in files if path.is_file()}
    common = {"layout": _LAYOUT, "name": sources.name, "files": hashes}
    return {
        kind: Place(
            folder=output / kind,
            inputs={**common, "format": kind, "gguf": sources.gguf if kind is ExportFormat.OLLAMA else None},
        )
        for kind in formats
    }


def _conversations(sources: write.Sources, context: Context) -> tuple[str, Conversations]:
    """Return on what the exports are compared: answers that the adapter was not trained on."""
    dataset = read_training(sources.adapter).get("dataset", sources.name)
    folder = context.workspace.dataset(str(dataset))
    for split in ("test", "validation"):
        path = folder / f"{split}.jsonl"
        if path.is_file():
            read = (conversation.messages for conversation in read_records(path, Conversation))
            short = [each for each in read if sum(len(message.content) for message in each) <= _LONGEST_CHARS]
            if short:
                return f"the {split} split", short[:_CONVERSATIONS]
    context.notice(f"{sources.name} has no test or validation split, so its exports are not compared with it")
    return "nothing", []


def _export(
    context: Context,
    sources: write.Sources,
    facts: Facts,
    conversations: Conversations,
    places: Mapping[ExportFormat, Place],
    missing: Sequence[ExportFormat],
    results: dict[ExportFormat, ExportedFormat],
) -> None:
    """Write the formats that are missing; each is published as soon as it is whole."""
    context.models.forget_engines()
    hardware.prepare_torch(threads=context.settings.threads)
    context.progress("exporting", 0, len(missing), format="merging")
    student = write.open_student(sources, conversations)
    output = places[missing[0]].folder.parent
    check_space(output, needed=write.needed_bytes(student, missing))
    original = student.loss
    with staged(output) as staging:
        for number, kind in enumerate(missing, start=1):
            folder = staging / kind
            folder.mkdir()
            comparison = write.write_format(kind, student, folder)
            loss = comparison.loss
            if kind is ExportFormat.OLLAMA and sources.gguf is not None:
                loss = results[sources.gguf].loss
            result = _result(kind, folder, loss, original, tokens_equal=comparison.tokens_equal)
            file = write.gguf_name(kind, sources.name) if kind in (*WHOLE_GGUF, ExportFormat.GGUF_ADAPTER) else ""
            write_card(folder, facts, result, file=file, beside=str(sources.gguf or ""))
            results[kind] = places[kind].publish(folder, result)
            if result.tokens_equal is False:
                context.notice(f"{kind} splits some conversations into other tokens than the training did")
            context.progress("exporting", number, len(missing), format=kind.value)


def _result(
    kind: ExportFormat, folder: Path, loss: float | None, original: float | None, *, tokens_equal: bool | None
) -> ExportedFormat:
    difference = None if loss is None or not original else round((loss / original - 1) * 100, 3)
    return ExportedFormat(
        format=kind,
        path="",
        size_mb=size_mb(folder),
        loss=None if loss is None else round(loss, 5),
        original_loss=None if original is None else round(original, 5),
        difference_percent=difference,
        tokens_equal=tokens_equal,
    )
