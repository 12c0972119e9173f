"""What 50, 100, 200 and 400 records teach: people's questions as cited answers, judged on other articles.

QUESTIONS_FILE names the open question set (SQuAD as JSON lines, may be gzipped). Half of the
articles are trained on, the others are asked about. Every record shows three passages and the
sentence nearest to the question, in the chatbot's own prompt; so do base and few-shot.

Run: QUESTIONS_FILE=... python -m benchmarks.learning_curve
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Row
from pipelines.dataset.curation.compose import Material, compose
from pipelines.evaluation.evaluate import EvaluateParams, evaluate_adapter
from pipelines.knowledge.chunk import chunk_document
from pipelines.models.nearest import NearestFinder
from pipelines.operation import Context, open_context
from pipelines.quotes import locate
from pipelines.records import Chunk, Document, Example, ExampleKind, Split, content_id, write_records
from pipelines.text import fold_space, sentence_spans
from pipelines.training.train import TrainParams, train_adapter

_SIZES = (400, 200, 100, 50)
_TEST, _VALIDATION = 120, 32
_PASSAGES, _UNANSWERABLE = 3, 0.2
_QUESTIONS_PER_PARAGRAPH = 3
_PARAGRAPHS_PER_ARTICLE = 12


def measure() -> list[Row]:
    """Return a row for each number of records."""
    told = os.environ.get("QUESTIONS_FILE")
    if not told:
        return [Row(what="learning curve", figure="not measured: QUESTIONS_FILE is not set")]
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name), confirm=lambda plan: True)
        context.workspace.make()
        chunks, splits = _composed(Path(told), context)
        return [_row(size, chunks, splits, context) for size in _SIZES]


def _row(size: int, chunks: Sequence[Chunk], splits: dict[Split, list[Example]], context: Context) -> Row:
    started = time.perf_counter()
    name = f"records-{size}"
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True)
    write_records(folder / "chunks.jsonl", chunks)
    write_records(folder / "train.jsonl", splits["train"][:size])
    write_records(folder / "validation.jsonl", splits["validation"][:_VALIDATION])
    write_records(folder / "test.jsonl", splits["test"][:_TEST])
    trained = train_adapter(TrainParams(dataset=name), context)
    taken = time.perf_counter() - started
    judged = evaluate_adapter(EvaluateParams(adapter=name, questions=_TEST), context)
    refused = judged.arms["tuned"].correct_refusals
    row = Row(
        what=f"{size} records, {trained.steps} steps",
        figure=f"quote F1 {judged.tuned:.2f}, refused rightly {refused or 0:.2f}; {taken / 60:.1f} min",
        against=f"base {judged.base:.2f}, few-shot {judged.few_shot:.2f}; "
        f"{judged.difference.low:+.2f} … {judged.difference.high:+.2f}, {judged.verdict}",
        peak_mb=trained.peak_memory_mb,
    )
    print(row.line(), file=sys.stderr, flush=True)  # the whole takes most of an hour
    return row


def _composed(path: Path, context: Context) -> tuple[list[Chunk], dict[Split, list[Example]]]:
    """Return all chunks, and the conversations of each split; no article is in two."""
    embedder = context.models.open_embedder()
    all_chunks: list[Chunk] = []
    splits: dict[Split, list[Example]] = {}
    by_split: dict[Split, list[tuple[list[Chunk], list[Example]]]] = {"train": [], "validation": [], "test": []}
    for title, paragraphs in _articles(path).items():
        place = int(content_id("article", title), 16) % 10
        split: Split = "test" if place < 4 else "validation" if place == 4 else "train"
        by_split[split].append(_examples(title, paragraphs))
    for split, parts in by_split.items():
        chunks = [chunk for own, _examples_of in parts for chunk in own]
        examples = [example for _own, examples_of in parts for example in examples_of]
        all_chunks += chunks
        material = Material(
            examples=examples,
            chunks=chunks,
            chunk_vectors=embedder.embed([f"{chunk.heading}\n{fold_space(chunk.text)}" for chunk in chunks]),
            question_vectors=embedder.embed([example.question for example in examples]),
            nearest=NearestFinder(context.models.embedder_of, (chunk.text for chunk in chunks)),
        )
        composed = compose(material, split=split, passages=_PASSAGES, unanswerable_share=_UNANSWERABLE, seed=0)
        # By passages and not by question: what shares them is trained together.
        splits[split] = sorted(composed, key=lambda example: (content_id(*example.chunks), example.id))
    return all_chunks, splits


def _articles(path: Path) -> dict[str, list[dict[str, object]]]:
    stored = path.read_bytes()
    found: dict[str, list[dict[str, object]]] = {}
    for line in (gzip.decompress(stored) if path.suffix == ".gz" else stored).decode().splitlines():
        told = json.loads(line)
        own = found.setdefault(told["title"], [])
        if len(own) < _PARAGRAPHS_PER_ARTICLE:
            own.append(told)
    return found


def _examples(title: str, paragraphs: Sequence[dict[str, object]]) -> tuple[list[Chunk], list[Example]]:
    """Return the chunks of an article, and people's questions whose answer stands in one sentence of a chunk."""
    chunks: list[Chunk] = []
    examples: list[Example] = []
    for number, told in enumerate(paragraphs):
        document = Document(id=f"{title}-{number}", source="", title=title, sha256="", text=str(told["text"]))
        own = list(chunk_document(document))
        chunks += own
        found = (example for asked in told["questions"] for example in _example(asked, own))  # type: ignore[attr-defined]
        examples += [example for _place, example in zip(range(_QUESTIONS_PER_PARAGRAPH), found, strict=False)]
    return chunks, examples


def _example(asked: dict[str, object], chunks: Sequence[Chunk]) -> Iterator[Example]:
    answer = str(asked["answers"][0]["text"])  # type: ignore[index]
    for chunk in chunks:
        for start, end in sentence_spans(chunk.text):
            sentence = fold_space(chunk.text[start:end])
            quote = locate(sentence, chunk) if answer in sentence else None
            if quote is not None:
                yield Example(
                    id=content_id(str(asked["id"])),
                    kind=ExampleKind.GROUNDED,
                    question=str(asked["question"]).strip(),
                    answer=answer,
                    sources=(chunk.id,),
                    quotes=(quote,),
                    teacher="people",
                    prompt="none@1",
                )
                return


if __name__ == "__main__":
    for row in measure():
        print(row.line(), flush=True)
