"""Opens the parts of a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import DataError
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.lazy import lazy_import
from pipelines.operation import Context

if TYPE_CHECKING:
    from pipelines.knowledge import retrieve, vectors
    from pipelines.models.embedder import Embedder
else:
    retrieve = lazy_import("pipelines.knowledge.retrieve", extra="docs")
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
    ledger = KnowledgeLedger(folder)
    try:
        yield ledger
    finally:
        ledger.close()


def open_store(folder: Path, embedder: Embedder) -> vectors.VectorStore:
    """Open the vectors of the collection in `folder`."""
    return vectors.VectorStore(folder / "chroma", embedder=embedder.name)


@contextmanager
def opened_retriever(context: Context, collection: str) -> Iterator[retrieve.Retriever]:
    """Open a collection for searching."""
    with opened_ledger(context, collection) as ledger:
        embedder = context.models.open_embedder()
        store = open_store(context.workspace.knowledge(collection), embedder)
        yield retrieve.Retriever(ledger, store, embedder)
