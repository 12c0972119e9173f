"""What a query takes, in time and memory, and an index on disk, at 20,000 and at 200,000 chunks.

Documents are made of SQuAD's sentences, drawn again and again, and added as a person would add them.
The vectors of 20,000 chunks are the embedder's. Those of 200,000 would take an hour or more: there,
each is that of a real passage, turned by a random amount, and so are the vectors of its tokens.
What a query takes depends on how many vectors there are, and hardly on what they say. Searches run
in a process of their own, so that its memory is that of searching.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy

from benchmarks.measure import Row, peak_mb
from benchmarks.squad import VARIABLE, Paragraph, add_texts, read_paragraphs, split_questions
from pipelines.knowledge.collection import opened_retriever
from pipelines.models.catalog import DEFAULT_EMBEDDER
from pipelines.models.embedder import Embedder, TextKind, TokenVectors, Vectors
from pipelines.models.provider import Models
from pipelines.operation import Context, open_context
from pipelines.text import sentence_spans

_SIZES = ((20_000, False), (200_000, True))  # chunks, and whether their vectors are turned ones
_QUERIES = 200
_CHUNK_CHARACTERS = 290  # of drawn sentences, as they fill chunks of 400
_DOCUMENT_CHARACTERS = 40_000
_REAL_PASSAGES = 500
_TURN = 0.5  # length of what is added to a vector of length 1
_COLLECTION = "scale"


class TurningEmbedder:
    """An embedder that turns the vectors of a few real passages, and embeds queries as the real one does."""

    def __init__(self, real: Embedder, passages: Sequence[str]) -> None:
        self.name, self.size, self.max_tokens, self.has_tokens = real.name, real.size, real.max_tokens, real.has_tokens
        self._real = real
        self._vectors, self._tokens = real.embed_both(passages)
        noise = numpy.random.default_rng(0).normal(size=(4_096, real.size)).astype(numpy.float32)
        self._noise = _TURN * noise / numpy.linalg.norm(noise, axis=1, keepdims=True)

    def tokenize(self, text: str) -> list[int]:
        """Return the real tokens."""
        return self._real.tokenize(text)

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return the real vectors of queries, and turned ones of passages."""
        if kind == "query":
            return self._real.embed(texts, kind=kind)
        numbers = numpy.array([zlib.crc32(text.encode()) for text in texts], dtype=numpy.int64)
        turned = self._vectors[numbers % len(self._vectors)] + self._noise[numbers // 7 % len(self._noise)]
        return _unit(turned)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return turned vectors of the tokens of real passages."""
        found = []
        for text in texts:
            number = zlib.crc32(text.encode())
            tokens, vectors = self._tokens[number % len(self._tokens)]
            rows = numpy.arange(number, number + len(tokens)) % len(self._noise)
            found.append(TokenVectors(tokens, _unit(vectors + self._noise[rows])))
        return found

    def embed_both(self, texts: Sequence[str], *, kind: TextKind = "passage") -> tuple[Vectors, list[TokenVectors]]:
        """Return both."""
        return self.embed(texts, kind=kind), self.embed_tokens(texts)


class TurningModels(Models):
    """The models of a context, with another embedder."""

    def __init__(self, context: Context, embedder: Embedder) -> None:
        super().__init__(context.settings, calls=context.workspace.calls)
        self._embedder = embedder

    def open_embedder(self, name: str = DEFAULT_EMBEDDER) -> Embedder:
        """Return that embedder."""
        del name
        return self._embedder


def measure() -> list[Row]:
    """Return two rows for each size."""
    paragraphs = read_paragraphs()
    if not paragraphs:
        return [Row(what="retrieval at size", figure=f"not measured: set {VARIABLE}")]
    return [row for chunks, is_turned in _SIZES for row in _at_size(paragraphs, chunks, is_turned=is_turned)]


def _at_size(paragraphs: Sequence[Paragraph], chunks: int, *, is_turned: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        context = open_context(Path(name))
        if is_turned:
            passages = [paragraph.text for paragraph in paragraphs[:_REAL_PASSAGES]]
            embedder = TurningEmbedder(context.models.open_embedder(), passages)
            context = dataclasses.replace(context, models=TurningModels(context, embedder))
        added = add_texts(_texts(paragraphs, chunks), Path(name) / "files", context, collection=_COLLECTION)
        size = _bytes(context.workspace.knowledge(_COLLECTION)) - _bytes(context.workspace.chunks(_COLLECTION))
        command = [sys.executable, "-m", "benchmarks.retrieval_scale", name]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(finished.stdout.splitlines()[-1])
    vectors = "turned vectors" if is_turned else "real vectors"
    return [
        Row(
            what=f"a query in {added.chunks:,} chunks",
            figure=f"p50 {found['p50_ms']:.0f} ms, p95 {found['p95_ms']:.0f} ms",
            against=f"the first, with all models to load: {found['first_s']:.1f} s",
            peak_mb=found["peak_mb"],
        ),
        Row(
            what=f"an index of {added.chunks:,} chunks ({vectors})",
            figure=f"{size / 1e6:,.0f} MB on disk, {size / added.chunks:,.0f} bytes a chunk",
            against=f"made in {added.seconds:.0f} s",
        ),
    ]


def _texts(paragraphs: Sequence[Paragraph], chunks: int) -> dict[str, str]:
    """Return documents of as many characters as fill so many chunks."""
    dice = random.Random(0)
    sentences = [paragraph.text[start:end] for paragraph in paragraphs for start, end in sentence_spans(paragraph.text)]
    texts: dict[str, str] = {}
    left = chunks * _CHUNK_CHARACTERS
    while left > 0:
        wanted, written = min(left, _DOCUMENT_CHARACTERS), 0
        drawn = []
        while written < wanted:
            drawn.append(dice.choice(sentences))
            written += len(drawn[-1]) + 1
        texts[f"{len(texts):05}.txt"] = " ".join(drawn)
        left -= written
    return texts


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _unit(vectors: Vectors) -> Vectors:
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def search(workspace: str) -> dict[str, float]:
    """Return how long queries take in the collection of a workspace, and the memory of this process."""
    questions = [question.question for question in split_questions(read_paragraphs())[0][:_QUERIES]]
    started = time.perf_counter()
    seconds = []
    with opened_retriever(open_context(Path(workspace)), _COLLECTION) as retriever:
        retriever.search(questions[0], top_k=5)
        first = time.perf_counter() - started
        for question in questions:
            started = time.perf_counter()
            retriever.search(question, top_k=5)
            seconds.append(time.perf_counter() - started)
    median, most = numpy.percentile(seconds, [50, 95]) * 1000
    return {"p50_ms": float(median), "p95_ms": float(most), "first_s": first, "peak_mb": peak_mb()}


if __name__ == "__main__":
    print(json.dumps(search(sys.argv[1])))
