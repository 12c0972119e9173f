"""`docs search`: what retrieval finds for a query."""

from __future__ import annotations

import time
from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.knowledge.collection import opened_retriever
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name


class SearchDocumentsParams(BaseModel):
    """What to search for."""

    query: Annotated[str, Positional()] = Field(min_length=1, description="What to search for.")
    collection: Name = Field("default", description="Collection to look in.")
    top_k: int = Field(5, ge=1, le=50, description="How many passages to return.")


class FoundPassage(BaseModel):
    """One passage; start and end are offsets into the document's text."""

    document: str
    chunk: str
    text: str
    score: float
    start: int
    end: int


class SearchDocumentsReport(BaseModel):
    """The passages, best first."""

    passages: list[FoundPassage]
    seconds: float


def search_documents(params: SearchDocumentsParams, context: Context) -> SearchDocumentsReport:
    """Search a collection for the passages nearest to a query."""
    with opened_retriever(context, params.collection) as retriever:
        started = time.monotonic()
        passages = retriever.search(params.query, top_k=params.top_k)
        seconds = time.monotonic() - started
    found = [
        FoundPassage(
            document=passage.chunk.document,
            chunk=passage.chunk.id,
            text=passage.chunk.text,
            score=round(passage.score, 4),
            start=passage.chunk.start,
            end=passage.chunk.end,
        )
        for passage in passages
    ]
    return SearchDocumentsReport(passages=found, seconds=round(seconds, 4))


SEARCH_DOCUMENTS = Operation(
    params=SearchDocumentsParams, report=SearchDocumentsReport, run=search_documents, is_reading=True
)
