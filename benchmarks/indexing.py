"""How quickly documents are indexed, and what a second run costs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.measure import HANDBOOK, Row, median_seconds, peak_mb
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.collection import opened_retriever
from pipelines.operation import open_context

_FILES = 1_000


def measure() -> list[Row]:
    """Add the handbook, add it again, and search it; add many files, and add them again."""
    return [*_handbook(), _many_files()]


def _many_files() -> Row:
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        folder = Path(name) / "files"
        folder.mkdir()
        for number in range(_FILES):
            (folder / f"{number:04}.md").write_text(f"# Shelf {number}\n\nIt holds {number} boxes.\n")
        params = AddDocumentsParams(folder=folder)
        first = add_documents(params, context)
        again = median_seconds(lambda: add_documents(params, context), times=3)
    return Row(
        what=f"docs add, {first.documents:,} unchanged files",
        figure=f"{again:.2f} s",
        against=f"the first time: {first.seconds:.1f} s",
        ratio=first.seconds / again,
    )


def _handbook() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Path(folder))
        context.models.open_embedder().embed(["warm"])
        params = AddDocumentsParams(folder=HANDBOOK)
        started = time.perf_counter()
        report = add_documents(params, context)
        first = time.perf_counter() - started
        again = median_seconds(lambda: add_documents(params, context), times=3)
        with opened_retriever(context, "default") as retriever:
            search = median_seconds(lambda: retriever.search("Where are the plasters kept?", top_k=5), times=20)
    return [
        Row(
            what=f"docs add, {report.documents} documents",
            figure=f"{report.chunks / first:.0f} chunks/s ({first:.1f} s)",
            peak_mb=peak_mb(),
        ),
        Row(
            what="docs add, the same again",
            figure=f"{again:.2f} s",
            against=f"the first time: {first:.1f} s",
            ratio=first / again,
        ),
        Row(what=f"search in {report.chunks} chunks", figure=f"{search * 1000:.0f} ms"),
    ]
