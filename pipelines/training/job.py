"""Training in a process of its own: watched, started again with less memory, outliving the terminal.

Whoever supervises a job imports no model. The child writes what happens to `events.jsonl` in
the adapter's folder, and everyone who watches reads that file: the terminal that started the
job, or another one later.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ValidationError

from pipelines import errors
from pipelines.errors import AssistantError, TrainingError
from pipelines.operation import Context
from pipelines.training.params import TrainParams, TrainReport
from pipelines.workspace import write_json

# Killed by the system, or given up by itself for want of memory.
OUT_OF_MEMORY = (-signal.SIGKILL, 128 + signal.SIGKILL)
EVENTS, JOB, LOG = "events.jsonl", "job.json", "job.log"
_POLL_S = 0.2
_STOP_S = 120.0  # a step and a checkpoint take this long at most
_AGAIN_S = 2.0  # a signal so soon after the first is the same wish: timeout sends two
_MOST_HALVINGS = 4
# Compiled matrix products that oneDNN keeps, about half a megabyte each. Its 1,024 hold every length of
# a whole run; these hold those of a few steps, no slower (BENCHMARKS.md).
_ONEDNN = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256"}
# Below this, the system starts to kill processes of its own choice.
_LEAST_FREE_MB = 400
_SMALLEST_SEQUENCE = 64
_LEAST_SPACE = 1 << 16  # bytes, without which not even the reason can be written
_NOTES = {EVENTS, JOB, LOG, ".lock"}  # what a task that did nothing leaves


class Task(BaseModel):
    """What `job.json` says of whatever a child does: enough to start, find and stop it."""

    workspace: str
    seed: int
    pid: int = 0  # of the child
    started: float = 0.0  # when the child was, as its system says: a pid alone may be somebody else's
    parent: int = 0  # process without which the child stops


class Job(Task):
    """A training run as a task."""

    params: TrainParams
    micro_tokens: int | None = None
    show: int = 0  # records that a plan prints


@dataclass
class Followed:
    """How far somebody has read the events of a job."""

    path: Path
    offset: int = 0
    report: dict[str, object] | None = None
    error: AssistantError | None = None
    is_stopped: bool = False
    largest: int = 0
    _rest: bytes = field(default=b"", repr=False)

    def read(self, context: Context) -> bool:
        """Pass on what is new; return whether that was the end."""
        for event in self._new():
            kind = event.pop("kind", "")
            if kind == "progress":
                stage, done, total = str(event.pop("stage")), int(event.pop("done")), event.pop("total")
                context.progress(stage, done, total, **{name: str(value) for name, value in event.items()})
            elif kind == "notice":
                context.notice(str(event["message"]))
            elif kind == "sized":
                self.largest = int(event["tokens"])
            elif kind == "stopped":
                self.is_stopped = True
            elif kind == "report":
                self.report = dict(event["report"])
            elif kind == "error":
                self.error = _to_error(event)
        return bool(self.report or self.error or self.is_stopped)

    def _new(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that a kill cut in two
                yield json.loads(line)


def supervise(params: TrainParams, context: Context, *, least_free_mb: int = _LEAST_FREE_MB) -> TrainReport:
    """Train in a child process until it is done; start it anew with half the tokens at once where memory is short.

    Args:
        params: What to train on, and how.
        context: Where it is, and who watches.
        least_free_mb: Memory that has to stay free on the machine.

    Raises:
        AssistantError: What the child met.
        TrainingError: It was killed, or there is too little memory even for single examples.
        KeyboardInterrupt: The person stopped it; it goes on from there the next time.
    """
    folder = context.workspace.adapter(params.adapter_name)
    wait_for_orphan(folder, context)
    job = Job(
        workspace=str(context.workspace.root),
        params=params,
        seed=context.seed,
        parent=os.getpid(),
    )
    for _ in range(_MOST_HALVINGS + 1):
        followed = Followed(path=folder / EVENTS)
        child = start_child(job, folder)
        try:
            is_short = _watch(child, followed, context, least_free_mb=least_free_mb)
        except KeyboardInterrupt:
            _stop(child)
            raise
        if followed.error is not None:
            _clear(folder)
            raise followed.error
        if followed.report is not None:
            return TrainReport.model_validate(followed.report)
        if followed.is_stopped:
            raise KeyboardInterrupt
        if not (is_short or child.returncode in OUT_OF_MEMORY):
            raise TrainingError(
                f"the training process ended with code {child.returncode}: {_last_words(folder)}",
                hint=f"Its output is in {folder / LOG}. The same command goes on from the last checkpoint.",
            )
        job.micro_tokens = max(_SMALLEST_SEQUENCE, (job.micro_tokens or followed.largest or 2048) // 2)
        context.notice(f"memory was short: training goes on in pieces of {job.micro_tokens} tokens")
    raise TrainingError(
        "there is too little memory for this model, even one example at a time",
        hint="Close other programs, or choose a smaller --base, a smaller --max-length or --method qlora.",
    )


def run_once(params: TrainParams, context: Context, *, folder: Path, module: str, show: int = 0) -> dict[str, object]:
    """Do something else with a run in a child process, and return what it reports.

    Raises:
        AssistantError: What the child met.
        TrainingError: It ended otherwise.
    """
    job = Job(workspace=str(context.workspace.root), params=params, seed=context.seed, parent=os.getpid(), show=show)
    return run_watched(job, context, folder=folder, module=module)


def run_watched(
    task: Task, context: Context, *, folder: Path, module: str, least_free_mb: int = _LEAST_FREE_MB
) -> dict[str, object]:
    """Do a task in a child process that is watched, and return what it reports.

    Args:
        task: What to do.
        context: Who watches.
        folder: Where the task is noted, with its events.
        module: Python module that does it.
        least_free_mb: Memory that has to stay free on the machine.

    Raises:
        AssistantError: What the child met.
        TrainingError: It ended otherwise, or memory was short.
        KeyboardInterrupt: The person stopped it; it goes on from there the next time.
    """
    wait_for_orphan(folder, context)
    followed = Followed(path=folder / EVENTS)
    child = start_child(task, folder, module=module)
    try:
        is_short = _watch(child, followed, context, least_free_mb=least_free_mb)
    except KeyboardInterrupt:
        _stop(child)
        raise
    if followed.error is not None:
        _clear(folder)
        raise followed.error
    if followed.report is not None:
        return followed.report
    if followed.is_stopped:
        raise KeyboardInterrupt
    if is_short or child.returncode in OUT_OF_MEMORY:
        raise TrainingError(
            "there is too little memory for this",
            hint="Close other programs, or choose a smaller --base, --batch-size or --max-length. "
            "The same command goes on where it was.",
        )
    raise TrainingError(
        f"the process ended with code {child.returncode}: {_last_words(folder)}",
        hint=f"Its output is in {folder / LOG}. The same command goes on where it was.",
    )


def start_child(job: Task, folder: Path, *, module: str = "pipelines.training.child") -> subprocess.Popen[bytes]:
    """Start the process that trains, in a session of its own, with its events in a fresh file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVENTS).unlink(missing_ok=True)
    write_json(folder / JOB, job.model_dump(mode="json"))
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(folder)],  # -P: nothing of the current folder is imported
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_ONEDNN, **os.environ, "PYTHONPATH": python_path()},
            start_new_session=True,
        )
    job.pid = child.pid
    with contextlib.suppress(psutil.Error):
        job.started = psutil.Process(child.pid).create_time()
    write_json(folder / JOB, job.model_dump(mode="json"))
    return child


def python_path() -> str:
    """Return where a child finds the very modules of this process."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))


def running_job(folder: Path) -> tuple[Task, psutil.Process] | None:
    """Return the task that is at work in a folder, and its process; None if there is none."""
    try:
        job = Task.model_validate_json((folder / JOB).read_bytes())
        process = psutil.Process(job.pid)
        is_it = abs(process.create_time() - job.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        return (job, process) if job.pid and is_it else None
    except (OSError, ValidationError, psutil.Error):
        return None


def wait_for_orphan(folder: Path, context: Context) -> None:
    """Wait for a child whose parent was killed: it saves what it has, and ends after its step.

    Raises:
        TrainingError: Its parent is at work.
    """
    found = running_job(folder)
    if found is None:
        return
    job, process = found
    if psutil.pid_exists(job.parent):
        raise TrainingError(
            f"{folder.name} is being trained already, by process {job.pid}",
            hint="Wait until it has ended. An adapter's can be watched, and stopped: "
            f"assistant train watch {folder.name}, assistant train stop {folder.name}.",
        )
    context.notice("an earlier process of this training is still saving; waiting for it")
    with contextlib.suppress(psutil.Error):
        process.wait(timeout=_STOP_S)


def free_memory_mb() -> int:
    """Return how much memory is free for this process: of the machine, or of its control group."""
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" is no number: no limit
        free = min(free, limit - int((group / "memory.current").read_text()))
    return int(free) >> 20


def _watch(child: subprocess.Popen[bytes], followed: Followed, context: Context, *, least_free_mb: int) -> bool:
    """Follow a child to its end; return whether it was ended because memory was short."""
    while child.poll() is None:
        if followed.read(context):
            child.wait(timeout=_STOP_S)
            break
        if free_memory_mb() < least_free_mb:
            child.kill()
            child.wait()
            followed.read(context)
            return True
        time.sleep(_POLL_S)
    followed.read(context)
    return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Have a child save and end; whoever asks again, and not only at once, does not wait for that."""
    child.send_signal(signal.SIGINT)
    asked = time.monotonic()
    while True:
        try:
            child.wait(timeout=max(0.0, asked + _STOP_S - time.monotonic()))
            return
        except KeyboardInterrupt:
            if time.monotonic() - asked >= _AGAIN_S:
                break
        except subprocess.TimeoutExpired:
            break
    child.kill()
    child.wait()


def _clear(folder: Path) -> None:
    """Remove the folder of a task that was refused before it did anything."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= _NOTES:
            shutil.rmtree(folder)
            folder.parent.rmdir()  # of a task within a folder that was made for it; stays if anything is in it


def _to_error(event: dict[str, Any]) -> AssistantError:
    kind = getattr(errors, str(event["type"]), TrainingError)
    if not (isinstance(kind, type) and issubclass(kind, AssistantError)):
        kind = TrainingError
    try:
        return kind(str(event["message"]), hint=str(event["hint"]))
    except TypeError:  # one with details of its own
        return TrainingError(str(event["message"]), hint=str(event["hint"]))


def _last_words(folder: Path) -> str:
    with contextlib.suppress(OSError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1][:300]
    is_full = shutil.disk_usage(folder).free < _LEAST_SPACE
    return "no space is left on the disk" if is_full else "it said nothing"
