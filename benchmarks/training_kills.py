"""Kills a training run with `kill -9` at 30 random moments; it has to resume every time and end the same."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.training_rows import write_answers
from pipelines.operation import Context, open_context
from pipelines.training.job import Job, running_job, start_child
from pipelines.training.params import TrainParams, TrainReport
from pipelines.training.progress import METRICS

_KILLS = 30
_EXAMPLES, _EPOCHS = 40, 8
_SECONDS = (3.0, 14.0)  # from the start of a process to its end
_LONGEST_S = 900


def measure() -> list[Row]:
    """Return one row."""
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        context.workspace.make()
        file = write_answers(Path(name) / "answers.jsonl", examples=_EXAMPLES)
        whole = _finish(context, _params(file, "whole"))
        killed, kills, resumed = _killed(context, _params(file, "killed"))
        losses = [_losses(context, adapter) for adapter in ("whole", "killed")]
    apart = max(abs(one - other) / max(one, 1e-3) for one, other in zip(*losses, strict=True))
    figure = (
        f"{kills} kills, resumed after {resumed}; {killed.steps} steps, validation loss "
        f"{killed.best_validation_loss:.5f}, largest difference of a step's loss {apart:.2%}"
    )
    return [Row(what="kill -9 of a QLoRA run", figure=figure, against=f"unkilled: {whole.best_validation_loss:.5f}")]


def _params(file: Path, adapter: str) -> TrainParams:
    return TrainParams(dataset=str(file), adapter=adapter, epochs=_EPOCHS, patience=99)


def _killed(context: Context, params: TrainParams) -> tuple[TrainReport, int, int]:
    """Kill a run again and again; return its report, the kills, and how many steps later starts did not repeat."""
    dice = random.Random(0)
    folder = context.workspace.adapter(params.adapter_name)
    kills = resumed = 0
    while kills < _KILLS:
        child = _start(context, params)
        time.sleep(dice.uniform(*_SECONDS))
        if child.poll() is not None:
            break
        before = set(folder.glob("checkpoint-*.pt"))
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
        resumed += bool(before)
    return _finish(context, params), kills, resumed


def _finish(context: Context, params: TrainParams) -> TrainReport:
    folder = context.workspace.adapter(params.adapter_name)
    child = _start(context, params)
    child.wait(_LONGEST_S)
    assert running_job(folder) is None
    report = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["report"]
    return TrainReport.model_validate(report)


def _start(context: Context, params: TrainParams) -> subprocess.Popen[bytes]:
    job = Job(workspace=str(context.workspace.root), params=params, seed=0)
    return start_child(job, context.workspace.adapter(params.adapter_name))


def _losses(context: Context, adapter: str) -> list[float]:
    path = context.workspace.adapter(adapter) / METRICS
    return [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]
