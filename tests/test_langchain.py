"""The collection as a LangChain retriever, in a chain as one would write it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from pipelines.errors import DataError
from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams
from pipelines.knowledge.documents import SHOW_DOCUMENT, ShowDocumentParams
from pipelines.knowledge.filters import Filter
from pipelines.knowledge.langchain import CollectionRetriever, open_langchain_retriever
from pipelines.operation import Context, open_context
from tests.test_docs import packaged_embedder, with_embedder

LONG = "A deposit of forty euros is due for every rented bicycle of the house. " * 8
FILES = {
    "deposits.md": f"# Deposits\n\n{LONG}\n\nIt is paid back in cash.\n",
    "hours.md": "# Opening hours\n\nThe shop opens at nine in the morning, except on Sundays.\n",
    "zh/hours.md": "# 营业时间\n\n门店周日上午十点开门，晚上六点关门。\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A context with a small collection."""
    root = tmp_path_factory.mktemp("shop")
    for name, text in FILES.items():
        (root / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "files" / name).write_text(text, encoding="utf-8")
    context = with_embedder(open_context(root / "workspace"), packaged_embedder(), root)
    ADD_DOCUMENTS.start(AddDocumentsParams(folder=root / "files"), context)
    return context


@pytest.fixture(scope="module")
def retriever(shop: Context) -> Iterator[CollectionRetriever]:
    """The retriever of the collection, opened once."""
    with open_langchain_retriever(shop, top_k=3) as opened:
        yield opened


def text_at(shop: Context, document: Document) -> str:
    """Return what docs show prints at a document's offsets."""
    shown = SHOW_DOCUMENT.start(ShowDocumentParams(document=document.metadata["document"]), shop).text
    return shown[document.metadata["start"] : document.metadata["end"]]


def test_it_works_in_a_chain(retriever: CollectionRetriever) -> None:
    """Question in, passages into the prompt, answer out."""
    prompts: list[str] = []
    prompt = ChatPromptTemplate.from_messages([("system", "Answer from: {passages}"), ("user", "{question}")])

    def keep(value: object) -> object:
        prompts.append(str(value))
        return value

    model = FakeListChatModel(responses=["At nine."])
    inputs = {"passages": retriever, "question": RunnablePassthrough()}
    chain = inputs | prompt | RunnableLambda(keep) | model | StrOutputParser()
    assert chain.invoke("When does the shop open in the morning?") == "At nine."
    assert "opens at nine in the morning" in prompts[0]


def test_a_document_says_where_it_stands(shop: Context, retriever: CollectionRetriever) -> None:
    """The metadata lead back to the text that docs show prints."""
    [first, *_] = retriever.invoke("When does the shop open in the morning?")
    assert first.metadata["document"] == "hours.md"
    assert first.metadata["heading"] == "Opening hours"
    assert first.metadata["page"] is None
    assert isinstance(first.metadata["score"], float)
    assert text_at(shop, first) == first.page_content


def test_neighbours_are_one_document(shop: Context) -> None:
    """Chunks beside each other come as one, at true offsets; on request they stay apart."""
    with open_langchain_retriever(shop, top_k=10) as retriever:
        merged = retriever.invoke("deposit for a rented bicycle")
        retriever.merge = False
        apart = retriever.invoke("deposit for a rented bicycle")
    assert len(merged) < len(apart)
    assert [text_at(shop, each) for each in merged] == [each.page_content for each in merged]
    assert [each.metadata["document"] for each in merged].count("deposits.md") == 1


def test_documents_can_be_chosen_and_tokens_limited(shop: Context) -> None:
    """A filter and a budget hold in chains as they do in docs search."""
    with open_langchain_retriever(shop, where=Filter(documents=("zh/*",))) as retriever:
        assert [each.metadata["document"] for each in retriever.invoke("deposit")] == ["zh/hours.md"]
        retriever.where = Filter()
        retriever.max_tokens = 20
        tokenize = shop.models.open_embedder().tokenize
        found = retriever.invoke("When does the shop open?")
        assert 0 < sum(len(tokenize(each.page_content)) for each in found) <= 20


def test_it_is_searched_from_several_threads_and_tasks(retriever: CollectionRetriever) -> None:
    """Batch uses threads, ainvoke an event loop: both get what invoke gets."""
    queries = ["When does the shop open?", "deposit for a bicycle", "周日几点开门？"]
    one_by_one = [retriever.invoke(query) for query in queries]

    async def at_once() -> list[list[Document]]:
        return await asyncio.gather(*(retriever.ainvoke(query) for query in queries))

    assert retriever.batch(queries) == one_by_one
    assert asyncio.run(at_once()) == one_by_one


def test_a_missing_collection_is_refused(shop: Context) -> None:
    """The error names the collections there are."""
    with pytest.raises(DataError, match="no collection 'other'"), open_langchain_retriever(shop, collection="other"):
        pass
