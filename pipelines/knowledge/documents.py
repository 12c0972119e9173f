"""`docs list`, `docs show` and `docs remove`: what a collection holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.knowledge.collection import opened_ledger, opened_vectors
from pipelines.knowledge.index import update_index
from pipelines.knowledge.ledger import DocumentSummary
from pipelines.knowledge.turn import taking_turn
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Name

_COLLECTION = Field("default", description="Collection to look in.")
_MEGABYTE = 1_000_000


class ListDocumentsParams(BaseModel):
    """What to list."""

    collection: Name | None = Field(
        None, description="Collection to look in; without, the only one, or a line for each of several."
    )


class DocumentLine(BaseModel):
    """One document of the list."""

    document: str
    title: str
    characters: int
    pages: int
    chunks: int
    state: Literal["indexed", "pending", "failed"] = Field(
        description="Pending until all its vectors are stored; failed if its file cannot be read any more."
    )


class FailedFile(BaseModel):
    """A file that could not be read when it was tried last, and why."""

    document: str
    reason: str


class CollectionLine(BaseModel):
    """One of several collections."""

    collection: str
    documents: int
    chunks: int
    pending: int
    failed: int
    embedder: str
    megabytes: float


class ListDocumentsReport(BaseModel):
    """The documents of a collection, or all collections."""

    collection: str
    documents: list[DocumentLine]
    failed: list[FailedFile] = []
    collections: list[CollectionLine] = []


def list_documents(params: ListDocumentsParams, context: Context) -> ListDocumentsReport:
    """List the documents of a collection."""
    names = [name for name in context.workspace.names("knowledge") if _ledger(name, context).is_file()]
    if params.collection is None and len(names) > 1:
        lines = [_collection_line(name, context) for name in names]
        return ListDocumentsReport(collection="", documents=[], collections=lines)
    collection = params.collection or next(iter(names), "default")
    with opened_ledger(context, collection) as ledger:
        return ListDocumentsReport(
            collection=collection,
            documents=[_line(summary) for summary in ledger.summaries()],
            failed=[FailedFile(document=name, reason=reason) for name, reason in ledger.failures()],
        )


def _line(summary: DocumentSummary) -> DocumentLine:
    return DocumentLine(
        document=summary.id,
        title=summary.title,
        characters=summary.characters,
        pages=summary.pages,
        chunks=summary.chunks,
        state="failed" if summary.failure else "pending" if summary.pending else "indexed",
    )


def _collection_line(name: str, context: Context) -> CollectionLine:
    folder = context.workspace.knowledge(name)
    with opened_ledger(context, name) as ledger, opened_vectors(folder) as stored:
        documents, chunks = ledger.count()
        version = stored.serving()
        return CollectionLine(
            collection=name,
            documents=documents,
            chunks=chunks,
            pending=chunks - ledger.count_stored(),
            failed=len(ledger.failures()),
            embedder=version.embedder if version else "",
            megabytes=round(sum(map(_size, folder.rglob("*"))) / _MEGABYTE, 1),
        )


def _size(path: Path) -> int:
    """Return the bytes of a file; none of a folder, or of what another process has just removed."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _ledger(collection: str, context: Context) -> Path:
    return context.workspace.knowledge(collection) / "ledger.sqlite"


LIST_DOCUMENTS = Operation(params=ListDocumentsParams, report=ListDocumentsReport, run=list_documents, is_reading=True)


class ShowDocumentParams(BaseModel):
    """What to show."""

    document: Annotated[str, Positional()] = Field(description="Id of the document, as docs list prints it.")
    collection: Name = _COLLECTION


class ShowDocumentReport(BaseModel):
    """The text that was understood of a document; citations' offsets point into it."""

    document: str
    title: str
    source: str
    notes: tuple[str, ...] = Field((), description="What was hidden, guessed or left out in reading.")
    text: str


def show_document(params: ShowDocumentParams, context: Context) -> ShowDocumentReport:
    """Show the text that was understood of a document."""
    with opened_ledger(context, params.collection) as ledger:
        document = ledger.document(params.document)
    for note in document.notes:
        context.notice(note)
    return ShowDocumentReport(
        document=document.id,
        title=document.title,
        source=document.source,
        notes=document.notes,
        text=document.text,
    )


SHOW_DOCUMENT = Operation(params=ShowDocumentParams, report=ShowDocumentReport, run=show_document, is_reading=True)


class RemoveDocumentParams(BaseModel):
    """What to remove."""

    document: Annotated[str, Positional()] = Field(description="Id of the document, as docs list prints it.")
    collection: Name = _COLLECTION


class RemoveDocumentReport(BaseModel):
    """What is left."""

    removed: str
    documents: int
    chunks: int


def plan_remove(params: RemoveDocumentParams, context: Context) -> Plan:
    """Say what will be removed."""
    with opened_ledger(context, params.collection) as ledger:
        ledger.document(params.document)
    return Plan(
        title=f"Remove {params.document} from the collection {params.collection}",
        steps=(
            "its text, chunks and vectors are deleted from the index; the file itself stays",
            "it comes back when its folder is added or watched again, unless the file is moved away",
        ),
    )


def remove_document(params: RemoveDocumentParams, context: Context) -> RemoveDocumentReport:
    """Remove a document from a collection; its file stays where it is."""
    folder = context.workspace.knowledge(params.collection)
    with opened_ledger(context, params.collection) as ledger, taking_turn(folder, context):
        ledger.document(params.document)
        ledger.remove(params.document)
        ledger.write_chunks(context.workspace.chunks(params.collection))  # first: a server's index may be away
        update_index(folder, ledger, context)
        documents, chunks = ledger.count()
    return RemoveDocumentReport(removed=params.document, documents=documents, chunks=chunks)


REMOVE_DOCUMENT = Operation(
    params=RemoveDocumentParams, report=RemoveDocumentReport, run=remove_document, plan=plan_remove
)
