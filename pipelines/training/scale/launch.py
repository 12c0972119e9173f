"""Runs a configuration file in one process, or in as many as `accelerate launch` starts.

One: `python -m pipelines.training.scale.launch run.json`.
Many: `accelerate launch --config_file FILE -m pipelines.training.scale.launch run.json`, with a
file of `configs/`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import AssistantError, SettingsError
from pipelines.lazy import lazy_import
from pipelines.training.progress import StepReport
from pipelines.training.scale.contract import RunConfig, RunResult, load_config

if TYPE_CHECKING:
    import torch

    from pipelines.training.scale import trl_engine
else:
    torch = lazy_import("torch", extra="scale")
    trl_engine = lazy_import("pipelines.training.scale.trl_engine", extra="scale")

CONFIGS = Path(__file__).parent / "configs"


def run(config: RunConfig, *, watch: Callable[[StepReport], None] = lambda step: None) -> RunResult:
    """Train as this process's part of the run.

    Args:
        config: The run.
        watch: Called by the first process after every step; may raise KeyboardInterrupt.

    Raises:
        SettingsError: Several GPUs are visible to a single process.
    """
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    check_processes(gpus=gpus, environment=os.environ)
    return trl_engine.train(config, watch=watch)


def work(told: dict[str, str]) -> None:
    """Be one worker of a Ray Train job, which has set up the process group already."""
    run(RunConfig.model_validate_json(told["config"]))


def check_processes(*, gpus: int, environment: Mapping[str, str]) -> None:
    """Refuse to train in one process what was meant for several.

    Args:
        gpus: How many this process sees.
        environment: Its variables, as a launcher set them.

    Raises:
        SettingsError: It sees several GPUs, which torch would silently use by `DataParallel`;
            or accelerate was asked for several processes on the CPU and has started one.
    """
    if "WORLD_SIZE" in environment:
        return
    if gpus > 1:
        raise SettingsError(
            f"{gpus} GPUs are visible to a single process",
            hint=f"Start it with: accelerate launch --config_file {CONFIGS / 'fsdp.yaml'} --num_processes {gpus} "
            "-m pipelines.training.scale.launch; or show it one GPU: CUDA_VISIBLE_DEVICES=0.",
        )
    if "ACCELERATE_USE_CPU" in environment and "MASTER_PORT" in environment:
        raise SettingsError(
            "accelerate started one process where several were asked for",
            hint=f"Its launcher for CPUs needs MPI; start it with --config_file {CONFIGS / 'cpu2.yaml'} instead.",
        )


def main(arguments: list[str]) -> int:
    """Run the configuration file that is named; the first process writes the result to stdout."""
    if len(arguments) != 1:
        sys.stderr.write("expected one argument, the configuration file\n")
        return 2
    try:
        result = run(load_config(Path(arguments[0])))
    except AssistantError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return error.exit_code
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(result.model_dump_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
