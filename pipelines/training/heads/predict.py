"""`train predict`: labels by a trained head, for one text or for a file of any length."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from pipelines.errors import DataError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name
from pipelines.training.heads.train import find_base
from pipelines.workspace import replacing

if TYPE_CHECKING:
    from pipelines.models import hardware
    from pipelines.training.heads import labeller, model
else:
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    labeller = lazy_import("pipelines.training.heads.labeller", extra="train")
    model = lazy_import("pipelines.training.heads.model", extra="train")

# Texts that are in memory at once; they are sorted by length to be computed together.
_TEXTS_AT_ONCE = 512
_SHOWN = 3
_TEXT_FIELDS = ("text", "question")


class PredictParams(BaseModel):
    """What to label, and by which head."""

    adapter: Annotated[Name, Positional()] = Field(description="Name under which the head was trained.")
    text: str = Field("", description="Text to label.")
    file: Path | None = Field(None, description="JSONL file with a text on each line.")
    output: Path | None = Field(None, description="JSONL file to write; beside the other one if not given.")


class FoundSpan(BaseModel):
    """A labelled piece of a text."""

    start: int
    end: int
    label: str
    text: str
    score: float  # mean probability of its words' tags


class Prediction(BaseModel):
    """What a head says of a text: a label, or pieces."""

    text: str
    label: str | None
    score: float | None  # probability of the label
    spans: list[FoundSpan] | None


class PredictReport(BaseModel):
    """What was labelled."""

    adapter: str
    path: str  # file that was written; empty for one text
    texts: int
    cut: int  # texts of which the end was not read
    labels: dict[str, int]
    predictions: list[Prediction]  # the first few


def predict_labels(params: PredictParams, context: Context) -> PredictReport:
    """Label one text, or each text of a JSONL file, by a trained head."""
    if bool(params.text.strip()) == (params.file is not None):
        raise SettingsError("expected either a text or a file", hint="Pass --text or --file.")
    folder = context.workspace.adapter(params.adapter)
    base_folder = find_base(model.read_config(folder).base, context)
    hardware.prepare_torch(threads=context.settings.threads)
    opened = labeller.open_labeller(folder, base_folder=base_folder)
    run = _Run(opened, params.adapter, context)
    if params.file is None:
        run.label([{"text": params.text}], None)
        return run.report(path="")
    source = context.resolve(params.file)
    target = context.resolve(params.output or source.with_name(f"{source.stem}.predicted.jsonl"))
    if target.exists():
        raise DataError(f"there is a file {target} already", path=target, hint="Name another one with --output.")
    with _opened(source) as lines, replacing(target) as file:
        records = _records(lines, source)
        while batch := list(itertools.islice(records, _TEXTS_AT_ONCE)):
            run.label(batch, file)
            context.progress("labelling", run.texts)
        if not run.texts:
            raise DataError(f"{source.name} holds no text", path=source)
    return run.report(path=str(target))


PREDICT = Operation(params=PredictParams, report=PredictReport, run=predict_labels)


class _Run:
    """Labels batch after batch, and counts."""

    def __init__(self, opened: labeller.Labeller, adapter: str, context: Context) -> None:
        self.texts = 0
        self._opened = opened
        self._adapter = adapter
        self._context = context
        self._cut = 0
        self._labels: Counter[str] = Counter()
        self._first: list[Prediction] = []

    def label(self, records: list[dict[str, Any]], file: IO[str] | None) -> None:
        """Label records and write them with what was found; other fields stay as they are."""
        texts = [_text_of(record) for record in records]
        found, cut = self._opened.label(texts)
        self._cut += cut
        self.texts += len(texts)
        for record, text, each in zip(records, texts, found, strict=True):
            prediction = _prediction(text, each)
            spans = prediction.spans or []
            self._labels.update([prediction.label] if prediction.label else [span.label for span in spans])
            if len(self._first) < _SHOWN:
                self._first.append(prediction)
            if file is not None:
                said = prediction.model_dump(mode="json", exclude={"text"}, exclude_none=True)
                file.write(json.dumps({**record, **said}, ensure_ascii=False) + "\n")

    def report(self, *, path: str) -> PredictReport:
        """Return what was done, and say what was not read."""
        if self._cut:
            self._context.notice(f"of {self._cut} texts only the beginning was read")
        return PredictReport(
            adapter=self._adapter,
            path=path,
            texts=self.texts,
            cut=self._cut,
            labels=dict(self._labels.most_common()),
            predictions=self._first,
        )


def _prediction(text: str, found: labeller.LabelledText) -> Prediction:
    if found.label:
        return Prediction(text=text, label=found.label, score=round(found.score, 4), spans=None)
    spans = [
        FoundSpan(
            start=span.start, end=span.end, label=span.label, text=text[span.start : span.end], score=round(score, 4)
        )
        for span, score in zip(found.spans, found.span_scores, strict=True)
    ]
    return Prediction(text=text, label=None, score=None, spans=spans)


def _opened(source: Path) -> IO[bytes]:
    try:
        return source.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror}", path=source) from error


def _records(lines: IO[bytes], source: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file.

    Raises:
        DataError: A line is no record with a text.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _bad_line(source, number, "is not JSON") from error
        if not isinstance(record, dict) or not _text_of(record).strip():
            raise _bad_line(source, number, "has no text")
        yield record


def _text_of(record: dict[str, Any]) -> str:
    return next((record[name] for name in _TEXT_FIELDS if isinstance(record.get(name), str)), "")


def _bad_line(source: Path, number: int, problem: str) -> DataError:
    return DataError(f"{source.name} line {number} {problem}", path=source, hint="Repair or remove that line.")
