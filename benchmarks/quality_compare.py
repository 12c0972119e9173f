"""Trains one student on each of two datasets, and judges both on questions that people wrote.

See `benchmarks.quality`. Both sets are composed into the same conversations (three passages, the
chatbot's own prompt), with as many records; only what the teacher's work was put through differs.
The naive set keeps its quotes as they came and has no question that cannot be answered.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from pipelines.dataset.curation.compose import Material, compose
from pipelines.dataset.files import CHUNKS, EXAMPLES
from pipelines.evaluation.scores import token_f1
from pipelines.evaluation.statistics import difference_interval
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.models.embedder import Embedder
from pipelines.models.engine import Sampling
from pipelines.models.nearest import NearestFinder
from pipelines.operation import Context, open_context
from pipelines.prompting import answer_messages, answer_prompt, is_refusal, refusal
from pipelines.quotes import check_answer, format_citation
from pipelines.records import Chunk, Example, ExampleKind, Message, content_id, read_records, write_records
from pipelines.text import fold_space, sentence_spans
from pipelines.training.train import TrainParams, train_adapter

_PASSAGES = 3
_QUESTIONS = 300
_LEFT_OUT = 4  # of every so many questions, the passage of one is left out
_VALIDATION = 8  # of every so many records, one chooses the best adapter


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question of a person, with the passages shown and what a right answer contains."""

    question: str
    answers: tuple[str, ...]
    sentence: str  # that holds the answer; empty where the passage was left out
    shown: tuple[Chunk, ...]


def compare(folder: Path, workspace: Path, dataset: str) -> dict[str, Any]:
    """Return the scores of both students and the interval of their difference."""
    context = open_context(workspace, emit=lambda event: None, confirm=lambda plan: True)
    embedder = context.models.open_embedder()
    chunks = list(read_records(context.workspace.dataset(dataset) / CHUNKS, Chunk))
    vectors = embedder.embed([f"{chunk.heading}\n{fold_space(chunk.text)}" for chunk in chunks])
    nearest = NearestFinder(context.models.embedder_of, (chunk.text for chunk in chunks))
    ours = list(read_records(context.workspace.dataset(dataset) / EXAMPLES, Example))
    naive = _read_naive(folder / "naive.jsonl", chunks)
    sets = {
        "ours": _compose(ours, chunks, vectors, embedder, nearest, unanswerable=0.25),
        "naive": _compose_naive(naive, chunks, vectors, nearest),
    }
    count = min(len(ours), len(naive), *map(len, sets.values()))
    asked = _questions(folder / "questions.jsonl", chunks, vectors, embedder)
    scores: dict[str, list[list[float]]] = {}
    adapters: dict[str, Path | None] = {"base": None}
    for name, examples in sets.items():
        chosen = sorted(examples, key=lambda example: content_id("compare", example.id))[:count]
        adapters[name] = _train(f"compare-{name}", chosen, context)
    for name, adapter in adapters.items():
        scores[name] = _judge(asked, context, nearest, adapter)
    return _summary(scores, asked, count)


def _read_naive(path: Path, chunks: Sequence[Chunk]) -> list[tuple[str, str, Chunk]]:
    """Return question, quote as it came, and passage of each naive record."""
    read = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        try:
            said = json.loads(record["said"])
        except ValueError:
            continue  # no loop can use what is no JSON
        if not said.get("question") or not said.get("quote"):
            continue
        # The naive loop gave whole paragraphs; the chunk shown is the one most like its quote.
        own = [chunk for chunk in chunks if fold_space(chunk.text) in fold_space(record["passage"])]
        if own:
            quote = said["quote"]
            read.append((said["question"], quote, max(own, key=lambda chunk: token_f1(quote, chunk.text))))
    return read


def _compose(
    examples: Sequence[Example],
    chunks: Sequence[Chunk],
    vectors: Any,
    embedder: Embedder,
    nearest: NearestFinder,
    *,
    unanswerable: float,
) -> list[Example]:
    material = Material(
        examples=examples,
        chunks=chunks,
        chunk_vectors=vectors,
        question_vectors=embedder.embed([example.question for example in examples]),
        nearest=nearest,
    )
    return compose(material, split="train", passages=_PASSAGES, unanswerable_share=unanswerable, seed=0)


def _compose_naive(
    naive: Sequence[tuple[str, str, Chunk]], chunks: Sequence[Chunk], vectors: Any, nearest: NearestFinder
) -> list[Example]:
    """Return the naive records as conversations of the same form: the quote as the teacher gave it."""
    rng = random.Random(0)
    composed = []
    for question, quote, chunk in naive:
        shown = [chunk, *_neighbours(chunks.index(chunk), chunks, vectors)]
        rng.shuffle(shown)
        answer = format_citation(quote, 1 + shown.index(chunk))
        messages = (*_asked(question, shown, nearest), Message(role="assistant", content=answer))
        composed.append(
            Example(
                id=content_id(question, quote),
                kind=ExampleKind.GROUNDED,
                question=question,
                answer=answer,
                messages=messages,
                chunks=tuple(each.id for each in shown),
                sources=(chunk.id,),
                teacher="naive",
                prompt="naive@1",
            )
        )
    return composed


def _neighbours(own: int, chunks: Sequence[Chunk], vectors: Any) -> list[Chunk]:
    near = [int(each) for each in numpy.argsort(-(vectors @ vectors[own])) if each != own]
    return [chunks[each] for each in near[: _PASSAGES - 1]]


def _asked(question: str, shown: Sequence[Chunk], nearest: NearestFinder) -> tuple[Message, ...]:
    hint = nearest.find(question, shown)
    return answer_messages(question, shown, closest=format_citation(hint.text, hint.number) if hint else "")


def _questions(path: Path, chunks: Sequence[Chunk], vectors: Any, embedder: Embedder) -> list[Asked]:
    """Return people's questions; for every fourth the passages that hold an answer are left out."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines.sort(key=lambda line: content_id("question", line["id"]))
    asked: list[Asked] = []
    question_vectors = embedder.embed([line["question"] for line in lines])
    for line, vector in zip(lines, question_vectors, strict=True):
        paragraph = fold_space(line["paragraph"])
        gold = [
            chunk
            for chunk in chunks
            if fold_space(chunk.text) in paragraph and any(answer in chunk.text for answer in line["answers"])
        ]
        if not gold:
            continue
        is_left_out = len(asked) % _LEFT_OUT == 0
        ranked = [chunks[int(each)] for each in numpy.argsort(-(vectors @ vector))]
        others = [chunk for chunk in ranked if not any(answer in chunk.text for answer in line["answers"])]
        shown = others[:_PASSAGES] if is_left_out else [gold[0], *others[: _PASSAGES - 1]]
        random.Random(line["id"]).shuffle(shown)
        sentence = "" if is_left_out else _sentence(gold[0], line["answers"])
        asked.append(
            Asked(question=line["question"], answers=tuple(line["answers"]), sentence=sentence, shown=tuple(shown))
        )
        if len(asked) == _QUESTIONS:
            break
    return asked


def _sentence(chunk: Chunk, answers: Sequence[str]) -> str:
    spans = [fold_space(chunk.text[start:end]) for start, end in sentence_spans(chunk.text)]
    return next((span for span in spans if any(answer in span for answer in answers)), "")


def _train(name: str, examples: Sequence[Example], context: Context) -> Path:
    folder = context.workspace.dataset(name)
    folder.mkdir(parents=True, exist_ok=True)
    held = [example for number, example in enumerate(examples) if number % _VALIDATION == 0]
    write_records(folder / "train.jsonl", [example for example in examples if example not in held])
    write_records(folder / "validation.jsonl", held)
    train_adapter(TrainParams(dataset=name, base=DEFAULT_BASE_MODEL), context)
    return context.workspace.adapter(name)


def _judge(asked: Sequence[Asked], context: Context, nearest: NearestFinder, adapter: Path | None) -> list[list[float]]:
    """Return, for each question, whether it was served rightly, and the F1 of its quote; with the gate and without."""
    engine = context.models.open_engine(DEFAULT_BASE_MODEL, adapter=adapter)
    sampling = Sampling(max_tokens=answer_prompt("en").defaults["max_tokens"], temperature=0.0)
    prompts = [_asked(each.question, each.shown, nearest) for each in asked]
    answers = [""] * len(asked)
    for index, (completion,) in engine.generate(prompts, sampling):
        answers[index] = completion.text.strip()
    hints = [nearest.find(each.question, each.shown) for each in asked]
    gated = [said if hint and hint.is_near else refusal("en") for said, hint in zip(answers, hints, strict=True)]
    context.models.forget_engines()
    return [[*_score(gate, each), *_score(said, each)] for gate, said, each in zip(gated, answers, asked, strict=True)]


def _score(said: str, asked: Asked) -> tuple[float, float]:
    """Return whether the answer serves the person, and the F1 of what it quotes."""
    checked = check_answer(said, asked.shown)
    is_refused = not checked.quotes or is_refusal(said)
    quoted = fold_space(" ".join(quote.quote for quote in checked.quotes))
    if not asked.sentence:
        return float(is_refused), float(is_refused)
    if is_refused:
        return 0.0, 0.0
    return float(any(answer in quoted for answer in asked.answers)), token_f1(quoted, asked.sentence)


def _summary(scores: dict[str, list[list[float]]], asked: Sequence[Asked], count: int) -> dict[str, Any]:
    answerable = [number for number, each in enumerate(asked) if each.sentence]
    columns = {"served": 0, "quote_f1": 1, "served_without_gate": 2, "quote_f1_without_gate": 3}
    summary: dict[str, Any] = {"records": count, "questions": len(asked), "answerable": len(answerable)}
    for metric, column in columns.items():
        values = {name: [row[column] for row in rows] for name, rows in scores.items()}
        low, high = difference_interval(values["ours"], values["naive"], seed=0)
        summary[metric] = {name: round(sum(each) / len(each), 3) for name, each in values.items()}
        summary[metric]["difference"] = [round(low, 3), round(high, 3)]
        for part, numbers in (
            ("answerable", answerable),
            ("unanswerable", sorted(set(range(len(asked))) - set(answerable))),
        ):
            summary[metric][part] = {
                name: round(sum(each[number] for number in numbers) / len(numbers), 3) for name, each in values.items()
            }
    return summary


def main(folder: str, workspace: str, dataset: str) -> int:
    """Print the comparison."""
    print(json.dumps(compare(Path(folder), Path(workspace), dataset), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
