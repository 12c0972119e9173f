"""Brings what is derived of a collection, its keywords and vectors, to what the ledger holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.knowledge.collection import open_embedder, open_index, opened_vectors
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.lazy import lazy_import
from pipelines.operation import Context
from pipelines.records import Chunk
from pipelines.text import fold_space

if TYPE_CHECKING:
    from pipelines.knowledge import interaction
    from pipelines.knowledge.stored import IndexVersion, StoredVectors
    from pipelines.models.embedder import Embedder, Vectors
else:
    interaction = lazy_import("pipelines.knowledge.interaction", extra="docs")

# What one kill can cost: the vectors of this many chunks.
_BATCH = 128
# So many chunks are in memory at once, of however many there are.
_HELD = 1_024


def update_index(folder: Path, ledger: KnowledgeLedger, context: Context) -> None:
    """Embed what is new, forget what is gone, and bring the indexes to it.

    Whoever calls this holds the lock of `folder`. A vector is stored before anything else learns of
    it, so this can be killed at any moment, and begun again.
    """
    with opened_vectors(folder) as stored:
        _check_counts(ledger, stored, context)
        version, pending = stored.serving(), ledger.pending()
        if pending:
            embedder = open_embedder(version, context)
            if version is None:
                version = stored.begin(embedder.name, model="")
                stored.serve(version)
            for ids, _embedded in embed_ids(pending, ledger, stored, embedder, context=context):
                ledger.mark_stored(ids)
        stored.collect()
        drop_former(folder, stored, context)
        if version is not None:
            fill_index(folder, version, stored, context)


def embed_ids(
    ids: Sequence[str], ledger: KnowledgeLedger, stored: StoredVectors, embedder: Embedder, *, context: Context
) -> Iterator[tuple[list[str], int]]:
    """Do as `embed_chunks` does with the chunks of these ids, a part of them after the other."""
    for start in range(0, len(ids), _HELD):
        chunks = list(ledger.find_chunks(ids[start : start + _HELD]).values())
        yield from embed_chunks(chunks, stored, embedder, context=context, before=start, total=len(ids))


def embed_chunks(
    chunks: Sequence[Chunk],
    stored: StoredVectors,
    embedder: Embedder,
    *,
    context: Context,
    before: int = 0,
    total: int | None = None,
) -> Iterator[tuple[list[str], int]]:
    """Store the vectors of chunks batch by batch; yield the ids of each, and how many texts were embedded for it.

    Args:
        chunks: What to embed.
        stored: Where vectors go.
        embedder: Whose they are.
        context: Told of progress.
        before: How many were embedded before these.
        total: How many there are with those before and after; if not given, these.
    """
    total = total or len(chunks)
    for start in range(0, len(chunks), _BATCH):
        batch = chunks[start : start + _BATCH]
        keys = {chunk.id: text_key(embedding_text(chunk)) for chunk in batch}
        texts = {keys[chunk.id]: embedding_text(chunk) for chunk in batch}
        missing = sorted(stored.missing(texts, embedder.name))
        vectors, signs = _embed([texts[key] for key in missing], embedder)
        embedded = dict(zip(missing, vectors, strict=True))
        stored.keep(keys, embedded, embedder.name, signs=dict(zip(missing, signs, strict=False)))
        yield list(keys), len(missing)
        context.progress("indexing", before + min(start + _BATCH, len(chunks)), total)


def _embed(texts: Sequence[str], embedder: Embedder) -> tuple[Sequence[Vectors], list[bytes]]:
    """Return the vectors of texts, and the signs of their tokens where the embedder tells of tokens."""
    if not texts:
        return (), []
    if not embedder.has_tokens:
        return list(embedder.embed(texts)), []
    vectors, tokens = embedder.embed_both(texts)
    return list(vectors), [interaction.pack_signs(each.vectors) for each in tokens]


def fill_index(folder: Path, version: IndexVersion, stored: StoredVectors, context: Context) -> None:
    """Make the index of a version hold what is stored, unless another process has it open."""
    index = open_index(folder, version, context)
    if not index.fill(stored, context):
        context.notice(
            f"{index.holder()} has the vector index open, so it stays as it is; searches are exact without it, "
            "and the next docs add brings it up to date"
        )


def drop_former(folder: Path, stored: StoredVectors, context: Context) -> None:
    """Remove the indexes of former versions that nobody has open."""
    for version in stored.versions("former"):
        if open_index(folder, version, context).drop():
            stored.forget(version)


def _check_counts(ledger: KnowledgeLedger, stored: StoredVectors, context: Context) -> None:
    """Make again what does not agree with the ledger."""
    _documents, chunks = ledger.count()
    if ledger.count_keywords() != chunks:
        context.notice("the keyword index has lost entries and is made again from the ledger")
        ledger.rebuild_keywords()
    if stored.count_lost():
        context.notice("the stored vectors have lost entries, which are made again from the ledger")
        ledger.mark_all_pending()


def embedding_text(chunk: Chunk) -> str:
    """Return what stands for a chunk in the vector index: its headings and its text."""
    return f"{chunk.heading}\n{fold_space(chunk.text)}"


def text_key(text: str) -> str:
    """Return the hash that an embedded text is known by; 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
