"""`train launch`, `train watch`, `train stop`: runs that outlive the terminal they were started in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import psutil
from pydantic import BaseModel, Field

from pipelines.errors import AssistantError, DataError, TrainingError
from pipelines.operation import Context, Operation, Positional, open_context
from pipelines.records import Name
from pipelines.training.job import EVENTS, JOB, LOG, Followed, Job, python_path, running_job, supervise, wait_for_orphan
from pipelines.training.params import TrainParams
from pipelines.training.place import refuse_head
from pipelines.training.scale.engine import WORK, check_engine
from pipelines.training.train import finished_run, plan_train
from pipelines.workspace import write_json

_START_S, _STOP_S, _POLL_S = 30.0, 120.0, 0.3
_SUPERVISOR = "supervisor.json"


class JobParams(BaseModel):
    """Which training run is meant."""

    adapter: Annotated[Name, Positional()] = Field(description="Adapter that is being trained.")


class StopParams(JobParams):
    """Which training run to stop, and what to do with what it has."""

    discard: bool = Field(False, description="Forget its progress, too; otherwise train start goes on from there.")


class JobReport(BaseModel):
    """Where a training run stands."""

    adapter: str
    state: Literal["running", "finished", "stopped", "failed", "idle"]
    pid: int = 0
    path: str
    message: str = ""


def launch_training(params: TrainParams, context: Context) -> JobReport:
    """Start a training run that goes on when the terminal is closed."""
    context.check_model(params.base)
    check_engine(params)
    folder = context.workspace.adapter(params.adapter_name)
    refuse_head(folder)
    if finished_run(params, context) is not None:
        return JobReport(adapter=folder.name, state="finished", path=str(folder), message="already trained")
    wait_for_orphan(folder, context)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVENTS).unlink(missing_ok=True)
    job = Job(workspace=str(context.workspace.root), params=params, seed=context.seed)
    write_json(folder / _SUPERVISOR, job.model_dump(mode="json"))
    pid = _spawn(folder)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and running_job(folder) is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and status:
            raise TrainingError("the training did not start", hint=f"Its output is in {folder / LOG}.")
        if ended:
            break
        time.sleep(_POLL_S)
    return JobReport(
        adapter=folder.name,
        state="running",
        pid=pid,
        path=str(folder),
        message=f"watch it with: assistant train watch {folder.name}",
    )


LAUNCH_TRAINING = Operation(params=TrainParams, report=JobReport, run=launch_training, plan=plan_train)


def watch_training(params: JobParams, context: Context) -> JobReport:
    """Show a training run as it goes; leaving does not stop it."""
    folder = _folder(params.adapter, context)
    followed = Followed(path=folder / EVENTS)
    while not followed.read(context):
        if running_job(folder) is None and not followed.read(context):
            break
        time.sleep(_POLL_S)
    if followed.error is not None:
        return JobReport(adapter=params.adapter, state="failed", path=str(folder), message=str(followed.error))
    state: Literal["finished", "stopped", "idle"] = "idle"
    if followed.report is not None:
        state = "finished"
    elif followed.is_stopped:
        state = "stopped"
    return JobReport(adapter=params.adapter, state=state, path=str(folder))


WATCH_TRAINING = Operation(params=JobParams, report=JobReport, run=watch_training, is_reading=True)


def stop_training(params: StopParams, context: Context) -> JobReport:
    """Stop a training run after its step; it is saved, and train start goes on from there."""
    folder = _folder(params.adapter, context)
    found = running_job(folder)
    message = "nothing was running"
    if found is not None:
        _job, process = found
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
            _wait(process, folder)
        message = "saved; the same train start goes on from there"
    if params.discard:
        for path in folder.glob("checkpoint-*.pt"):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        message = "its progress was discarded"
    return JobReport(adapter=params.adapter, state="stopped", path=str(folder), message=message)


STOP_TRAINING = Operation(params=StopParams, report=JobReport, run=stop_training)


def main(folder: Path) -> int:
    """Supervise the job that `train launch` described in `folder`."""
    job = Job.model_validate_json((folder / _SUPERVISOR).read_bytes())
    try:
        supervise(job.params, dataclasses.replace(open_context(Path(job.workspace)), seed=job.seed))
    except KeyboardInterrupt:
        return 0
    except AssistantError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - the log is its only reader
        return error.exit_code
    return 0


def _spawn(folder: Path) -> int:
    """Start the supervisor in a session of its own, and leave it; return its process id."""
    output = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    silence = os.open(os.devnull, os.O_RDONLY)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "pipelines.training.launch", str(folder)],
            {**os.environ, "PYTHONPATH": python_path()},
            file_actions=[(os.POSIX_SPAWN_DUP2, silence, 0), *((os.POSIX_SPAWN_DUP2, output, to) for to in (1, 2))],
            setsid=True,
        )
    finally:
        os.close(output)
        os.close(silence)


def _folder(adapter: str, context: Context) -> Path:
    folder = context.workspace.adapter(adapter)
    if not (folder / JOB).is_file():
        raise DataError(
            f"no training of {adapter!r} was ever started here", path=folder, hint="See: assistant train list"
        )
    return folder


def _wait(process: psutil.Process, folder: Path) -> None:
    try:
        process.wait(timeout=_STOP_S)
    except psutil.TimeoutExpired as error:
        raise TrainingError(
            f"the training did not stop within {_STOP_S:.0f} s", hint=f"End process {process.pid}; see {folder}."
        ) from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
