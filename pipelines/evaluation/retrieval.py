"""Passages for a question alone, found among the chunks of a dataset as the chatbot finds them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.knowledge.collection import open_index
from pipelines.knowledge.index import embed_chunks
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.retrieve import Retriever
from pipelines.knowledge.stored import StoredVectors
from pipelines.knowledge.vectors import VectorStore
from pipelines.models.embedder import Embedder
from pipelines.operation import Context
from pipelines.records import Chunk, Document, content_id


def find_passages(
    questions: Sequence[str], chunks: Mapping[str, Chunk], embedder: Embedder, context: Context, *, top_k: int
) -> list[list[Chunk]]:
    """Return the best passages for each question.

    The dataset may have been made of several collections, or of none that is still here, so
    its chunks are indexed in a folder that is removed again.
    """
    if not chunks:
        return [[] for _ in questions]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger, stored = KnowledgeLedger(folder), StoredVectors(folder)
        try:
            _fill(ledger, list(chunks.values()))
            for _batch in embed_chunks(list(chunks.values()), stored, embedder, context=context):
                pass
            version = stored.begin(embedder.name, model="")
            store = VectorStore(stored, version, open_index(folder, version, context), exact_up_to=len(chunks))
            retriever = Retriever(ledger, store, embedder)
            return [[each.chunk for each in retriever.search(question, top_k=top_k)] for question in questions]
        finally:
            stored.close()
            ledger.close()


def _fill(ledger: KnowledgeLedger, chunks: Sequence[Chunk]) -> None:
    of_document: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        of_document.setdefault(chunk.document, []).append(chunk)
    for name, own in of_document.items():
        document = Document(id=name, source=name, title=name, sha256=content_id(name), text="")
        ledger.replace(document, own, root="")
