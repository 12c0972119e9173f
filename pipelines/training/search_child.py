"""The process that searches: `python -m pipelines.training.search_child FOLDER`, started by `search_adapters`."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.operation import Context
from pipelines.training.child import StopRequest, Teller, do_task, stopping
from pipelines.training.search import SearchTask, run_search


def _search(task: SearchTask, context: Context, teller: Teller, stop: StopRequest) -> None:
    stop.check()
    report = run_search(task.params, stopping(context, stop))
    teller.tell("report", report=report.model_dump(mode="json"))


if __name__ == "__main__":
    sys.exit(do_task(Path(sys.argv[1]), SearchTask, _search))
