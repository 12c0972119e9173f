"""`docs reindex`: embeds a collection anew, by the same or another model, while the old vectors serve."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field

from pipelines.knowledge.choose import lasting_name
from pipelines.knowledge.collection import open_embedder, opened_ledger, opened_vectors
from pipelines.knowledge.index import drop_former, embed_ids, fill_index
from pipelines.knowledge.turn import taking_turn
from pipelines.operation import Context, Operation
from pipelines.records import Name


class ReindexDocumentsParams(BaseModel):
    """What to embed anew, and by which model."""

    collection: Name = Field("default", description="Collection to index again.")
    embedder: str = Field(
        "", description="Embedding model: a name of the catalog, or a folder. The collection's own if empty."
    )


class ReindexDocumentsReport(BaseModel):
    """What serves now."""

    collection: str
    embedder: str
    former_embedder: str
    chunks: int
    embedded: int = Field(description="Texts that had no vector of this model yet.")
    seconds: float


def reindex_documents(params: ReindexDocumentsParams, context: Context) -> ReindexDocumentsReport:
    """Embed a collection again, by the same or another model; the old vectors serve until it is done."""
    started = time.monotonic()
    folder = context.workspace.knowledge(params.collection)
    with (
        opened_ledger(context, params.collection) as ledger,
        taking_turn(folder, context),
        opened_vectors(folder) as stored,
    ):
        former = stored.serving()
        model = lasting_name(params.embedder) or (former.model if former else "")
        if model:
            context.check_model(model)
        embedder = context.models.open_embedder(model) if model else open_embedder(None, context)
        version = stored.begin(embedder.name, model=model)
        ids = ledger.ids()
        ledger.rebuild_keywords()
        embedded = sum(count for _ids, count in embed_ids(ids, ledger, stored, embedder, context=context))
        stored.collect()
        fill_index(folder, version, stored, context)
        stored.serve(version)
        ledger.mark_stored(ids)
        drop_former(folder, stored, context)
    return ReindexDocumentsReport(
        collection=params.collection,
        embedder=embedder.name,
        former_embedder=former.embedder if former else "",
        chunks=len(ids),
        embedded=embedded,
        seconds=round(time.monotonic() - started, 2),
    )


REINDEX_DOCUMENTS = Operation(params=ReindexDocumentsParams, report=ReindexDocumentsReport, run=reindex_documents)
