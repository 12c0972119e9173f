"""A collection as a LangChain retriever, for chains of one's own.

    with open_langchain_retriever(Path("my-workspace"), collection="handbook") as retriever:
        chain = {"passages": retriever, "question": RunnablePassthrough()} | prompt | model

This needs the extras `docs` and `agent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, PrivateAttr

from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.filters import Filter
from pipelines.knowledge.passages import select_passages, text_budget
from pipelines.operation import Context, open_context
from pipelines.records import Passage


class CollectionRetriever(BaseRetriever):
    """Finds passages; the fields may be changed between two searches."""

    top_k: int = Field(5, ge=1, description="Most passages to find.")
    where: Filter = Field(Filter(), description="Documents to look in.")
    merge: bool = Field(True, description="Make one passage of chunks that stand beside each other.")
    max_tokens: int = Field(0, ge=0, description="Most tokens of all passages, by the embedder's count; 0: no limit.")
    _opened: _Opened = PrivateAttr()

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        return self._opened.find(query, self).result()

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager
        return await asyncio.wrap_future(self._opened.find(query, self))


@contextmanager
def open_langchain_retriever(
    workspace: Path | Context,
    *,
    collection: str = "default",
    top_k: int = 5,
    where: Filter | None = None,
    merge: bool = True,
    max_tokens: int = 0,
) -> Iterator[CollectionRetriever]:
    """Open a collection for LangChain; it is closed with the context.

    A document found has the passage as its content and, as metadata, `document`, `page`,
    `heading`, `start`, `end` and `score`; start and end are offsets into the document's text.

    Args:
        workspace: Folder of the workspace, or its context.
        collection: Name of the collection.
        top_k: Most passages to find.
        where: Documents to look in; all, if not given.
        merge: Make one passage of chunks that stand beside each other.
        max_tokens: Most tokens of all passages, by the embedder's count; 0 for no limit.

    Raises:
        DataError: There is no such collection.
    """
    context = workspace if isinstance(workspace, Context) else open_context(workspace)
    retriever = CollectionRetriever(top_k=top_k, where=where or Filter(), merge=merge, max_tokens=max_tokens)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="retriever") as thread, ExitStack() as parts:
        opened = _Opened(thread, context, collection)
        thread.submit(opened.open).result()
        parts.callback(lambda: thread.submit(opened.close).result())
        retriever._opened = opened
        yield retriever


class _Opened:
    """A collection that one thread opens, searches and closes.

    Chains search from any thread, and from several at once; a connection to SQLite and a
    model belong to one.
    """

    def __init__(self, thread: ThreadPoolExecutor, context: Context, collection: str) -> None:
        self._thread = thread
        self._context = context
        self._collection = collection
        self._parts = ExitStack()

    def open(self) -> None:
        """Open everything; called in the thread."""
        with ExitStack() as parts:
            self._ledger = parts.enter_context(opened_ledger(self._context, self._collection))
            self._retriever = parts.enter_context(opened_retriever(self._context, self._collection))
            self._parts = parts.pop_all()

    def close(self) -> None:
        """Close everything; called in the thread."""
        self._parts.close()

    def find(self, query: str, wanted: CollectionRetriever) -> Future[list[Document]]:
        """Let the thread search."""
        return self._thread.submit(self._find, query, wanted)

    def _find(self, query: str, wanted: CollectionRetriever) -> list[Document]:
        among = None if wanted.where.is_empty else self._ledger.allowed(wanted.where)
        selected = select_passages(
            self._retriever.search(query, top_k=wanted.top_k, among=among),
            budget=text_budget(wanted.max_tokens, self._retriever.tokenize) if wanted.max_tokens else None,
            find_document=self._ledger.document if wanted.merge else None,
        )
        return [_as_document(passage) for passage in selected.passages]


def _as_document(passage: Passage) -> Document:
    chunk = passage.chunk
    place = {"document": chunk.document, "page": chunk.page, "heading": chunk.heading}
    offsets = {"start": chunk.start, "end": chunk.end}
    return Document(id=chunk.id, page_content=chunk.text, metadata={**place, **offsets, "score": passage.score})
