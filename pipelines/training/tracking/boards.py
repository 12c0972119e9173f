"""Boards that watch a run: TensorBoard's files always, MLflow if its address is set.

A board is told of every step. One that fails is named once and told no more: watching must
never stop what it watches. Steps that a resumed run takes again appear once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pipelines.lazy import lazy_import
from pipelines.training.progress import METRICS
from pipelines.training.tracking.curves import measurements

if TYPE_CHECKING:
    import tensorboardX
    from tensorboardX.proto import event_pb2, summary_pb2

    from pipelines.training.progress import StepReport
    from pipelines.training.tracking import mlflow_board
else:
    event_pb2 = lazy_import("tensorboardX.proto.event_pb2", extra="track")
    summary_pb2 = lazy_import("tensorboardX.proto.summary_pb2", extra="track")
    tensorboardX = lazy_import("tensorboardX", extra="track")  # noqa: N816 - its own name
    mlflow_board = lazy_import("pipelines.training.tracking.mlflow_board", extra="track")

EVENTS = "tensorboard"
_TAGS = {"loss": "loss/training", "validation_loss": "loss/validation"}
_COUNTERS = ("step", "steps", "seconds_left")
_FLUSH_SECONDS = 5.0

State = Literal["finished", "stopped"]


class Board(Protocol):
    """Something that shows how a run goes."""

    def log(self, step: int, values: Mapping[str, float]) -> str:
        """Take the values of a step; return a warning, or nothing."""

    def close(self, state: State, files: tuple[Path, ...]) -> str:
        """Take the files that the run made, and end; return a warning, or nothing."""


class TensorBoard:
    """An event file, as TensorBoard reads it.

    A resumed run writes a new one of all that the metrics still hold: what an earlier process
    did after its last checkpoint is in neither, and nothing that it had not yet written is lost.
    """

    def __init__(self, folder: Path, *, metrics: Path) -> None:
        """Begin the file.

        Raises:
            OSError: It cannot be written.
        """
        folder.mkdir(exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = tensorboardX.RecordWriter(str(folder / f"events.out.tfevents.{int(time.time())}.training"))
        self._flushed = time.monotonic()
        # A viewer that is open drops what it has seen of the run.
        self._write(0, file_version="brain.Event:2")
        self._write(1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
        for step, values in measurements(metrics):
            self.log(step, values)

    def log(self, step: int, values: Mapping[str, float]) -> str:
        """Write the values of a step."""
        named = {_TAGS.get(name, f"run/{name}"): value for name, value in values.items()}
        tagged = [summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in named.items()]
        self._write(step, summary=summary_pb2.Summary(value=tagged))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = time.monotonic()
        return ""

    def close(self, state: State, files: tuple[Path, ...]) -> str:
        """Write what is still to be written."""
        del state, files
        self._writer.close()
        return ""

    def _write(self, step: int, **content: object) -> None:
        event = event_pb2.Event(step=step, wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())


class Trackers:
    """The boards of one run."""

    def __init__(self, boards: Mapping[str, Board], *, notice: Callable[[str], None]) -> None:
        self._boards = dict(boards)
        self._notice = notice
        self._state: State = "stopped"
        self._files: tuple[Path, ...] = ()

    def log(self, report: StepReport) -> None:
        """Tell every board of a step."""
        values = measures(report)
        for name, board in list(self._boards.items()):
            try:
                self._warn(name, board.log(report.step, values))
            except OSError as error:
                del self._boards[name]
                self._warn(name, f"it is not told of the run any more: {error}")

    def finish(self, *files: Path) -> None:
        """Remember that the run ended as it should, with the files that boards may keep."""
        self._state, self._files = "finished", files

    def close(self) -> None:
        """Let every board end."""
        for name, board in self._boards.items():
            try:
                self._warn(name, board.close(self._state, self._files))
            except OSError as error:
                self._warn(name, str(error))

    def _warn(self, name: str, warning: str) -> None:
        if warning:
            self._notice(f"{name}: {warning}")


@contextmanager
def open_trackers(
    folder: Path,
    *,
    params: Mapping[str, object],
    resumed_from_step: int,
    mlflow_url: str,
    notice: Callable[[str], None],
) -> Iterator[Trackers]:
    """Open the boards of the run in `folder`; they are closed however the run ends.

    Args:
        folder: The adapter's folder; its name becomes that of the run.
        params: What the run was started with.
        resumed_from_step: Step that is not taken again; 0 for a fresh run.
        mlflow_url: Where MLflow is; empty for nowhere.
        notice: Told, once for each cause, what a board could not do.

    Raises:
        SettingsError: The URL is not one of MLflow's, or the library for it is not installed.
    """
    boards: dict[str, Board] = {}
    if mlflow_url:
        boards["MLflow"] = mlflow_board.MlflowBoard(
            folder, url=mlflow_url, params=params, resumed_from_step=resumed_from_step
        )
    if importlib.util.find_spec("tensorboardX") is not None:
        try:
            boards["TensorBoard"] = TensorBoard(folder / EVENTS, metrics=folder / METRICS)
        except OSError as error:
            notice(f"TensorBoard: its files cannot be written: {error}")
    trackers = Trackers(boards, notice=notice)
    try:
        yield trackers
    finally:
        trackers.close()


def measures(report: StepReport) -> dict[str, float]:
    """Return what was measured at a step: every finite number of its report that is no counter."""
    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    values |= {f"validation_{name}": value for name, value in report.measures.items()}
    return {
        name: float(value)
        for name, value in values.items()
        if name not in _COUNTERS and type(value) in (int, float) and math.isfinite(value)
    }
