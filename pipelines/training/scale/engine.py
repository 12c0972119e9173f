"""Which of the two engines trains a run of `train start`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal, get_args

from pipelines.errors import SettingsError
from pipelines.lazy import require_installed
from pipelines.training.params import TrainParams
from pipelines.training.scale.contract import RunConfig

OBJECTIVES: tuple[str, ...] = get_args(RunConfig.model_fields["objective"].annotation)
METHODS: tuple[str, ...] = get_args(RunConfig.model_fields["method"].annotation)
WORK = "trl"  # folder, in the adapter's, of what the second engine needs until it is done
_LIBRARIES = ("trl", "accelerate", "datasets")


def check_engine(params: TrainParams) -> None:
    """Refuse early an engine that was asked for and cannot do the run.

    Raises:
        SettingsError: It does not know the objective or the method.
        MissingExtraError: Its libraries are not installed.
    """
    if params.engine != "trl":
        return
    reason = _refusal(params)
    if reason:
        raise SettingsError(reason, hint="Use --engine own for this, or another --objective or --method.")
    for library in _LIBRARIES:
        require_installed(library, extra="scale")


def choose_engine(params: TrainParams, *, has_gpu: bool, notice: Callable[[str], None]) -> Literal["own", "trl"]:
    """Return the engine that was asked for; left to itself, TRL on a GPU and the own loop on a CPU.

    Args:
        params: The run.
        has_gpu: Whether there is a GPU for CUDA.
        notice: Told why a GPU that is there is not used.

    Raises:
        SettingsError: The engine that was asked for cannot do the run.
    """
    check_engine(params)
    if params.engine != "auto":
        return params.engine
    if not has_gpu:
        return "own"
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    reason = _refusal(params)
    if not reason and missing:
        reason = f"{missing[0]} is not installed: pip install 'assistant[scale]'"
    if reason:
        notice(f"training goes on the CPU, and not on the GPU: {reason}")
        return "own"
    return "trl"


def _refusal(params: TrainParams) -> str:
    """Return why TRL cannot do a run; nothing if it can."""
    if params.objective in OBJECTIVES and params.method in METHODS:
        return ""
    return (
        f"the engine trl trains {' and '.join(OBJECTIVES)} by {', '.join(METHODS)}, "
        f"and not {params.objective} by {params.method}"
    )
