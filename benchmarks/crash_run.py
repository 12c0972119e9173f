"""One run of generation for `benchmarks.crash`: everything but the embedder, which would be most of the time.

python -m benchmarks.crash_run WORKSPACE URL EXAMPLES
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.dataset.checks.duplicates import DuplicateFinder
from pipelines.dataset.checks.form import check_form
from pipelines.dataset.checks.quote import QuoteCheck
from pipelines.dataset.writing.collect import Collector
from pipelines.dataset.writing.opening import recipes
from pipelines.dataset.writing.remote import RemoteWriter, Work
from pipelines.dataset.writing.tasks import plan_tasks
from pipelines.models.budget import Budget
from pipelines.models.ledger import Ledger
from pipelines.models.teacher import Teacher
from pipelines.records import Chunk, read_records, write_records
from pipelines.settings import Endpoint
from pipelines.workspace import Workspace

_CONCURRENCY = 16


def main(folder: str, url: str, examples: str) -> int:
    """Write examples about the collection `big` until there are enough."""
    workspace = Workspace(Path(folder))
    chunks = list(read_records(workspace.chunks("big"), Chunk))
    teacher = Teacher(Endpoint(url=url, model="mock"), Ledger(workspace.calls), concurrency=_CONCURRENCY)
    known = recipes(teacher.name)
    tasks = plan_tasks(chunks, kinds={"grounded": 0.8, "unanswerable": 0.2}, labels=(), seed=0)
    collector = Collector(
        int(examples),
        questions=DuplicateFinder(),
        checks=[check_form, QuoteCheck({chunk.id: chunk for chunk in chunks})],
        counts=teacher.calls,
        show=lambda done, total, details: None,
    )
    writer = RemoteWriter(teacher, dataset="big", budget=Budget())
    for _ in writer.write((Work(task=task, recipe=known[task.kind]) for task in tasks), collector):
        pass
    write_records(workspace.root / "examples.jsonl", collector.kept)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
