"""`train list` and `train show`: the adapters of the workspace, beside each other and one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from pipelines.errors import DataError
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name
from pipelines.training.progress import METRICS
from pipelines.training.tracking.curves import read_curves
from pipelines.training.tracking.findings import find

_MANIFEST, _EVALUATION = "manifest.json", "report.json"
_METHOD, _OBJECTIVE = "qlora", "sft"  # of manifests that do not say
_HEAD = "head"  # name of the parameters in the manifest of a head


class ListAdaptersParams(BaseModel):
    """Nothing to choose."""


class AdapterLine(BaseModel):
    """One adapter of the list."""

    adapter: str
    base: str
    state: str
    is_head: bool = Field(False, description="Whether it labels texts or pieces of them, and does not chat.")
    method: str = ""
    objective: str = Field("", description="What was minimised; of a head, what it learnt to label.")
    examples: int = 0
    steps: int = 0
    best_validation_loss: float | None = None
    tokens_per_second: float | None = None
    minutes: float | None = None
    verdict: str = Field("", description="What its evaluation said, if there was one.")
    difference: tuple[float, float] | None = Field(None, description="95% interval of tuned minus base.")
    finished: str = ""
    newest: bool = False


class ListAdaptersReport(BaseModel):
    """The adapters of the workspace."""

    adapters: list[AdapterLine]


class ShowAdapterParams(BaseModel):
    """Which adapter to show."""

    adapter: Annotated[Name, Positional()] = Field(description="Adapter to show.")


class CurveLine(BaseModel):
    """One curve of a run, in a few numbers."""

    curve: str
    points: int
    first: float
    last: float
    lowest: float
    lowest_step: int


class FileLine(BaseModel):
    """One file of an adapter's folder."""

    file: str
    size_bytes: int


class ShowAdapterReport(BaseModel):
    """One adapter: how its run went, and what lies in its folder."""

    adapter: AdapterLine
    path: str
    params: dict[str, JsonValue]
    findings: list[str]
    curves: list[CurveLine]
    files: list[FileLine]


def list_adapters(params: ListAdaptersParams, context: Context) -> ListAdaptersReport:
    """List the adapters of the workspace."""
    del params
    lines = [_line(context.workspace.adapter(name)) for name in context.workspace.names("adapters")]
    newest = max((line.finished for line in lines), default="")
    for line in lines:
        line.newest = bool(newest) and line.finished == newest
    return ListAdaptersReport(adapters=lines)


def show_adapter(params: ShowAdapterParams, context: Context) -> ShowAdapterReport:
    """Show how the run of an adapter went, and the files that it left."""
    folder = context.workspace.adapter(params.adapter)
    if not folder.is_dir():
        raise DataError(
            f"there is no adapter {params.adapter!r}", path=folder, hint="assistant train list shows those there are."
        )
    curves = read_curves(folder / METRICS)
    summary = [
        CurveLine(
            curve=name,
            points=curve.count,
            first=curve.first,
            last=curve.last,
            lowest=curve.lowest,
            lowest_step=curve.lowest_step,
        )
        for name, curve in curves.by_name.items()
    ]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return ShowAdapterReport(
        adapter=_line(folder),
        path=str(folder),
        params=_started_with(_read(folder / _MANIFEST)),
        findings=[finding.text for finding in find(curves)],
        curves=summary,
        files=[FileLine(file=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size) for path in files],
    )


LIST_ADAPTERS = Operation(params=ListAdaptersParams, report=ListAdaptersReport, run=list_adapters, is_reading=True)
SHOW_ADAPTER = Operation(params=ShowAdapterParams, report=ShowAdapterReport, run=show_adapter, is_reading=True)


def _line(folder: Path) -> AdapterLine:
    manifest = _read(folder / _MANIFEST)
    report, params = manifest.get("report"), _started_with(manifest)
    if not isinstance(report, dict):
        return AdapterLine(adapter=folder.name, base="", state="unfinished")
    seconds = report.get("seconds")
    known = {name: report[name] for name in AdapterLine.model_fields if report.get(name) is not None}
    is_head = _HEAD in _inputs(manifest)
    described = {
        "state": "trained",
        "is_head": is_head,
        "method": str(params.get("trained" if is_head else "method", _METHOD)),
        "objective": str(params.get("kind" if is_head else "objective", _OBJECTIVE)),
        "minutes": round(seconds / 60, 1) if isinstance(seconds, int | float) else None,
        "finished": str(manifest.get("finished", "")),
    }
    try:
        line = AdapterLine.model_validate({**known, **described})
    except ValueError:  # another version's, or not ours
        return AdapterLine(adapter=folder.name, base="", state="unfinished")
    return _judged(line, _read(folder / _EVALUATION).get("report"))


def _judged(line: AdapterLine, evaluation: JsonValue) -> AdapterLine:
    """Return the line with what an evaluation said."""
    if isinstance(evaluation, dict):
        line.verdict = str(evaluation.get("verdict") or "")
        ends = evaluation.get("difference")
        if isinstance(ends, dict):
            low, high = ends.get("low"), ends.get("high")
            if isinstance(low, int | float) and isinstance(high, int | float):
                line.difference = (low, high)
    return line


def _started_with(manifest: dict[str, JsonValue]) -> dict[str, JsonValue]:
    inputs = _inputs(manifest)
    params = inputs.get(_HEAD, inputs.get("params"))
    return params if isinstance(params, dict) else {}


def _inputs(manifest: dict[str, JsonValue]) -> dict[str, JsonValue]:
    inputs = manifest.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _read(path: Path) -> dict[str, JsonValue]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
