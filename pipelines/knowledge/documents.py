"""`docs list`, `docs show` and `docs remove`: what a collection holds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.knowledge.collection import opened_ledger
from pipelines.knowledge.index import update_index
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Name, write_records
from pipelines.workspace import locked

_COLLECTION = Field("default", description="Collection to look in.")


class ListDocumentsParams(BaseModel):
    """What to list."""

    collection: Name = _COLLECTION


class DocumentLine(BaseModel):
    """One document of the list."""

    document: str
    title: str
    characters: int
    pages: int
    chunks: int


class ListDocumentsReport(BaseModel):
    """The documents of a collection."""

    collection: str
    documents: list[DocumentLine]


def list_documents(params: ListDocumentsParams, context: Context) -> ListDocumentsReport:
    """List the documents of a collection."""
    with opened_ledger(context, params.collection) as ledger:
        counts: dict[str, int] = {}
        for chunk in ledger.chunks():
            counts[chunk.document] = counts.get(chunk.document, 0) + 1
        lines = [
            DocumentLine(
                document=document.id,
                title=document.title,
                characters=len(document.text),
                pages=len(document.pages),
                chunks=counts.get(document.id, 0),
            )
            for document in ledger.documents()
        ]
    return ListDocumentsReport(collection=params.collection, documents=lines)


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
    text: str


def show_document(params: ShowDocumentParams, context: Context) -> ShowDocumentReport:
    """Show the text that was understood of a document."""
    with opened_ledger(context, params.collection) as ledger:
        document = ledger.document(params.document)
    return ShowDocumentReport(document=document.id, title=document.title, source=document.source, text=document.text)


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
    del context
    return Plan(
        title=f"Remove {params.document} from the collection {params.collection}",
        steps=("its text, chunks and vectors are deleted from the index; the file itself stays",),
    )


def remove_document(params: RemoveDocumentParams, context: Context) -> RemoveDocumentReport:
    """Remove a document from a collection; its file stays where it is."""
    folder = context.workspace.knowledge(params.collection)
    with opened_ledger(context, params.collection) as ledger, locked(folder):
        ledger.document(params.document)
        ledger.remove(params.document)
        update_index(folder, ledger, context)
        write_records(context.workspace.chunks(params.collection), ledger.chunks())
        documents, chunks = ledger.count()
    return RemoveDocumentReport(removed=params.document, documents=documents, chunks=chunks)


REMOVE_DOCUMENT = Operation(
    params=RemoveDocumentParams, report=RemoveDocumentReport, run=remove_document, plan=plan_remove
)
