"""Opens the parts of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import DataError
from pipelines.knowledge.database import explaining
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.lazy import lazy_import
from pipelines.operation import Context

if TYPE_CHECKING:
    import threadpoolctl

    from pipelines.knowledge import owned, retrieve, served, stored, tuning, vectors
    from pipelines.models.embedder import Embedder
else:
    owned = lazy_import("pipelines.knowledge.owned", extra="docs")
    retrieve = lazy_import("pipelines.knowledge.retrieve", extra="docs")
    served = lazy_import("pipelines.knowledge.served", extra="docs")
    stored = lazy_import("pipelines.knowledge.stored", extra="docs")
    threadpoolctl = lazy_import("threadpoolctl", extra="docs")
    tuning = lazy_import("pipelines.knowledge.tuning", extra="docs")
    vectors = lazy_import("pipelines.knowledge.vectors", extra="docs")


@contextmanager
def opened_ledger(context: Context, collection: str) -> Iterator[KnowledgeLedger]:
    """Open the ledger of a collection that exists.

    Raises:
        DataError: There is no such collection.
    """
    folder = context.workspace.knowledge(collection)
    if not (folder / "ledger.sqlite").is_file():
        known = ", ".join(context.workspace.names("knowledge")) or "none"
        raise DataError(
            f"there is no collection {collection!r}; known: {known}",
            hint=f"Make it with: assistant docs add FOLDER --collection {collection}",
        )
    with made_ledger(folder) as ledger:
        yield ledger


@contextmanager
def made_ledger(folder: Path) -> Iterator[KnowledgeLedger]:
    """Open the ledger of the collection in `folder`, making it if there is none."""
    ledger = KnowledgeLedger(folder)
    try:
        with explaining(folder):
            yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_vectors(folder: Path) -> Iterator[stored.StoredVectors]:
    """Open the stored vectors of the collection in `folder`."""
    opened = stored.StoredVectors(folder)
    try:
        with explaining(folder):
            yield opened
    finally:
        opened.close()


def open_index(folder: Path, version: stored.IndexVersion, context: Context) -> vectors.VectorIndex:
    """Open the index of one version of the collection in `folder`, where the settings want it."""
    if context.settings.chroma_url:
        return served.ServedIndex(context.settings.chroma_url, version)
    return owned.OwnedIndex(folder, version)


def open_embedder(version: stored.IndexVersion | None, context: Context) -> Embedder:
    """Open the embedder of a version, or the default one where there is none yet.

    Raises:
        DataError: What opens under its name is another model than the one that made the vectors.
    """
    model = version.model if version is not None else ""
    embedder = context.models.open_embedder(model) if model else context.models.open_embedder()
    if version is not None and embedder.name != version.embedder:
        raise DataError(
            f"the vectors of this collection were made by {version.embedder}, not by {embedder.name}",
            hint="Embed it anew with: assistant docs reindex; until then, use the former model.",
        )
    return embedder


@contextmanager
def opened_retriever(context: Context, collection: str) -> Iterator[retrieve.Retriever]:
    """Open a collection for searching."""
    folder = context.workspace.knowledge(collection)
    # numpy's threads wait for those of torch, which turn on for a while after each product: 20 ms, or 100.
    single = threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    with opened_ledger(context, collection) as ledger, opened_vectors(folder) as kept, single:
        version = kept.serving()
        embedder = open_embedder(version, context)
        if version is None:
            version = stored.IndexVersion(key="", embedder=embedder.name)  # nothing is embedded yet
        exact_up_to = 0 if context.settings.chroma_url else vectors.EXACT_UP_TO
        store = vectors.VectorStore(kept, version, open_index(folder, version, context), exact_up_to=exact_up_to)
        fitted = tuning.load_tuning(folder, embedder=embedder.name)
        yield retrieve.Retriever(ledger, store, embedder, tuning=fitted)
