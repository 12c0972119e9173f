"""The state of a run, from which it goes on as if it had never stopped."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipelines.errors import TrainingError
from pipelines.workspace import replacing

_FILE = "checkpoint.pt"


@dataclass
class RunState:
    """All that changes while a run trains."""

    key: str  # hash of what the run was started with
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    weights: list[Tensor] = field(default_factory=list)  # float32 masters
    optimizer: dict[str, object] = field(default_factory=dict)
    best_loss: float = float("inf")
    best_step: int = 0
    best_weights: list[Tensor] = field(default_factory=list)
    worse_in_a_row: int = 0


def save_checkpoint(folder: Path, state: RunState) -> None:
    """Write the state so that it is there whole, or the one before it is.

    Raises:
        TrainingError: It cannot be written, for want of space for example.
    """
    try:
        with replacing(folder / _FILE, "wb") as file:
            torch.save(vars(state), file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TrainingError(
            f"the checkpoint cannot be written to {folder}: {error}",
            hint="Free some disk space and run the same command again: it goes on from the checkpoint before.",
        ) from error


def load_checkpoint(folder: Path, *, key: str) -> RunState | None:
    """Return the state of an unfinished run; None if there is none that fits `key`.

    Raises:
        TrainingError: There is one, but it cannot be read.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        stored = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"the checkpoint {path} cannot be read: {error}", hint="Remove that file to train from the start."
        ) from error
    return RunState(**stored) if stored.get("key") == key else None


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished run."""
    (folder / _FILE).unlink(missing_ok=True)


def check_space(folder: Path, *, parameters: int) -> None:
    """Refuse to start where the checkpoints will not fit.

    Raises:
        TrainingError: There is too little space.
    """
    # Masters, best weights, two moments of the optimizer: 16 bytes each; old and new file.
    needed = parameters * 16 * 2 + (1 << 24)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"the checkpoints need {needed >> 20} MiB, but {folder} has {free >> 20} MiB free",
            hint="Free some disk space, then run the same command again.",
        )
