"""What a run is told, what each of its steps tells, and the file that keeps it."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, how fast, and in what portions to train.

    Attributes:
        epochs: Passes over the packs, at most.
        learning_rate: Highest rate.
        batch_size: Examples per step, at least; whole packs.
        evaluations_per_epoch: Validations in one pass.
        patience: Validations without a better loss before stopping.
        seed: Seed of the order.
        micro_tokens: Packs that are longer are computed in parts, for want of memory.
    """

    epochs: float
    learning_rate: float
    batch_size: int
    evaluations_per_epoch: int
    patience: int
    seed: int
    micro_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step tells whoever watches."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int  # computed so far
    tokens_per_second: float
    memory_mb: int
    seconds: float
    seconds_left: float
    validation_loss: float | None
    measures: Mapping[str, float] = field(default_factory=dict)  # of the validation


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run came to; the model holds its best weights."""

    steps: int
    tokens_per_second: float
    peak_memory_mb: int
    best_validation_loss: float
    best_step: int
    resumed_from_step: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a validation measured: a mean loss, and what else the objective tells."""

    loss: float
    measures: Mapping[str, float]


class MetricsFile:
    """`metrics.jsonl`: one object a step, with the same names as `StepReport`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METRICS

    def keep_until(self, step: int) -> None:
        """Forget what an earlier process logged after its last checkpoint, and a line that was cut."""
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.is_file() else []
        whole = [line for line in lines if step and line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        self._path.write_text("".join(kept), encoding="utf-8")

    def append(self, told: StepReport) -> None:
        """Log a step."""
        entry: dict[str, object] = {
            "step": told.step,
            "loss": round(told.loss, 5),
            "seconds": round(told.seconds, 1),
            "learning_rate": float(f"{told.learning_rate:.4g}"),
            "grad_norm": round(told.grad_norm, 4),
            "tokens": told.tokens,
            "tokens_per_second": round(told.tokens_per_second, 1),
            "memory_mb": told.memory_mb,
        }
        if told.validation_loss is not None:
            entry["validation_loss"] = round(told.validation_loss, 5)
            entry |= {f"validation_{name}": round(value, 5) for name, value in told.measures.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def peak_memory_mb() -> int:
    """Return the most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
