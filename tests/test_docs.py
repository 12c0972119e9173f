"""Documents in a collection: added, changed, removed, searched, and repaired."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest

from pipelines.errors import ApprovalRequired, DataError, SettingsError
from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams, AddDocumentsReport
from pipelines.knowledge.collection import opened_ledger, opened_vectors
from pipelines.knowledge.documents import (
    LIST_DOCUMENTS,
    REMOVE_DOCUMENT,
    SHOW_DOCUMENT,
    ListDocumentsParams,
    RemoveDocumentParams,
    ShowDocumentParams,
)
from pipelines.knowledge.scan import scan_folder
from pipelines.knowledge.search import SEARCH_DOCUMENTS, FoundPassage, SearchDocumentsParams
from pipelines.models.catalog import DEFAULT_EMBEDDER
from pipelines.models.embedder import Embedder, TextKind, TokenVectors, Vectors
from pipelines.models.provider import Models
from pipelines.operation import Context, Notice, open_context
from pipelines.records import Chunk, read_records
from pipelines.settings import Settings
from tests.conftest import Recorder

DEPOSIT = "# Deposits\n\nA deposit of forty euros is due for every rented bicycle.\n"
HOURS = "# Opening hours\n\nThe shop opens at nine in the morning, except on Sundays.\n"
HOURS_ZH = "# 营业时间\n\n门店周日上午十点开门，晚上六点关门。头盔可以免费借用。\n"
MANY_WORDS = " ".join(f"word{number}" for number in range(3_000))


class OtherModels(Models):
    """Models with an embedder of the test's own."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        super().__init__(Settings(), calls=folder / "calls.sqlite")
        self._embedder = embedder

    def open_embedder(self, name: str = DEFAULT_EMBEDDER) -> Embedder:
        """Return the test's embedder."""
        del name
        return self._embedder


class WrappedEmbedder:
    """The real embedder, for subclasses to change."""

    def __init__(self, real: Embedder, *, name: str = "") -> None:
        self.name = name or real.name
        self.size = real.size
        self.max_tokens = real.max_tokens
        self.has_tokens = real.has_tokens
        self._real = real

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return the real vectors."""
        return self._real.embed(texts, kind=kind)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the real tokens with their vectors."""
        return self._real.embed_tokens(texts)

    def embed_both(self, texts: Sequence[str], *, kind: TextKind = "passage") -> tuple[Vectors, list[TokenVectors]]:
        """Return both, through this class's own methods."""
        return self.embed(texts, kind=kind), self.embed_tokens(texts)

    def tokenize(self, text: str) -> list[int]:
        """Return the real tokens."""
        return self._real.tokenize(text)


class RememberingEmbedder(WrappedEmbedder):
    """The real embedder, which embeds each text once for all tests."""

    def __init__(self, real: Embedder) -> None:
        super().__init__(real)
        self._known: dict[tuple[TextKind, str], Vectors] = {}

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return the real vectors."""
        missing = [text for text in dict.fromkeys(texts) if (kind, text) not in self._known]
        found = zip(missing, self._real.embed(missing, kind=kind), strict=True)
        self._known |= {(kind, text): vector for text, vector in found}
        return numpy.stack([self._known[kind, text] for text in texts]) if texts else self._real.embed([], kind=kind)


class Killed(BaseException):
    """Ends a run as a signal does: nothing of ours catches it."""


class MortalEmbedder(WrappedEmbedder):
    """The real embedder, which counts what it embeds and is killed after so many calls."""

    def __init__(self, real: Embedder, *, calls: int, name: str = "") -> None:
        super().__init__(real, name=name)
        self.embedded = 0
        self._calls_left = calls

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Embed, or die."""
        if self._calls_left == 0:
            raise Killed
        self._calls_left -= 1
        self.embedded += len(texts)
        return self._real.embed(texts, kind=kind)


@functools.cache
def packaged_embedder() -> Embedder:
    """Return the packaged embedder; loading it takes a second."""
    # With one thread: for texts this short, two spend their time waiting for each other.
    models = Models(Settings(threads=1), calls=Path("unused.sqlite"))
    return RememberingEmbedder(models.open_embedder())


@pytest.fixture
def context(context: Context, tmp_path: Path) -> Context:
    """The context of all tests, with the embedder that is loaded already."""
    return with_embedder(context, packaged_embedder(), tmp_path)


def with_embedder(context: Context, embedder: Embedder, folder: Path) -> Context:
    """Return a context like `context`, but with another embedder."""
    return dataclasses.replace(context, models=OtherModels(embedder, folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three documents, one of them in Chinese and one further down."""
    return write_folder(tmp_path / "handbook")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A context whose collection holds the folder, for tests that change nothing."""
    root = tmp_path_factory.mktemp("filled")
    opened = with_embedder(open_context(root / "workspace", confirm=lambda plan: True), packaged_embedder(), root)
    add(opened, write_folder(root / "handbook"))
    return opened


def write_folder(root: Path) -> Path:
    """Write the folder of three documents."""
    (root / "zh").mkdir(parents=True)
    (root / "deposits.md").write_text(DEPOSIT, encoding="utf-8")
    (root / "hours.md").write_text(HOURS, encoding="utf-8")
    (root / "zh" / "hours.md").write_text(HOURS_ZH, encoding="utf-8")
    return root


def add(
    context: Context, folder: Path, *, collection: str = "default", max_megabytes: float = 20
) -> AddDocumentsReport:
    """Add a folder as every surface does."""
    params = AddDocumentsParams(folder=folder, collection=collection, max_megabytes=max_megabytes)
    return ADD_DOCUMENTS.start(params, context)


def search(context: Context, query: str, *, collection: str = "default", top_k: int = 5) -> list[FoundPassage]:
    """Search as every surface does."""
    params = SearchDocumentsParams(query=query, collection=collection, top_k=top_k)
    return SEARCH_DOCUMENTS.start(params, context).passages


def documents(context: Context, collection: str = "default") -> list[str]:
    """Return the ids of a collection's documents."""
    report = LIST_DOCUMENTS.start(ListDocumentsParams(collection=collection), context)
    return [line.document for line in report.documents]


def shown(context: Context, document: str, collection: str = "default") -> str:
    """Return the text of a document."""
    return SHOW_DOCUMENT.start(ShowDocumentParams(document=document, collection=collection), context).text


def count_vectors(context: Context) -> int:
    """Return how many vectors a context's collection has."""
    with opened_vectors(context.workspace.knowledge("default")) as stored:
        return stored.count(context.models.open_embedder().name)


def changes(report: AddDocumentsReport) -> dict[str, int]:
    """Return what an addition changed, without what it left."""
    counts = {
        "added": report.added,
        "updated": report.updated,
        "renamed": report.renamed,
        "unchanged": report.unchanged,
        "removed": report.removed,
    }
    return {name: count for name, count in counts.items() if count}


def test_a_folder_is_added_with_all_its_documents(context: Context, folder: Path) -> None:
    """Each readable file below the folder becomes a document, called by its path."""
    report = add(context, folder)
    assert changes(report) == {"added": 3}
    assert (report.documents, report.chunks, report.failed) == (3, 3, [])
    assert documents(context) == ["deposits.md", "hours.md", "zh/hours.md"]


def test_a_single_file_is_added(context: Context, folder: Path) -> None:
    """A file is added as a folder of one."""
    assert changes(add(context, folder / "hours.md")) == {"added": 1}
    assert documents(context) == ["hours.md"]


def test_adding_a_folder_twice_changes_nothing(context: Context, folder: Path) -> None:
    """What is known is neither read nor embedded again."""
    first = add(context, folder)
    chunks = context.workspace.chunks("default").read_bytes()
    again = MortalEmbedder(context.models.open_embedder(), calls=0)
    report = add(with_embedder(context, again, folder.parent), folder)
    assert changes(report) == {"unchanged": 3}
    assert (report.documents, report.chunks) == (first.documents, first.chunks)
    assert context.workspace.chunks("default").read_bytes() == chunks


@pytest.mark.parametrize(
    ("name", "old", "new", "query"),
    [
        ("deposits.md", "forty", "sixty", "How high is the deposit for a bicycle?"),
        ("zh/hours.md", "上午十点", "下午两点", "周日几点开门？"),
    ],
)
def test_a_changed_file_is_updated(context: Context, folder: Path, name: str, old: str, new: str, query: str) -> None:
    """The new text takes the place of the old one, everywhere, and as often as it changes."""
    add(context, folder)
    path = folder / name
    for before, after in ((old, new), (new, old), (old, new)):
        path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
        report = add(context, folder)
        assert changes(report) == {"updated": 1, "unchanged": 2}
        assert report.chunks == 3
    assert new in shown(context, name)
    [passage] = search(context, query, top_k=1)
    assert new in passage.text
    texts = [chunk.text for chunk in read_records(context.workspace.chunks("default"), Chunk)]
    assert not [text for text in texts if old in text]


def test_a_removed_file_is_removed(context: Context, folder: Path) -> None:
    """A document whose file is gone is no longer found."""
    add(context, folder)
    (folder / "deposits.md").unlink()
    report = add(context, folder)
    assert changes(report) == {"unchanged": 2, "removed": 1}
    assert documents(context) == ["hours.md", "zh/hours.md"]
    assert {passage.document for passage in search(context, "deposit for a bicycle")} == {"hours.md", "zh/hours.md"}


def test_a_renamed_file_keeps_its_text_once(context: Context, folder: Path) -> None:
    """A file of another name is the same document under that name."""
    add(context, folder)
    (folder / "deposits.md").rename(folder / "bonds.md")
    assert changes(add(context, folder)) == {"renamed": 1, "unchanged": 2}
    assert documents(context) == ["bonds.md", "hours.md", "zh/hours.md"]


def test_a_second_folder_leaves_the_first_one_alone(context: Context, folder: Path, tmp_path: Path) -> None:
    """Two folders with a file of the same name are both in the collection, under two ids."""
    other = tmp_path / "branch"
    other.mkdir()
    (other / "hours.md").write_text("# Branch\n\nThe branch opens at noon on every day.\n", encoding="utf-8")
    add(context, folder)
    assert changes(add(context, other)) == {"added": 1}
    assert documents(context) == ["branch/hours.md", "deposits.md", "hours.md", "zh/hours.md"]
    assert "noon" in shown(context, "branch/hours.md")
    assert changes(add(context, other)) == {"unchanged": 1}
    assert changes(add(context, folder)) == {"unchanged": 3}


def test_folders_of_the_same_name_do_not_replace_each_other(context: Context, tmp_path: Path) -> None:
    """However many folders called alike are added, every document of each is kept."""
    for number in range(3):
        root = tmp_path / str(number) / "docs"
        root.mkdir(parents=True)
        (root / "hours.md").write_text(f"# Hours\n\nShop number {number} opens at nine o'clock.\n", encoding="utf-8")
        assert changes(add(context, root)) == {"added": 1}
    texts = [shown(context, document) for document in documents(context)]
    assert [number for number in range(3) if any(f"number {number}" in text for text in texts)] == [0, 1, 2]


def test_a_name_that_is_led_by_its_folder_meets_no_other(context: Context, folder: Path, tmp_path: Path) -> None:
    """A file that is called docs/hours.md for its folder does not replace one that is called so by itself."""
    other = tmp_path / "docs"
    (other / "docs").mkdir(parents=True)
    (other / "hours.md").write_text("# Branch\n\nThe branch opens at noon.\n", encoding="utf-8")
    (other / "docs" / "hours.md").write_text("# Kiosk\n\nThe kiosk opens at dusk.\n", encoding="utf-8")
    add(context, folder)
    assert changes(add(context, other)) == {"added": 2}
    texts = " ".join(shown(context, document) for document in documents(context))
    assert "noon" in texts
    assert "dusk" in texts


def test_a_file_of_a_folder_that_was_added_is_not_stored_twice(context: Context, folder: Path) -> None:
    """Adding a file alone, after the folder it lies in, finds it unchanged."""
    add(context, folder)
    report = add(context, folder / "hours.md")
    assert changes(report) == {"unchanged": 1}
    assert report.documents == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.pdf", b"%PDF-1.7 and nothing more", "not a readable PDF"),
        ("noise.txt", bytes(range(1, 256)) * 3, "is not UTF-8 text"),
        ("empty.md", b"", "no text"),
        ("large.txt", b"x" * 60_000, "over the limit of 0.05 MB"),
        ("binary.txt", b"\x00\x01", "zero bytes"),
    ],
)
def test_one_broken_file_is_reported_and_the_others_are_added(
    context: Context, folder: Path, name: str, content: bytes, reason: str
) -> None:
    """A file that cannot be read is named with its reason; it stops nothing."""
    (folder / name).write_bytes(content)
    report = add(context, folder, max_megabytes=0.05)
    assert changes(report) == {"added": 3}
    [failed] = report.failed
    assert failed.document == name
    assert reason in failed.reason
    assert search(context, "deposit for a bicycle", top_k=1)[0].document == "deposits.md"


def test_a_page_without_end_stops_nothing(context: Context, folder: Path) -> None:
    """Elements nested deeper than any reader would nest them do not keep others from being added."""
    (folder / "deep.html").write_bytes(b"<div>" * 2_000 + b"text")
    assert add(context, folder).added >= 3
    assert search(context, "deposit for a bicycle", top_k=1)[0].document == "deposits.md"


def test_a_file_that_breaks_later_keeps_what_was_read(context: Context, folder: Path) -> None:
    """A document is not lost because its file cannot be read today."""
    add(context, folder)
    (folder / "hours.md").write_bytes(b"")
    report = add(context, folder)
    assert changes(report) == {"unchanged": 2}
    assert [failed.document for failed in report.failed] == ["hours.md"]
    assert "nine" in shown(context, "hours.md")


def test_a_missing_folder_is_refused(context: Context, tmp_path: Path) -> None:
    """A path that is not there is named, and nothing is made."""
    with pytest.raises(DataError, match="there is no file or folder") as caught:
        add(context, tmp_path / "nowhere")
    assert caught.value.hint
    assert context.workspace.names("knowledge") == []


def test_an_empty_folder_is_refused(context: Context, tmp_path: Path) -> None:
    """A folder without documents is refused, with the kinds that can be read."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no documents") as caught:
        add(context, tmp_path / "empty")
    assert ".md" in caught.value.hint


def test_a_folder_of_broken_files_is_refused(context: Context, tmp_path: Path) -> None:
    """Where nothing could be read, the reasons are the message."""
    root = tmp_path / "broken"
    root.mkdir()
    (root / "a.md").write_bytes(b"")
    with pytest.raises(DataError, match=r"could be read: a\.md there is no text in it"):
        add(context, root)


def test_files_of_other_kinds_are_counted(context: Context, folder: Path, recorder: Recorder) -> None:
    """What is passed over is said, with its kind; hidden files are nobody's business."""
    for name in ("a.odt", "b.odt", ".hidden.md"):
        (folder / name).write_text("text")
    (folder / ".git").mkdir()
    (folder / ".git" / "notes.md").write_text("text")
    assert changes(add(context, folder)) == {"added": 3}
    notices = [event.message for event in recorder.events if isinstance(event, Notice)]
    assert any("passed over" in notice and "2 .odt" in notice for notice in notices)


def test_a_link_out_of_the_folder_is_refused(context: Context, folder: Path, tmp_path: Path) -> None:
    """A link cannot bring in a file that lies outside; it is reported."""
    (tmp_path / "secret.md").write_text("# Secret\n\nThe safe's number is 4711.\n", encoding="utf-8")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "nothing.md").symlink_to(tmp_path / "gone.md")
    report = add(context, folder)
    assert changes(report) == {"added": 3}
    assert {failed.document: failed.reason for failed in report.failed} == {
        "link.md": "is a link out of the folder",
        "nothing.md": "is a link to nothing",
    }


def test_a_link_to_a_folder_outside_is_refused(context: Context, folder: Path, tmp_path: Path) -> None:
    """A linked folder brings nothing in either, and is reported like a linked file."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.md").write_text("# Secret\n\nThe safe's number is 4711.\n", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "private", target_is_directory=True)
    report = add(context, folder)
    assert changes(report) == {"added": 3}
    assert [failed.document for failed in report.failed] == ["link"]


def test_a_link_to_a_document_of_the_folder_is_that_document(context: Context, folder: Path) -> None:
    """A file is added once, however many names it has within the folder."""
    (folder / "again.md").symlink_to(folder / "hours.md")
    report = add(context, folder)
    assert (changes(report), report.failed) == ({"added": 3}, [])


def test_a_folder_that_holds_itself_is_walked_once(context: Context, folder: Path) -> None:
    """A link back up does not lead round in circles."""
    (folder / "zh" / "loop").symlink_to(folder, target_is_directory=True)
    assert changes(add(context, folder)) == {"added": 3}


def test_links_to_each_other_lead_nowhere(context: Context, folder: Path) -> None:
    """Links that lead to no file are reported, and stop nothing."""
    (folder / "a.md").symlink_to(folder / "b.md")
    (folder / "b.md").symlink_to(folder / "a.md")
    report = add(context, folder)
    assert changes(report) == {"added": 3}
    assert [failed.document for failed in report.failed] == ["a.md", "b.md"]


@pytest.mark.parametrize(
    ("query", "document", "found"),
    [
        ("How much money do I leave as a deposit?", "deposits.md", "A deposit of forty euros"),
        ("when does the shop open", "hours.md", "opens at nine"),
        ("周日几点开门？", "zh/hours.md", "周日上午十点开门"),
        ("头盔", "zh/hours.md", "头盔可以免费借用"),
        ('"forty" AND euros* (NEAR', "deposits.md", "forty euros"),
    ],
)
def test_search_finds_the_passage_at_its_offsets(filled: Context, query: str, document: str, found: str) -> None:
    """The best passage answers, in English and Chinese, and is what docs show prints at its offsets."""
    passages = search(filled, query)
    assert passages[0].document == document
    assert found in passages[0].text
    for passage in passages:
        assert shown(filled, passage.document)[passage.start : passage.end] == passage.text


def test_search_returns_the_best_first_and_no_more_than_asked(filled: Context) -> None:
    """Scores fall, no passage comes twice, and top_k is the most."""
    passages = search(filled, "opening hours on Sundays", top_k=2)
    assert len({passage.chunk for passage in passages}) == 2
    assert passages[0].score >= passages[1].score
    assert len(search(filled, "opening hours on Sundays", top_k=50)) == 3


@pytest.mark.parametrize("query", ["?!", "the of and", " ", MANY_WORDS, "'; DROP TABLE chunks; --"])
def test_any_query_can_be_searched(filled: Context, query: str) -> None:
    """A query without words, or with very many, is answered like any other."""
    assert len(search(filled, query)) == 3


def test_a_removed_document_is_gone(context: Context, folder: Path) -> None:
    """It is neither listed nor found; its file stays."""
    add(context, folder)
    report = REMOVE_DOCUMENT.start(RemoveDocumentParams(document="deposits.md"), context)
    assert (report.removed, report.documents, report.chunks) == ("deposits.md", 2, 2)
    assert documents(context) == ["hours.md", "zh/hours.md"]
    assert "deposits.md" not in {passage.document for passage in search(context, "deposit for a bicycle")}
    assert (folder / "deposits.md").is_file()
    assert count_vectors(context) == 2


def test_nobody_is_asked_about_a_document_that_is_not_there(filled: Context) -> None:
    """Before a removal is approved it is known to be possible, and what brings the document back is said."""
    assert REMOVE_DOCUMENT.plan is not None
    plan = REMOVE_DOCUMENT.plan(RemoveDocumentParams(document="hours.md"), filled)
    assert "comes back" in plan.steps[-1]
    with pytest.raises(DataError, match=r"missing\.md"):
        REMOVE_DOCUMENT.plan(RemoveDocumentParams(document="missing.md"), filled)


def test_datasets_are_not_made_of_a_removed_document(context: Context, folder: Path) -> None:
    """The list of chunks that a dataset is written from forgets the document as well."""
    add(context, folder)
    REMOVE_DOCUMENT.start(RemoveDocumentParams(document="deposits.md"), context)
    chunks = read_records(context.workspace.chunks("default"), Chunk)
    assert {chunk.document for chunk in chunks} == {"hours.md", "zh/hours.md"}


def test_removal_needs_approval(context: Context, folder: Path, recorder: Recorder) -> None:
    """Nothing is removed where nobody agreed."""
    add(context, folder)
    recorder.agrees = False
    with pytest.raises(ApprovalRequired):
        REMOVE_DOCUMENT.start(RemoveDocumentParams(document="deposits.md"), context)
    assert "deposits.md" in recorder.plans[0].title
    assert "deposits.md" in documents(context)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda context: shown(context, "gone.md"),
        lambda context: REMOVE_DOCUMENT.start(RemoveDocumentParams(document="gone.md"), context),
    ],
)
def test_an_unknown_document_is_refused(filled: Context, attempt: Callable[[Context], object]) -> None:
    """The message names the document, and the hint where to look."""
    with pytest.raises(DataError, match=r"no document 'gone\.md'") as caught:
        attempt(filled)
    assert "docs list" in caught.value.hint


@pytest.mark.parametrize(
    "attempt",
    [
        lambda context: search(context, "deposit", collection="other"),
        lambda context: documents(context, "other"),
        lambda context: shown(context, "hours.md", "other"),
    ],
)
def test_an_unknown_collection_is_refused(filled: Context, attempt: Callable[[Context], object]) -> None:
    """Those that exist are named, and none is made by looking."""
    with pytest.raises(DataError, match="no collection 'other'; known: default") as caught:
        attempt(filled)
    assert "docs add" in caught.value.hint
    assert filled.workspace.names("knowledge") == ["default"]


def test_two_collections_do_not_mix(context: Context, folder: Path, tmp_path: Path) -> None:
    """A search sees its own collection, and a removal leaves the other."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "deposits.md").write_text("# Bonds\n\nHere the deposit is ninety dollars.\n", encoding="utf-8")
    add(context, folder, collection="one")
    add(context, other, collection="two")
    assert {passage.document for passage in search(context, "deposit", collection="two")} == {"deposits.md"}
    assert "ninety" in search(context, "deposit", collection="two")[0].text
    assert not [passage for passage in search(context, "deposit", collection="one") if "ninety" in passage.text]
    REMOVE_DOCUMENT.start(RemoveDocumentParams(document="deposits.md", collection="two"), context)
    assert "deposits.md" in documents(context, "one")


def test_the_list_tells_what_is_known_of_each_document(filled: Context) -> None:
    """Title, length and chunks of each document are listed."""
    lines = LIST_DOCUMENTS.start(ListDocumentsParams(), filled).documents
    assert [(line.title, line.chunks, line.pages) for line in lines] == [
        ("Deposits", 1, 0),
        ("Opening hours", 1, 0),
        ("营业时间", 1, 0),
    ]
    assert [line.characters for line in lines] == [len(shown(filled, line.document)) for line in lines]


def test_vectors_of_another_embedder_are_refused(context: Context, folder: Path) -> None:
    """Vectors of two models cannot be compared, so the collection is not searched with another one."""
    add(context, folder)
    other = MortalEmbedder(context.models.open_embedder(), calls=9, name="another-model")
    stranger = with_embedder(context, other, folder.parent)
    (folder / "new.md").write_text("# New\n\nA new text.\n", encoding="utf-8")
    for attempt in (lambda: search(stranger, "deposit"), lambda: add(stranger, folder)):
        with pytest.raises(DataError, match="not by another-model") as caught:
            attempt()
        assert "docs reindex" in caught.value.hint
    assert search(context, "deposit for a bicycle", top_k=1)[0].document == "deposits.md"


def test_a_run_that_was_killed_before_the_vectors_is_repaired(context: Context, folder: Path) -> None:
    """What the ledger holds and the vectors lack is made up for by the next addition."""
    killed = MortalEmbedder(context.models.open_embedder(), calls=0)
    with pytest.raises(Killed):
        add(with_embedder(context, killed, folder.parent), folder)
    assert documents(context) == ["deposits.md", "hours.md", "zh/hours.md"]
    assert changes(add(context, folder)) == {"unchanged": 3}
    assert search(context, "deposit for a bicycle", top_k=1)[0].document == "deposits.md"
    with opened_ledger(context, "default") as ledger:
        assert ledger.pending() == []


def test_a_run_that_was_killed_goes_on_where_it_was(context: Context, tmp_path: Path) -> None:
    """Vectors that were stored are not made again."""
    root = tmp_path / "long"
    root.mkdir()
    sections = [f"## Part {number}\n\nPart {number} is short.\n" for number in range(140)]
    (root / "long.md").write_text("\n".join(sections), encoding="utf-8")
    killed = MortalEmbedder(context.models.open_embedder(), calls=1)
    with pytest.raises(Killed):
        add(with_embedder(context, killed, tmp_path), root)
    resumed = MortalEmbedder(context.models.open_embedder(), calls=9)
    add(with_embedder(context, resumed, tmp_path), root)
    assert 0 < killed.embedded < 140
    assert killed.embedded + resumed.embedded == 140


def test_vectors_of_what_was_removed_meanwhile_are_deleted(context: Context, folder: Path) -> None:
    """A run killed between ledger and vectors leaves no vector behind that nothing belongs to."""
    add(context, folder)
    (folder / "deposits.md").write_text(DEPOSIT.replace("forty", "sixty"), encoding="utf-8")
    killed = MortalEmbedder(context.models.open_embedder(), calls=0)
    with pytest.raises(Killed):
        add(with_embedder(context, killed, folder.parent), folder)
    add(context, folder)
    assert count_vectors(context) == 3
    assert "sixty" in search(context, "deposit", top_k=1)[0].text


def test_a_broken_ledger_is_reported(context: Context, folder: Path) -> None:
    """A file that is no ledger is named, with what to do."""
    add(context, folder)
    path = context.workspace.knowledge("default") / "ledger.sqlite"
    for each in path.parent.glob("ledger.sqlite*"):
        each.write_bytes(b"this is no database, and long enough to be looked at" * 40)
    with pytest.raises(DataError, match="cannot be opened") as caught:
        search(context, "deposit")
    assert "add the documents again" in caught.value.hint


def test_a_confined_context_adds_nothing_from_outside(context: Context, folder: Path) -> None:
    """A model cannot have folders read that lie outside the workspace."""
    with pytest.raises(SettingsError, match="outside the workspace"):
        add(dataclasses.replace(context, confine=True), folder)


def test_a_pipe_is_no_document(folder: Path) -> None:
    """What is called like a document but is no file is not opened: nobody may ever write into it."""
    os.mkfifo(folder / "pipe.md")
    assert sorted(scan_folder(folder).files) == ["deposits.md", "hours.md", "zh/hours.md"]
