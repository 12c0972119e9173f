"""The rows on which training is measured: as the product makes them, and with nothing in common.

The open question set is read from QUESTIONS_FILE (SQuAD as JSON lines, one paragraph a line,
may be gzipped); without it the handbook's chunks are asked about themselves.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import HANDBOOK
from benchmarks.training import _examples
from pipelines.knowledge.chunk import chunk_document
from pipelines.knowledge.parse import read_document
from pipelines.models.local import load_tokenizer
from pipelines.models.render import Rendered, render_example
from pipelines.prompting import answer_messages
from pipelines.quotes import format_citation
from pipelines.records import Chunk, Message
from pipelines.text import fold_space, sentence_spans
from pipelines.training.scale.contract import SupervisedRow


def shared_rows(base: Path) -> list[SupervisedRow]:
    """Return rows whose questions share their passages, as `data curate` composes them."""
    return [_row(example) for example in _examples(base)]


def separate_rows(base: Path) -> list[SupervisedRow]:
    """Return rows that have passages of their own; only the instruction is the same."""
    tokenizer = load_tokenizer(base)
    rows = []
    for question, answer, shown in _separate_questions():
        messages = (*answer_messages(question, [shown], closest=answer), Message(role="assistant", content=answer))
        rows.append(_row(render_example(tokenizer, messages)))
    return rows


def write_answers(path: Path, *, examples: int, passages: int = 0) -> Path:
    """Write conversations about the handbook as `train start` takes them; without passages, bare questions."""
    rows = []
    for asked, said in _conversations(passages):
        messages = [*asked, Message(role="assistant", content=said)]
        rows.append({"messages": [message.model_dump() for message in messages]})
    return _write(path, rows[:examples])


def write_preferences(path: Path, *, examples: int) -> Path:
    """Write pairs: the sentence asked for, and the next one."""
    asked = list(_conversations(2))
    rows = [
        {
            "messages": [message.model_dump() for message in (*prompt, Message(role="assistant", content=said))],
            "rejected": other,
        }
        for (prompt, said), (_prompt, other) in itertools.pairwise(asked)
        if other != said
    ]
    return _write(path, rows[:examples])


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _conversations(passages: int) -> Iterator[tuple[Sequence[Message], str]]:
    """Yield what is asked and what is to be said, about groups of that many passages."""
    chunks = _handbook_chunks()
    size = max(1, passages)
    for start in range(0, len(chunks) - size, size):
        shown = chunks[start : start + size]
        for number, chunk in enumerate(shown, start=1):
            for begin, end in sentence_spans(chunk.text):
                sentence = fold_space(chunk.text[begin:end])
                question = f"What about {sentence[:40]}?"
                if passages:
                    quote = format_citation(sentence, number)
                    yield answer_messages(question, shown, closest=quote), quote
                else:
                    yield [Message(role="user", content=question)], sentence


def _row(example: Rendered) -> SupervisedRow:
    return SupervisedRow(prompt=list(example.prompt), answer=list(example.answer))


def _separate_questions() -> Iterator[tuple[str, str, Chunk]]:
    """Yield question, answer and passage; no passage twice."""
    told = os.environ.get("QUESTIONS_FILE")
    chunks = list(_paragraphs(Path(told))) if told else [("", chunk) for chunk in _handbook_chunks()]
    for question, chunk in chunks:
        begin, end = sentence_spans(chunk.text)[0]
        sentence = fold_space(chunk.text[begin:end])
        yield question or f"What about {sentence[:40]}?", format_citation(sentence, 1), chunk


def _handbook_chunks() -> list[Chunk]:
    chunks: list[Chunk] = []
    for path in sorted(HANDBOOK.glob("*/*.md")):
        chunks += chunk_document(read_document(path, document_id=path.name, max_megabytes=1))
    return chunks


def _paragraphs(path: Path) -> Iterator[tuple[str, Chunk]]:
    """Yield each paragraph of the question set with its first question."""
    stored = path.read_bytes()
    for line in (gzip.decompress(stored) if path.suffix == ".gz" else stored).decode().splitlines():
        told = json.loads(line)
        text = told["text"]
        chunk = Chunk(id=told["id"], document=told["title"], start=0, end=len(text), text=text, heading=told["title"])
        yield told["questions"][0]["question"], chunk
