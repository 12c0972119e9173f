"""What each method of training costs and learns, on the same data: time, memory, validation loss."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.training_rows import write_answers
from pipelines.operation import open_context
from pipelines.training.catalog import METHODS
from pipelines.training.params import TrainParams
from pipelines.training.train import train_adapter

_EXAMPLES, _EPOCHS = 96, 3


def measure() -> list[Row]:
    """Return a row for each method, at its own learning rate."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        context.workspace.make()
        file = write_answers(Path(name) / "answers.jsonl", examples=_EXAMPLES, passages=2)
        for method, chosen in METHODS.items():
            report = train_adapter(
                TrainParams(dataset=str(file), adapter=method, method=method, epochs=_EPOCHS, patience=99), context
            )
            size_mb = (Path(report.path) / "adapter_model.safetensors").stat().st_size / 2**20
            rows.append(
                Row(
                    what=f"--method {method}, {report.examples} examples, {_EPOCHS} epochs",
                    figure=f"loss {report.best_validation_loss:.3f}, {report.tokens_per_second:.0f} tokens/s",
                    against=f"rate {chosen.learning_rate:g}, file {size_mb:.1f} MB",
                    peak_mb=report.peak_memory_mb,
                )
            )
    return rows
