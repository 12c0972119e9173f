"""Brings what is derived of a collection, its vector index, to what the ledger holds."""

from __future__ import annotations

from pathlib import Path

from pipelines.knowledge.collection import open_store
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.operation import Context
from pipelines.records import Chunk
from pipelines.text import fold_space

# What one kill can cost: the vectors of this many chunks.
_BATCH = 128


def update_index(folder: Path, ledger: KnowledgeLedger, context: Context) -> None:
    """Bring the vectors to what the ledger holds."""
    embedder = context.models.open_embedder()
    store = open_store(folder, embedder)
    store.delete(ledger.removed())
    ledger.forget_removed()
    if store.count() < ledger.count_stored():
        context.notice("the vector index has lost entries and is made again from the ledger")
        ledger.mark_all_pending()
    pending, stored = ledger.pending(), ledger.count_stored()
    if pending and stored:
        context.notice(f"{stored} chunks are indexed already; {len(pending)} are left")
    for start in range(0, len(pending), _BATCH):
        batch = pending[start : start + _BATCH]
        ids = [chunk.id for chunk in batch]
        store.upsert(ids, embedder.embed([embedding_text(chunk) for chunk in batch]))
        ledger.mark_stored(ids)
        context.progress("indexing", min(start + _BATCH, len(pending)), len(pending))


def embedding_text(chunk: Chunk) -> str:
    """Return what stands for a chunk in the vector index: its headings and its text."""
    return f"{chunk.heading}\n{fold_space(chunk.text)}"
