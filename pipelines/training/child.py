"""The process that trains: `python -m pipelines.training.child FOLDER`, started by `job`.

It is stopped between two steps, never within one, so that what it saves is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from pipelines.errors import AssistantError, TrainingError
from pipelines.operation import Context, Event, Notice, Progress, open_context
from pipelines.training.job import EVENTS, JOB, OUT_OF_MEMORY, Job, Task
from pipelines.training.place import why_unwritten
from pipelines.training.progress import StepReport
from pipelines.training.work import run_training
from pipelines.workspace import locked

TaskT = TypeVar("TaskT", bound=Task)


class Teller:
    """Writes what happens to the events of the job."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / EVENTS).open("a", encoding="utf-8", buffering=1)

    def tell(self, kind: str, **values: object) -> None:
        """Write one event."""
        self._file.write(json.dumps({"kind": kind, **values}, ensure_ascii=False) + "\n")

    def emit(self, event: Event) -> None:
        """Write what an operation reports."""
        if isinstance(event, Progress):
            self.tell("progress", stage=event.stage, done=event.done, total=event.total, **event.detail)
        elif isinstance(event, Notice):
            self.tell("notice", message=event.message)

    def fail(self, error: AssistantError) -> None:
        """Write how it ended badly."""
        self.tell("error", type=type(error).__name__, message=str(error), hint=error.hint)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StopRequest:
    """Whether somebody asked to stop, or whoever started this has gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def check(self, step: StepReport | None = None) -> None:
        """Stop here if so.

        Raises:
            KeyboardInterrupt: It is so.
        """
        del step
        if self._is_asked or (self._parent and os.getppid() != self._parent):
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_asked = True


def main(folder: Path, work: Callable[[Job, Context, Teller, StopRequest], None]) -> int:
    """Do the work of the job in `folder`, and tell how it ended."""
    return do_task(folder, Job, work)


def do_task(folder: Path, kind: type[TaskT], work: Callable[[TaskT, Context, Teller, StopRequest], None]) -> int:
    """Do the task in `folder`, which is of a kind, and tell how it ended."""
    job = kind.model_validate_json((folder / JOB).read_bytes())
    stop = StopRequest(job.parent)
    with contextlib.closing(Teller(folder)) as teller:
        try:
            context = dataclasses.replace(open_context(Path(job.workspace), emit=teller.emit), seed=job.seed)
            with locked(folder):
                work(job, context, teller, stop)
        except KeyboardInterrupt:
            teller.tell("stopped")
        except AssistantError as error:
            teller.fail(error)
        except OSError as error:
            traceback.print_exc()
            teller.fail(_unusable(error))
        except Exception as error:  # noqa: BLE001 - the log has the whole of it, and the parent its last line
            traceback.print_exc()
            return OUT_OF_MEMORY[1] if _is_memory(error) else 1
    return 0


def _unusable(error: OSError) -> TrainingError:
    """Return the error for a file that the system would not let be read or written."""
    where = f" ({error.filename})" if error.filename else ""
    return TrainingError(
        f"{why_unwritten(error)}{where}", hint="Mend that, and run the same command again: it goes on where it was."
    )


def stopping(context: Context, stop: StopRequest) -> Context:
    """Return a context that stops the work at its next progress, once somebody asks for that."""

    def emit(event: Event) -> None:
        context.emit(event)
        if isinstance(event, Progress):
            stop.check()

    return dataclasses.replace(context, emit=emit)


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in ("allocate memory", "out of memory"))


def _train(job: Job, context: Context, teller: Teller, stop: StopRequest) -> None:
    stop.check()
    report = run_training(
        job.params,
        context,
        micro_tokens=job.micro_tokens,
        after_step=stop.check,
        sized=lambda tokens: teller.tell("sized", tokens=tokens),
    )
    teller.tell("report", report=report.model_dump(mode="json"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), _train))
