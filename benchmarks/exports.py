"""What each export of an adapter weighs, and what it costs in loss beside the merged model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.measure import HANDBOOK, Row, peak_mb
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.parse import read_document
from pipelines.operation import Context, open_context
from pipelines.prompting import answer_messages
from pipelines.quotes import format_citation
from pipelines.text import fold_space, sentence_spans
from pipelines.training.exporting.export import ExportParams, export_adapter
from pipelines.training.exporting.formats import ExportFormat
from pipelines.training.train import TrainParams, train_adapter

_NAME = "handbook"
_EXAMPLES = {"train": 48, "validation": 8, "test": 16}
_PASSAGES = 2


def measure() -> list[Row]:
    """Train on sentences of the handbook for two epochs, and export that in every format."""
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(Path(folder), confirm=lambda plan: True)
        context.workspace.make()
        _write_splits(context)
        train_adapter(TrainParams(dataset=_NAME, epochs=2), context)
        report = export_adapter(ExportParams(adapter=_NAME, formats=", ".join(ExportFormat)), context)
    exports = {each.format: each for each in report.formats}
    merged = exports[ExportFormat.MERGED]
    rows = []
    for each in exports.values():
        if each.loss is None or merged.loss is None or each.format == ExportFormat.OLLAMA:
            continue
        row = Row(
            what=f"export as {each.format}, {report.conversations} answers",
            figure=f"{each.size_mb:.0f} MB, {each.loss:.4f} nats a token ({(each.loss / merged.loss - 1):+.2%})",
            against=f"merged, float32: {merged.size_mb:.0f} MB, {merged.loss:.4f}",
            ratio=merged.loss / each.loss,
            peak_mb=peak_mb(),
        )
        rows.append(row)
    return rows


def _write_splits(context: Context) -> None:
    """Questions about sentences of the handbook, each answered by quoting the sentence."""
    lines = []
    for path in sorted(HANDBOOK.glob("*/*.md")):
        chunks = chunk_document(read_document(path, document_id=path.name, max_megabytes=1))
        for start in range(0, len(chunks) - _PASSAGES + 1, _PASSAGES):
            shown = chunks[start : start + _PASSAGES]
            for number, chunk in enumerate(shown, start=1):
                for begin, end in sentence_spans(chunk.text)[1:3]:
                    sentence = fold_space(chunk.text[begin:end])
                    quote = format_citation(sentence, number)
                    asked = answer_messages(f"What about {sentence[:40]}?", shown, closest=quote)
                    messages = [message.model_dump() for message in asked]
                    messages.append({"role": "assistant", "content": quote})
                    lines.append(json.dumps({"messages": messages}))
    folder = context.workspace.dataset(_NAME)
    folder.mkdir(parents=True)
    for split, count in _EXAMPLES.items():
        (folder / f"{split}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
        del lines[:count]
