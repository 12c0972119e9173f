"""How true a training plan comes: its time and memory against those of the run, in five settings."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.training_rows import write_answers, write_preferences
from pipelines.operation import open_context
from pipelines.training.params import TrainParams
from pipelines.training.plan import PlanParams, plan_training
from pipelines.training.train import train_adapter

_MOST_APART_TIME, _MOST_APART_MEMORY = 0.25, 0.20


def measure() -> list[Row]:
    """Return a row for each setting."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        context = dataclasses.replace(context, confirm=lambda plan: True)
        context.workspace.make()
        for what, params in _settings(Path(name)).items():
            plan = plan_training(PlanParams(**params.model_dump()), context)
            report = train_adapter(params, context)
            time_apart = plan.minutes * 60 / report.seconds - 1
            memory_apart = plan.memory_mb / report.peak_memory_mb - 1
            is_right = abs(time_apart) <= _MOST_APART_TIME and abs(memory_apart) <= _MOST_APART_MEMORY
            rows.append(
                Row(
                    what=f"the plan of {what}",
                    figure=f"{plan.minutes * 60:.0f} s ({time_apart:+.0%}), {plan.memory_mb} MB ({memory_apart:+.0%})",
                    against=f"{report.seconds:.0f} s, {report.peak_memory_mb} MB" + ("" if is_right else "; MISSED"),
                )
            )
    return rows


def _settings(folder: Path) -> dict[str, TrainParams]:
    """Return five runs that differ in data, method, objective and size."""
    short = write_answers(folder / "short.jsonl", examples=120)
    long = write_answers(folder / "long.jsonl", examples=40, passages=6)
    shared = write_answers(folder / "shared.jsonl", examples=90, passages=3)
    pairs = write_preferences(folder / "pairs.jsonl", examples=40)

    def run(file: Path, **more: object) -> TrainParams:
        return TrainParams.model_validate({"dataset": str(file), "epochs": 2, "patience": 99, **more})

    return {
        "short answers, qlora": run(short, batch_size=8),
        "shared passages, qlora": run(shared),
        "long prompts, lora of rank 64": run(long, method="lora", rank=64, max_length=2048),
        "preference pairs, dpo": run(pairs, objective="dpo"),
        "short answers, full fine-tuning": run(short, method="full", adapter="full", epochs=1),
    }
