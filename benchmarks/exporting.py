"""How quickly half a million records are exported in each format, and in how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from benchmarks.measure import Row, peak_mb
from pipelines.dataset.diff import DiffParams, diff_datasets
from pipelines.dataset.export import ExportParams, export_dataset
from pipelines.dataset.files import split_file
from pipelines.dataset.formats.rows import FormatName
from pipelines.operation import open_context
from pipelines.records import Example, ExampleKind, Message, Quote, content_id, write_records

_RECORDS = 500_000
_LARGEST_MB = 300
_DATASET = "half-million"
_SENTENCE = "The brass lantern number {number} is kept in the cellar, behind the door that opens on weekdays. 铜灯。"


def measure() -> list[Row]:
    """Export the same records in each format, each in a process of its own; compare them with themselves."""
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Path(folder))
        context.workspace.make()
        dataset = context.workspace.dataset(_DATASET)
        dataset.mkdir(parents=True)
        write_records(dataset / split_file("train"), _records(_RECORDS))
        return [*(_export(name, folder) for name in get_args(FormatName)), _diff(folder)]


def _export(name: FormatName, folder: str) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as target:
        measured = _in_child("export", folder, name, str(Path(target, name)))
    return Row(
        what=f"data export --format {name}, {_RECORDS:,} records",
        figure=f"{_RECORDS / measured['seconds']:,.0f} records/s ({measured['seconds']:.0f} s)",
        against=f"{_LARGEST_MB} MB",
        ratio=_LARGEST_MB / measured["peak_mb"],
        peak_mb=int(measured["peak_mb"]),
    )


def _diff(folder: str) -> Row:
    measured = _in_child("diff", folder)
    return Row(
        what=f"data diff, {_RECORDS:,} records",
        figure=f"{_RECORDS / measured['seconds']:,.0f} records/s ({measured['seconds']:.0f} s)",
        peak_mb=int(measured["peak_mb"]),
    )


def _in_child(*arguments: str) -> dict[str, float]:
    """Run a task where nothing else has taken memory; return its seconds and its peak."""
    command = [sys.executable, "-m", "benchmarks.exporting", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise RuntimeError(finished.stderr)
    measured: dict[str, float] = json.loads(finished.stdout)
    return measured


def _records(count: int) -> Iterator[Example]:
    """Yield preference pairs with three passages each, which every format has a place for."""
    for number in range(count):
        sentence = _SENTENCE.format(number=number)
        question = f"Where is the brass lantern number {number} kept?"
        passages = "\n".join(f"[{place}] {sentence * 4}" for place in (1, 2, 3))
        yield Example(
            id=content_id(question),
            kind=ExampleKind.PREFERENCE,
            question=question,
            answer=f'"{sentence}" [1]',
            messages=(
                Message(role="system", content="Answer with a quote of the passages, and its number."),
                Message(role="user", content=f"{passages}\n\n{question}"),
                Message(role="assistant", content=f'"{sentence}" [1]'),
            ),
            sources=(content_id(sentence),),
            quotes=(Quote(document="house.md", quote=sentence, start=0, end=len(sentence)),),
            rejected="It is kept somewhere in the house.",
            degradation="no quote",
            attributes={"difficulty": "easy", "form": "where"},
            teacher="benchmark",
            prompt="benchmark@1",
            scores={"novelty": 0.5, "judge": 4.0},
            split="train",
        )


def _child(task: str, folder: str, *arguments: str) -> None:
    context = open_context(Path(folder))
    started = time.perf_counter()
    if task == "export":
        name, into = arguments
        export_dataset(ExportParams.model_validate({"dataset": _DATASET, "format": name, "into": into}), context)
    else:
        diff_datasets(DiffParams(before=_DATASET, after=_DATASET), context)
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
