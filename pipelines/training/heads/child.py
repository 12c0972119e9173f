"""The process that trains a head: `python -m pipelines.training.heads.child FOLDER`, started by `train_head`."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.operation import Context
from pipelines.training.child import StopRequest, Teller, do_task, stopping
from pipelines.training.heads.train import HeadTask, fit_head


def _train(task: HeadTask, context: Context, teller: Teller, stop: StopRequest) -> None:
    stop.check()
    report = fit_head(task.params, stopping(context, stop))
    teller.tell("report", report=report.model_dump(mode="json"))


if __name__ == "__main__":
    sys.exit(do_task(Path(sys.argv[1]), HeadTask, _train))
