"""Our teacher at the task: the ledger on, every reply read as a record, the records written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from benchmarks.peers.task import MODEL, Pair, Task, run_task
from pipelines.models.ledger import Ledger
from pipelines.models.teacher import Reply, Request, Teacher
from pipelines.records import Message, write_records
from pipelines.settings import Endpoint


def prepare(task: Task) -> Callable[[], int]:
    """Make the requests; the ledger and the connections are opened while the clock runs."""
    requests = [
        Request(tag=prompt, messages=(Message(role="user", content=prompt),), schema=Pair) for prompt in task.prompts()
    ]

    def run() -> int:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder, "calls.sqlite"))
            endpoint = Endpoint(url=task.url, model=MODEL)
            teacher = Teacher(endpoint, ledger, concurrency=task.concurrency)
            kept = write_records(Path(folder, "kept.jsonl"), _records(teacher.ask(requests)))
            ledger.close()
        return kept

    return run


def _records(replies: Iterator[Reply]) -> Iterator[BaseModel]:
    return (reply.record for reply in replies if reply.record is not None)


if __name__ == "__main__":
    run_task(prepare)
