"""How quickly chunks are embedded against sentence-transformers, and what that costs in retrieval."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.measure import Row, peak_mb
from pipelines.models.catalog import DEFAULT_EMBEDDER, find_model
from pipelines.models.embedder import LocalEmbedder, Vectors
from pipelines.models.encoder import fast_precision
from pipelines.models.hardware import prepare_torch
from pipelines.settings import data_home

DATA = Path(os.environ.get("SHARED_DATA", "../shared/data")) / "squad_dev.jsonl.gz"
_PART = 128  # texts that each arm embeds before it is the other's turn
_CHUNKS = 1_024
_QUESTIONS = 1_500


def measure() -> list[Row]:
    """Embed the same texts by both, in turns; search with the vectors of both."""
    prepare_torch(threads=int(os.environ.get("ASSISTANT_THREADS", "0")))
    folder = find_model(DEFAULT_EMBEDDER, kind="embedding", models_folder=data_home() / "models")
    peer = SentenceTransformer(str(folder), device="cpu")
    ours = LocalEmbedder(folder, name=DEFAULT_EMBEDDER)
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        paragraphs = [json.loads(line) for line in lines]
    rows = [_speed("chunks", _chunks(paragraphs), peer, ours)[0]]
    texts = [paragraph["text"] for paragraph in paragraphs]
    row, theirs, own = _speed("paragraphs", texts, peer, ours)
    asked = [(each["question"], number) for number, p in enumerate(paragraphs) for each in p["questions"]]
    asked = random.Random(0).sample(asked, min(_QUESTIONS, len(asked)))
    questions, wanted = [question for question, _number in asked], [number for _question, number in asked]
    before = ndcg(_peer_vectors(peer, questions) @ theirs.T, wanted)
    after = ndcg(ours.embed(questions, kind="query") @ own.T, wanted)
    what = f"dense nDCG@10, {len(asked)} questions"
    return [*rows, row, Row(what=what, figure=f"{after:.4f}", against=f"{before:.4f}")]


def ndcg(cosines: Vectors, wanted: Sequence[int]) -> float:
    """Return nDCG@10 where one passage, `wanted`, answers each question; `cosines` is (questions, passages)."""
    own = cosines[numpy.arange(len(wanted)), wanted]
    ranks = (cosines > own[:, None]).sum(axis=1)
    return float(numpy.where(ranks < 10, 1 / numpy.log2(ranks + 2), 0).mean())


def _speed(
    what: str, texts: Sequence[str], peer: SentenceTransformer, ours: LocalEmbedder
) -> tuple[Row, Vectors, Vectors]:
    arms: list[Callable[[Sequence[str]], Vectors]] = [lambda part: _peer_vectors(peer, part), ours.embed]
    seconds, vectors = [0.0, 0.0], [[], []]  # type: ignore[var-annotated]
    for arm in arms:
        arm(texts[:16])
    for start in range(0, len(texts), _PART):
        for number, arm in enumerate(arms):
            started = time.perf_counter()
            vectors[number].append(arm(texts[start : start + _PART]))
            seconds[number] += time.perf_counter() - started
    tokens = sum(len(ours.tokenize(text)) for text in texts) / len(texts)
    how = f"{fast_precision()}, {torch.get_num_threads()} threads"
    row = Row(
        what=f"embedding {len(texts)} {what} of {tokens:.0f} tokens, {how}",
        figure=f"{len(texts) / seconds[1]:.0f} a second",
        against=f"sentence-transformers, float32: {len(texts) / seconds[0]:.0f}",
        ratio=seconds[0] / seconds[1],
        peak_mb=peak_mb(),
    )
    return row, numpy.concatenate(vectors[0]), numpy.concatenate(vectors[1])


def _peer_vectors(peer: SentenceTransformer, texts: Sequence[str]) -> Vectors:
    found: Vectors = peer.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return found


def _chunks(paragraphs: Sequence[dict[str, str]]) -> list[str]:
    """Return chunks of a random part of the paragraphs, each below its title."""
    found: list[str] = []
    for paragraph in random.Random(0).sample(list(paragraphs), len(paragraphs)):
        title = paragraph["title"].replace("_", " ")
        found += [f"{title}\n{part}" for part in _parts(paragraph["text"])]
    return found[:_CHUNKS]


def _parts(text: str, *, size_chars: int = 400) -> list[str]:
    sentences, parts = text.split(". "), [""]
    for sentence in sentences:
        if parts[-1] and len(parts[-1]) + len(sentence) > size_chars:
            parts.append("")
        parts[-1] = f"{parts[-1]}. {sentence}".removeprefix(". ")
    return parts
