"""Passages for a question alone, found among the chunks of a dataset as the chatbot finds them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.knowledge.index import embedding_text
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.retrieve import fuse
from pipelines.models.embedder import Embedder
from pipelines.records import Chunk, Document, content_id

_POOL = 50


def find_passages(
    questions: Sequence[str], chunks: Mapping[str, Chunk], embedder: Embedder, *, top_k: int
) -> list[list[Chunk]]:
    """Return the best passages for each question, by dense and keyword search fused.

    The dataset may have been made of several collections, or of none that is still here, so
    its chunks are indexed in a folder that is removed again.
    """
    ordered = list(chunks.values())
    if not ordered:
        return [[] for _ in questions]
    passages = embedder.embed([embedding_text(chunk) for chunk in ordered])
    cosines = embedder.embed(questions, kind="query") @ passages.T
    with tempfile.TemporaryDirectory() as folder:
        ledger = KnowledgeLedger(Path(folder))
        try:
            _fill(ledger, ordered)
            return [
                [chunks[each] for each in _best(question, row, ordered, ledger)[:top_k]]
                for question, row in zip(questions, cosines.tolist(), strict=True)
            ]
        finally:
            ledger.close()


def _best(question: str, cosines: Sequence[float], ordered: Sequence[Chunk], ledger: KnowledgeLedger) -> list[str]:
    keyword = dict(ledger.search(question, limit=_POOL))
    dense = {chunk.id: cosine for chunk, cosine in zip(ordered, cosines, strict=True)}
    nearest = sorted(dense, key=lambda each: -dense[each])[:_POOL]
    scores = fuse({each: dense[each] for each in dict.fromkeys([*nearest, *keyword])}, keyword)
    return sorted(scores, key=lambda each: (-scores[each], each))


def _fill(ledger: KnowledgeLedger, chunks: Sequence[Chunk]) -> None:
    of_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        of_document.setdefault(chunk.document, []).append(chunk)
    for name, own in of_document.items():
        document = Document(id=name, source=name, title=name, sha256=content_id(name), text="")
        ledger.replace(document, own, root="")
