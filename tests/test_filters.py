"""Filters: who passes, and that nothing of what passes is missed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams
from pipelines.knowledge.collection import opened_ledger, opened_retriever
from pipelines.knowledge.filters import Filter, allowed_chunks, kind_of
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.retrieve import Retriever
from pipelines.knowledge.search import SEARCH_DOCUMENTS, SearchDocumentsParams
from pipelines.operation import Context, Notice, open_context
from pipelines.records import Chunk
from tests.conftest import Recorder
from tests.test_docs import packaged_embedder, with_embedder

DOCUMENTS, RARE = 400, 4
QUERY = "How many bicycles does branch number 7 rent out on a Sunday?"


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    """What the shared context was told."""
    return Recorder()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Context:
    """A collection in which one document in a hundred is about something else, and worse for the query."""
    root = tmp_path_factory.mktemp("many")
    (root / "files" / "rare").mkdir(parents=True)
    for number in range(DOCUMENTS - RARE):
        text = f"Branch number {number} rents out {number + 3} bicycles on every Sunday of the year.\n"
        (root / "files" / f"branch{number}.md").write_text(text, encoding="utf-8")
    for number in range(RARE):
        (root / "files" / "rare" / f"tea[{number}].txt").write_text(f"Tea of kind {number} is hot.\n", encoding="utf-8")
    context = open_context(root / "workspace", emit=recorder.emit)
    context = with_embedder(context, packaged_embedder(), root)
    ADD_DOCUMENTS.start(AddDocumentsParams(folder=root / "files"), context)
    return context


@pytest.fixture(scope="module")
def retriever(many: Context) -> Iterator[Retriever]:
    """The real retriever over them."""
    with opened_retriever(many, "default") as opened:
        yield opened


def allowed(context: Context, where: Filter) -> list[str]:
    """Return the chunks of the documents that pass."""
    with opened_ledger(context, "default") as ledger:
        return ledger.allowed(where)


@pytest.mark.parametrize(
    ("where", "passes", "fails"),
    [
        (Filter(), ["a.md", "b/c.pdf", "none"], []),
        (Filter(documents=("zh/*",)), ["zh/a.md", "zh/b/c.md"], ["a.md", "en/zh.md"]),
        (Filter(documents=("*.md", "b.pdf")), ["a.md", "x/a.md", "b.pdf"], ["c.pdf", "x/b.pdf"]),
        (Filter(documents=("a[1].md",)), ["a[1].md", "a1.md"], ["a2.md"]),
        (Filter(documents=("Ver*",)), ["Vertrag.md"], ["vertrag.md"]),
        (Filter(documents=("cafe\u0301.md",)), ["caf\u00e9.md", "cafe\u0301.md"], ["cafe.md"]),
        (Filter(kinds=("pdf,md",)), ["a.PDF", "b.md", "c.markdown"], ["d.txt", "pdf", "e"]),
        (Filter(kinds=(".HTML", " htm ")), ["a.html", "b.htm", "c.xhtml"], ["d.md"]),
        (Filter(documents=("zh/*",), kinds=("pdf",)), ["zh/a.pdf"], ["zh/a.md", "a.pdf"]),
    ],
)
def test_a_document_passes_or_not(where: Filter, passes: list[str], fails: list[str]) -> None:
    """Any pattern, any kind, and both where both are given; an id always passes as its own pattern."""
    assert [name for name in passes if not where.allows(name)] == []
    assert [name for name in fails if where.allows(name)] == []


@pytest.mark.parametrize(("name", "kind"), [("a/b.tar.GZ", "gz"), ("a.b/c", ""), (".hidden", ""), ("x.Markdown", "md")])
def test_the_kind_of_a_document(name: str, kind: str) -> None:
    """Names of one kind are one kind; a folder's or a hidden file's dot is none."""
    assert kind_of(name) == kind


@pytest.mark.parametrize("where", [Filter(documents=("rare/*",)), Filter(kinds=("txt",))])
def test_one_percent_is_found_whole(many: Context, retriever: Retriever, where: Filter) -> None:
    """However far from the query, all that passes is found, and nothing else."""
    found = retriever.search(QUERY, top_k=50, among=allowed(many, where))
    assert sorted(passage.chunk.document for passage in found) == [f"rare/tea[{number}].txt" for number in range(RARE)]


def test_what_passes_keeps_its_order(many: Context, retriever: Retriever) -> None:
    """A document that is named alone is found first, and by its own place among all that pass."""
    among = allowed(many, Filter(documents=("rare/*", "branch1*")))
    found = retriever.search("hot tea of kind 2", top_k=2, among=among)
    assert found[0].chunk.document == "rare/tea[2].txt"
    assert found == sorted(found, key=lambda passage: -passage.score)


def test_only_what_was_changed_since_a_day(tmp_path: Path) -> None:
    """The day itself counts; a document whose file's time is not known does not pass."""
    ledger = KnowledgeLedger(tmp_path)
    ledger.close()
    days = {"old.md": datetime(2026, 1, 30, 23, 59), "new.md": datetime(2026, 1, 31, 0, 1), "unknown.md": None}
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        for name, changed in days.items():
            changed_ns = int(changed.timestamp() * 1e9) if changed else 0
            connection.execute("INSERT INTO documents VALUES (?, '', '', '', '')", (name,))
            connection.execute("INSERT INTO chunks (id, document, record) VALUES (?, ?, '')", (f"c-{name}", name))
            values = (f"/{name}", name, changed_ns)
            connection.execute("INSERT INTO files VALUES (?, '', ?, 1, ?, 0, '', '')", values)
        assert allowed_chunks(connection, Filter(since=date(2026, 1, 31))) == ["c-new.md"]
        assert len(allowed_chunks(connection, Filter())) == 3


def test_a_day_that_does_not_exist_is_refused() -> None:
    """A date is checked before anything is searched."""
    with pytest.raises(ValidationError):
        SearchDocumentsParams(query=QUERY, since="2026-02-30")


def test_docs_search_takes_patterns_and_kinds(many: Context) -> None:
    """Each option may be repeated, and a kind may be a list."""
    params = SearchDocumentsParams(query=QUERY, document=("branch7*",), kind=("pdf,md",), top_k=50)
    found = {passage.document for passage in SEARCH_DOCUMENTS.start(params, many).passages}
    assert found == {f"branch{number}.md" for number in range(DOCUMENTS - RARE) if str(number).startswith("7")}


def test_a_filter_that_leaves_nothing_is_told(many: Context, recorder: Recorder) -> None:
    """No document passes: nothing is found, and the person hears why."""
    report = SEARCH_DOCUMENTS.start(SearchDocumentsParams(query=QUERY, document=("nowhere/*",)), many)
    assert report.passages == []
    assert any("no such documents" in event.message for event in recorder.events if isinstance(event, Notice))


def test_without_a_filter_the_rare_ones_stay_behind(retriever: Retriever) -> None:
    """The filter is what brings them: the search alone does not find them."""
    found: list[Chunk] = [passage.chunk for passage in retriever.search(QUERY, top_k=50)]
    assert not [chunk for chunk in found if chunk.document.startswith("rare/")]
    assert Path(found[0].document).stem == "branch7"
