"""`docs search`: what retrieval finds for a query."""

from __future__ import annotations

import time
from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.filters import Filter
from pipelines.knowledge.marking import mark_words
from pipelines.knowledge.passages import LeftOut, select_passages, text_budget
from pipelines.knowledge.rewrite import open_query_writer, search_fused
from pipelines.operation import Context, Operation, Positional
from pipelines.records import Name, Passage


class SearchDocumentsParams(BaseModel):
    """What to search for, and where."""

    query: Annotated[str, Positional()] = Field(min_length=1, description="What to search for.")
    collection: Name = Field("default", description="Collection to look in.")
    top_k: int = Field(5, ge=1, le=50, description="How many passages to return.")
    document: tuple[str, ...] = Field(
        (), description="Only in documents of this id, or like this pattern, such as 'manuals/*'; may be repeated."
    )
    kind: tuple[str, ...] = Field((), description="Only in files of these kinds, such as pdf,md; may be repeated.")
    since: str = Field("", description="Only in files changed on this day or later, such as 2026-01-31.")
    queries: int = Field(
        1, ge=1, le=8, description="How many wordings to search for; all but yours are written by the agent's model."
    )
    merge: bool = Field(True, description="Make one passage of chunks that stand beside each other.")
    max_tokens: int = Field(
        0, ge=0, description="Most tokens of all passages together, by the embedder's count; 0 for no limit."
    )

    @field_validator("since")
    @classmethod
    def _check_since(cls, since: str) -> str:
        try:
            if since:
                date.fromisoformat(since)
        except ValueError as error:
            raise PydanticCustomError("date", "expected a day such as 2026-01-31") from error
        return since


class FoundPassage(BaseModel):
    """One passage; start and end are offsets into the document's text."""

    document: str
    page: int | None
    heading: str
    chunk: str = Field(description="Id of the chunk; of its own if chunks were merged.")
    text: str
    marks: list[tuple[int, int]] = Field(description="Where words of the query stand in the text.")
    score: float
    start: int
    end: int


class SearchDocumentsReport(BaseModel):
    """The passages, best first."""

    passages: list[FoundPassage]
    answerable: float = Field(description="How likely it is that the documents answer the query at all, from 0 to 1.")
    queries: list[str] = Field(description="What was searched for; the first is the query itself.")
    left_out: LeftOut
    seconds: float


def search_documents(params: SearchDocumentsParams, context: Context) -> SearchDocumentsReport:
    """Search a collection for the passages nearest to a query."""
    queries = [params.query]
    if params.queries > 1:
        queries += open_query_writer(context).reword(params.query, count=params.queries - 1)
    since = date.fromisoformat(params.since) if params.since else None
    where = Filter(documents=params.document, kinds=params.kind, since=since)
    with opened_retriever(context, params.collection) as retriever, opened_ledger(context, params.collection) as ledger:
        among = None if where.is_empty else ledger.allowed(where)
        if among == []:
            context.notice("the collection holds no such documents; see them with: assistant docs list")
        started = time.monotonic()
        first = retriever.find(params.query, top_k=params.top_k, among=among)
        found = first.passages
        if len(queries) > 1:
            found = search_fused(retriever, queries, top_k=params.top_k, among=among)
        selected = select_passages(
            found,
            budget=text_budget(params.max_tokens, retriever.tokenize) if params.max_tokens else None,
            find_document=ledger.document if params.merge else None,
        )
        seconds = time.monotonic() - started
    return SearchDocumentsReport(
        passages=[_shown(passage, params.query) for passage in selected.passages],
        answerable=round(first.answerable, 3),
        queries=queries,
        left_out=selected.left_out,
        seconds=round(seconds, 4),
    )


SEARCH_DOCUMENTS = Operation(
    params=SearchDocumentsParams, report=SearchDocumentsReport, run=search_documents, is_reading=True
)


def _shown(passage: Passage, query: str) -> FoundPassage:
    chunk = passage.chunk
    return FoundPassage(
        document=chunk.document,
        page=chunk.page,
        heading=chunk.heading,
        chunk=chunk.id,
        text=chunk.text,
        marks=mark_words(chunk.text, query),
        score=round(passage.score, 4),
        start=chunk.start,
        end=chunk.end,
    )
