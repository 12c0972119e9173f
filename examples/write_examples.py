"""One idea: a teacher of 135 million parameters writes training examples, and a filter keeps the sound ones.

Run: .venv/bin/python examples/write_examples.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.dataset.files import EXAMPLES, REJECTED
from pipelines.dataset.generate import GenerateParams, generate_dataset
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.operation import open_context
from pipelines.records import Example, Rejection, read_records

MEMBERSHIP = Path(__file__).parent / "handbook" / "membership.md"

with tempfile.TemporaryDirectory() as folder:
    context = open_context(Path(folder))
    add_documents(AddDocumentsParams(folder=MEMBERSHIP, collection="club"), context)
    report = generate_dataset(GenerateParams(dataset="club", collection="club", examples=6), context)
    print(f"{report.kept} kept, rejected: {report.rejected}, {report.seconds:.1f} s")
    for example in read_records(context.workspace.dataset("club") / EXAMPLES, Example):
        print(f"\n{example.question}\n  {example.answer}")
    for rejection in list(read_records(context.workspace.dataset("club") / REJECTED, Rejection))[:2]:
        print(f"\ndropped by {rejection.check}: {rejection.text}")
