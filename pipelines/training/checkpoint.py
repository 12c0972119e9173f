"""The state of a run, from which it goes on as if it had never stopped.

A checkpoint's name holds its step and the beginning of its SHA-256, so that it is there whole,
under one name that says so, or not at all. The one before stays: should the newest be damaged,
the run goes on from there.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.errors import TrainingError
from pipelines.training.place import why_unwritten
from pipelines.workspace import replacing

_NAME = re.compile(r"checkpoint-(?P<step>\d{8})-(?P<digest>[0-9a-f]{16})\.pt")
_KEPT = 2


@dataclass
class RunState:
    """All that changes while a run trains."""

    key: str  # hash of what the run was started with
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    weights: list[Tensor] = field(default_factory=list)  # float32 masters
    optimizer: dict[str, object] = field(default_factory=dict)
    method: dict[str, object] = field(default_factory=dict)  # what the method remembers
    best_loss: float = float("inf")
    best_step: int = 0
    best_weights: list[Tensor] = field(default_factory=list)
    worse_in_a_row: int = 0


def save_checkpoint(folder: Path, state: RunState) -> None:
    """Write the state so that it is there whole, or the one before it is.

    Raises:
        TrainingError: It cannot be written, for want of space for example.
    """
    unnamed = folder / "checkpoint.pt"
    try:
        with replacing(unnamed, "wb") as file:
            torch.save(vars(state), file)
        unnamed.rename(folder / f"checkpoint-{state.step:08}-{_digest(unnamed)}.pt")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TrainingError(
            f"the checkpoint cannot be written to {folder}: {why_unwritten(error)}",
            hint="Free some disk space and run the same command again: it goes on from the checkpoint before.",
        ) from error
    finally:
        unnamed.unlink(missing_ok=True)
    for old in find_checkpoints(folder)[_KEPT:]:
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path, *, key: str, notice: Callable[[str], None]) -> RunState | None:
    """Return the newest whole state of an unfinished run; None if there is none, or it is of another run.

    Args:
        folder: The adapter's folder.
        key: Hash of what the run was started with.
        notice: Told of checkpoints that are damaged, where an older one is whole.

    Raises:
        TrainingError: There are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    for path in find_checkpoints(folder):
        try:
            stored = _read(path)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            damaged.append(f"{path.name}: {error}")
            continue
        if stored.get("key") != key:
            return None
        for each in damaged:
            notice(f"a damaged checkpoint is left out ({each}); going on from step {stored['step']}")
        return RunState(**stored)
    if damaged:
        raise TrainingError(
            f"the checkpoint in {folder} cannot be read: {damaged[0]}",
            hint=f"Remove {folder}/checkpoint-*.pt to train from the start.",
        )
    return None


def find_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, newest first."""
    found = (path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name))
    return sorted(found, key=lambda path: path.name, reverse=True)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    for path in find_checkpoints(folder):
        path.unlink(missing_ok=True)


def check_space(folder: Path, *, parameters: int) -> None:
    """Refuse to start where the checkpoints will not fit.

    Raises:
        TrainingError: There is too little space.
    """
    # Masters, best weights, two moments of the optimizer: 16 bytes a parameter; two kept and a new one.
    needed = parameters * 16 * (_KEPT + 1) + (1 << 24)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"the checkpoints need {needed >> 20} MiB, but {folder} has {free >> 20} MiB free",
            hint="Free some disk space, then run the same command again.",
        )


def _read(path: Path) -> dict[str, Any]:
    match = _NAME.fullmatch(path.name)
    if match is None or match["digest"] != _digest(path):
        raise ValueError("its content is not what was written")
    stored = torch.load(path, weights_only=True)
    if not isinstance(stored, dict):
        raise ValueError("it is no state of a run")
    return stored


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
