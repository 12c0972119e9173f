"""Runs a configuration file as a Ray Train job: the same run, its processes started by Ray.

`python -m pipelines.training.scale.ray_job run.json --workers 2`

Without an address a cluster is started on this machine, for this job, without dashboard and
without usage reports. Ray's processes listen on every network interface all the same, so they
are told to ask for a token. With `--address` the job goes to a running cluster, whose machines
have to see the files of the configuration under the same paths.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import AssistantError, TrainingError
from pipelines.lazy import lazy_import
from pipelines.training.scale import launch
from pipelines.training.scale.contract import RESULT, RunConfig, RunResult, load_config

if TYPE_CHECKING:
    import ray
    import torch
    from ray import train as ray_train
    from ray.train import torch as ray_torch
else:
    ray = lazy_import("ray", extra="ray")
    ray_train = lazy_import("ray.train", extra="ray")
    ray_torch = lazy_import("ray.train.torch", extra="ray")
    torch = lazy_import("torch", extra="scale")

_LOOPBACK = "127.0.0.1"
_BOOKS = "ray"  # folder in which Ray notes how the job went


def run_on_ray(config: RunConfig, *, workers: int, address: str | None = None) -> RunResult:
    """Train with as many processes as Ray has workers for; return what the first one answered.

    Args:
        config: The run; on a cluster, its paths are the same on every machine.
        workers: Processes; one GPU each where there are GPUs and the run may use them.
        address: A running cluster; None starts one here and stops it afterwards.

    Raises:
        TrainingError: A worker failed.
    """
    uses_gpu = config.device == "auto" and torch.cuda.is_available()
    _connect(address, workers=workers, gpus=workers if uses_gpu else 0)
    config.output.mkdir(parents=True, exist_ok=True)
    (config.output / RESULT).unlink(missing_ok=True)
    job = ray_torch.TorchTrainer(
        launch.work,
        train_loop_config={"config": config.model_dump_json()},
        scaling_config=ray_train.ScalingConfig(num_workers=workers, use_gpu=uses_gpu),
        torch_config=ray_torch.TorchConfig(backend="nccl" if uses_gpu else "gloo"),
        run_config=ray_train.RunConfig(name=_BOOKS, storage_path=str(config.output.resolve())),
    )
    try:
        job.fit()
    except ray_train.TrainingFailedError as error:
        raise TrainingError(
            f"a worker of the Ray job failed: {error}", hint="Correct what it names; the same command goes on."
        ) from error
    finally:
        if address is None:
            ray.shutdown()
    shutil.rmtree(config.output / _BOOKS, ignore_errors=True)
    return RunResult.model_validate_json((config.output / RESULT).read_text(encoding="utf-8"))


def main(arguments: list[str]) -> int:
    """Run the configuration file that is named, and write the result to stdout."""
    parser = argparse.ArgumentParser(prog="ray_job", description="Run a training configuration as a Ray Train job.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--address", default=None, help="a running cluster; none starts one on this machine")
    options = parser.parse_args(arguments)
    try:
        result = run_on_ray(load_config(options.config), workers=options.workers, address=options.address)
    except AssistantError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return error.exit_code
    sys.stdout.write(result.model_dump_json() + "\n")
    return 0


def _connect(address: str | None, *, workers: int, gpus: int) -> None:
    # Ray gives its workers the environment of this process, so telemetry is off there too.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}
    if address is not None:
        ray.init(address=address, runtime_env=environment)
        return
    os.environ["RAY_AUTH_MODE"] = "token"  # the default since Ray 2.59; a shell must not undo it
    ray.init(
        num_cpus=workers,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,  # what a worker raises comes back; the rest is noise of the libraries
        configure_logging=False,
        runtime_env=environment,
        _node_ip_address=_LOOPBACK,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
