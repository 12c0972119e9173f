"""Documents added again: what is read, what is kept, what is told; after a kill, beside another process, on watch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from pipelines.errors import DataError, LLMConnectionError
from pipelines.knowledge import owned, watch
from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams, AddDocumentsReport
from pipelines.knowledge.collection import made_ledger, opened_ledger, opened_vectors
from pipelines.knowledge.documents import (
    LIST_DOCUMENTS,
    SHOW_DOCUMENT,
    ListDocumentsParams,
    ListDocumentsReport,
    ShowDocumentParams,
)
from pipelines.knowledge.ledger import KnowledgeLedger
from pipelines.knowledge.search import SEARCH_DOCUMENTS, SearchDocumentsParams
from pipelines.knowledge.watch import WatchDocumentsParams, watch_folder
from pipelines.operation import Context, Notice
from pipelines.records import Chunk, read_records
from tests.conftest import Recorder
from tests.word_embedder import READY, WordEmbedder, with_words

ROOT = Path(__file__).parents[1]
NAMES = ("bikes", "helmets", "locks")
AN_HOUR_AGO = time.time() - 3_600
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """No index stays open after a test, as none does after a process."""
    yield
    owned.close_indexes()


@pytest.fixture
def words() -> WordEmbedder:
    """The embedder, which counts what it embeds."""
    return WordEmbedder()


@pytest.fixture
def context(context: Context, words: WordEmbedder) -> Context:
    """A context with the embedder of words."""
    return with_words(context, words=words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three documents, written an hour ago."""
    root = tmp_path / "shop"
    root.mkdir()
    for name in NAMES:
        write(root / f"{name}.md", f"# {name.title()}\n\nWe rent {name}.\n\n## Prices\n\nAsk for {name}.\n")
    return root


def write(path: Path, text: str | bytes, *, at: float = AN_HOUR_AGO) -> None:
    """Write a file as if at some time."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, (at, at))


def add(context: Context, folder: Path, **params: object) -> AddDocumentsReport:
    """Add a folder as every surface does."""
    return ADD_DOCUMENTS.start(AddDocumentsParams.model_validate({"folder": folder, **params}), context)


def counts(report: AddDocumentsReport) -> dict[str, int]:
    """Return what an addition counted."""
    names = ("added", "updated", "renamed", "unchanged", "removed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def failures(report: AddDocumentsReport | ListDocumentsReport) -> dict[str, str]:
    """Return the reasons of failures, by document."""
    return {failure.document: failure.reason for failure in report.failed}


def listed(context: Context, collection: str | None = None) -> ListDocumentsReport:
    """List as every surface does."""
    return LIST_DOCUMENTS.start(ListDocumentsParams(collection=collection), context)


def notices(recorder: Recorder) -> str:
    """Return all notices, one a line."""
    return "\n".join(event.message for event in recorder.events if isinstance(event, Notice))


def wait_for(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_what_looks_as_it_did_is_not_opened(context: Context, folder: Path) -> None:
    """Size, time and inode tell that a file is unchanged; only `verify` finds one that deceives them."""
    add(context, folder)
    path = folder / "bikes.md"
    write(path, path.read_text().replace("rent", "lend"))
    assert counts(add(context, folder)) == {"unchanged": 3}
    assert counts(add(context, folder, verify=True)) == {"updated": 1, "unchanged": 2}


def test_a_file_that_was_just_written_is_not_trusted(context: Context, folder: Path) -> None:
    """Two writes within the clock's grain look the same, so the hash decides."""
    path, now = folder / "bikes.md", time.time()
    write(path, "We rent bikes.", at=now)
    add(context, folder)
    write(path, "We lend bikes.", at=now)
    assert counts(add(context, folder)) == {"updated": 1, "unchanged": 2}


def test_a_touched_file_is_unchanged(context: Context, folder: Path, words: WordEmbedder) -> None:
    """The time of a change alone changes nothing, and is looked into once."""
    add(context, folder)
    embedded = words.embedded
    os.utime(folder / "bikes.md", (AN_HOUR_AGO + 9, AN_HOUR_AGO + 9))
    assert counts(add(context, folder)) == {"unchanged": 3}
    assert words.embedded == embedded


def test_an_addition_that_finds_nothing_new_loads_no_model(context: Context, folder: Path) -> None:
    """Neither torch nor chromadb is imported when nothing changed."""
    add(context, folder)
    owned.close_indexes()
    code = (
        "import json, sys; from pathlib import Path; from pipelines.operation import open_context;"
        "from pipelines.knowledge.add import *;"
        "report = add_documents(AddDocumentsParams(folder=Path(sys.argv[2])), open_context(Path(sys.argv[1])));"
        "print(json.dumps([report.unchanged, [m for m in ('torch', 'chromadb', 'transformers') if m in sys.modules]]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(context.workspace.root), str(folder)],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=PATIENCE_S,
    )  # fmt: skip
    assert json.loads(found.stdout) == [3, []]


def test_a_renamed_file_is_told_and_not_embedded(context: Context, folder: Path, words: WordEmbedder) -> None:
    """It is the same document under another name; who asks for the former one learns of it."""
    add(context, folder)
    embedded = words.embedded
    (folder / "bikes.md").rename(folder / "cycles.md")
    report = add(context, folder)
    assert counts(report) == {"renamed": 1, "unchanged": 2}
    [change] = report.changes
    assert (change.former, change.document) == ("bikes.md", "cycles.md")
    assert words.embedded == embedded
    with pytest.raises(DataError) as caught:
        SHOW_DOCUMENT.start(ShowDocumentParams(document="bikes.md"), context)
    assert "'cycles.md' now" in caught.value.hint
    chunks = read_records(context.workspace.chunks("default"), Chunk)
    assert {chunk.document for chunk in chunks} == {"cycles.md", "helmets.md", "locks.md"}


def test_a_document_is_told_by_all_names_it_had(context: Context, folder: Path) -> None:
    """Who asks for the first of several names learns of the last; of one that is gone, nothing."""

    def hint(document: str) -> str:
        with pytest.raises(DataError) as caught:
            SHOW_DOCUMENT.start(ShowDocumentParams(document=document), context)
        return caught.value.hint

    add(context, folder)
    path = folder / "bikes.md"
    for name in ("cycles.md", "wheels.md"):
        path = path.rename(folder / name)
        assert counts(add(context, folder))["renamed"] == 1
    assert "'wheels.md' now" in hint("bikes.md")
    assert "'wheels.md' now" in hint("cycles.md")
    path.unlink()
    add(context, folder)
    assert "docs list" in hint("bikes.md")


@pytest.mark.parametrize("name", ["shop", "bikes.md"])
def test_what_was_moved_with_its_folder_is_not_kept_twice(
    context: Context, folder: Path, words: WordEmbedder, name: str
) -> None:
    """A folder under another name, or a file that was added alone, is the same documents at another place."""
    former = folder if name == folder.name else folder / name
    count = counts(add(context, former))["added"]
    embedded = words.embedded
    moved = former.rename(former.with_name(f"moved-{name}"))
    report = add(context, moved)
    assert (counts(report), report.documents) == ({"renamed": count}, count)
    assert words.embedded - embedded == (2 if former.is_file() else 0)
    assert counts(add(context, moved)) == {"unchanged": count}


def test_what_is_still_elsewhere_is_not_taken_from_there(context: Context, folder: Path, tmp_path: Path) -> None:
    """A copied folder is a second one; of three copies that are gone, each stands for one file."""
    add(context, folder)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert counts(add(context, other)) == {"added": 3}
    write(folder / "again.md", (folder / "bikes.md").read_bytes())
    add(context, folder)
    shutil.rmtree(folder)
    third = tmp_path / "third"
    shutil.copytree(other, third)
    write(third / "one.md", (other / "bikes.md").read_bytes())
    write(third / "two.md", (other / "bikes.md").read_bytes())
    assert counts(add(context, third)) == {"renamed": 4, "added": 1}
    assert counts(add(context, other)) == {"unchanged": 3}


def test_what_may_not_be_looked_at_is_not_gone(
    context: Context, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a folder that is closed today takes nothing from it."""
    add(context, folder)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    lstat = os.lstat

    def closed(path: str) -> os.stat_result:
        if str(path).startswith(str(folder)):
            raise PermissionError(13, "Permission denied", path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", closed)
    report = add(context, other)
    assert (counts(report), report.documents) == ({"added": 3}, 6)


def test_nothing_is_left_of_the_last_document(context: Context, folder: Path) -> None:
    """Where the only file that is left cannot be read, chunks and vectors of the others are gone all the same."""
    add(context, folder)
    for name in NAMES:
        (folder / f"{name}.md").unlink()
    write(folder / "broken.md", b"")
    with pytest.raises(DataError, match="no text"):
        add(context, folder)
    assert context.workspace.chunks("default").read_bytes() == b""
    with opened_vectors(context.workspace.knowledge("default")) as stored:
        assert stored.count("words-1") == 0


def test_an_emptied_folder_keeps_its_documents_and_says_so(context: Context, folder: Path) -> None:
    """It may be a disk that is not there today."""
    add(context, folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="the 3 that were read from it before are kept") as caught:
        add(context, folder)
    assert "docs remove" in caught.value.hint
    assert len(listed(context).documents) == 3


def test_a_full_disk_is_told_and_nothing_before_is_lost(context: Context, folder: Path) -> None:
    """What cannot be written is an error that says what to do, and what was written stays."""
    add(context, folder)
    with pytest.raises(DataError, match=r"cannot be used.*full") as caught, opened(context) as ledger:
        [pages] = ledger._connection.execute("PRAGMA page_count").fetchone()
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        bikes = ledger.document("bikes.md")
        ledger.replace(bikes.model_copy(update={"text": "x" * 100_000}), [], root=str(folder))
    assert "disk space" in caught.value.hint
    assert counts(add(context, folder)) == {"unchanged": 3}


def test_nobody_is_told_to_remove_what_may_only_not_be_written(context: Context, folder: Path) -> None:
    """A folder without the right to write is no damage: the hint says what is missing."""
    add(context, folder)
    with pytest.raises(DataError, match="readonly") as caught, opened(context) as ledger:
        ledger._connection.execute("PRAGMA query_only = 1")
        ledger.remove("bikes.md")
    assert "right to write" in caught.value.hint
    (context.workspace.knowledge("default") / "ledger.sqlite-wal").mkdir()
    with pytest.raises(DataError, match="cannot be opened") as caught:
        listed(context)
    assert "right to write" in caught.value.hint


def test_a_collection_that_cannot_be_made_is_named(context: Context, folder: Path) -> None:
    """Where the workspace may not be written to, the folder is named."""
    (context.workspace.root / "knowledge").write_text("in the way")
    with pytest.raises(DataError, match=r"knowledge/default cannot be written to"):
        add(context, folder)


def test_damage_that_comes_to_light_later_is_told(context: Context, folder: Path) -> None:
    """A ledger that opens, but cannot be read, is the same kind of error as one that cannot be opened."""
    add(context, folder)
    path = context.workspace.knowledge("default") / "ledger.sqlite"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * (size - 4096 * 3))
    with pytest.raises(DataError, match=r"ledger\.sqlite cannot be") as caught:
        listed(context)
    assert "add the documents again" in caught.value.hint


@contextlib.contextmanager
def opened(context: Context) -> Iterator[KnowledgeLedger]:
    """Open the ledger as every operation does."""
    with made_ledger(context.workspace.knowledge("default")) as ledger:
        yield ledger


def test_a_copy_is_a_document_of_its_own(context: Context, folder: Path, words: WordEmbedder) -> None:
    """The same content at two places is cited by two names, and embedded once."""
    add(context, folder)
    embedded = words.embedded
    write(folder / "copy.md", (folder / "bikes.md").read_bytes())
    report = add(context, folder)
    assert (counts(report), report.documents) == ({"added": 1, "unchanged": 3}, 4)
    assert words.embedded == embedded


def test_an_edit_at_the_top_keeps_what_is_below(context: Context, folder: Path, words: WordEmbedder) -> None:
    """Passages that only moved keep their ids and vectors; their offsets are the new ones."""
    path = folder / "bikes.md"
    sections = "\n\n".join(f"## Part {number}\n\nBike {number} is red." for number in range(9))
    write(path, f"# Bikes\n\nWe rent bikes.\n\n{sections}\n")
    add(context, folder)
    with opened_ledger(context, "default") as ledger:
        before = {chunk.id: chunk.start for chunk in ledger.chunks() if "is red" in chunk.text}
    embedded = words.embedded
    write(path, f"# Bikes\n\nSince last May we rent and repair bikes.\n\n{sections}\n")
    assert counts(add(context, folder)) == {"updated": 1, "unchanged": 2}
    with opened_ledger(context, "default") as ledger:
        after = {chunk.id: chunk.start for chunk in ledger.chunks() if "is red" in chunk.text}
    assert before.keys() == after.keys()
    assert all(after[each] > before[each] for each in after)
    assert words.embedded == embedded + 1


def test_a_failure_is_kept_until_something_changes(context: Context, folder: Path) -> None:
    """A file that cannot be read is listed, and tried again when it changed or when that is asked for."""
    path = folder / "empty.md"
    write(path, "   ")
    assert "no text" in failures(add(context, folder))["empty.md"]
    assert "no text" in failures(listed(context))["empty.md"]
    write(path, "Now")
    assert "no text" in failures(add(context, folder))["empty.md"], "it looks as it did, so it was not tried"
    report = add(context, folder, retry=True)
    assert (counts(report), report.failed) == ({"added": 1, "unchanged": 3}, [])
    assert listed(context).failed == []


def test_a_failed_file_that_changed_is_tried_again(context: Context, folder: Path) -> None:
    """What is mended is read, without being asked for; what breaks keeps its former text."""
    add(context, folder)
    good = (folder / "bikes.md").read_bytes()
    write(folder / "bikes.md", b"")
    assert failures(add(context, folder)).keys() == {"bikes.md"}
    states = {line.document: line.state for line in listed(context).documents}
    assert states == {"bikes.md": "failed", "helmets.md": "indexed", "locks.md": "indexed"}
    write(folder / "bikes.md", good)
    report = add(context, folder)
    assert (counts(report), report.failed) == ({"unchanged": 3}, [])


def test_a_file_that_was_too_large_is_tried_under_another_limit(context: Context, folder: Path) -> None:
    """A raised limit is reason enough to look again."""
    write(folder / "large.md", "word " * 1_000)
    assert "over the limit" in failures(add(context, folder, max_megabytes=0.004))["large.md"]
    assert counts(add(context, folder)) == {"added": 1, "unchanged": 3}


def test_each_bad_file_is_named_and_the_rest_is_added(context: Context, folder: Path, tmp_path: Path) -> None:
    """Pipes, sockets, links, huge files and strange names stop nothing, and are shown as they can be."""
    write(folder / "two\nlines\x1b[2J.md", "# Lines\n\nThe name has two lines.")
    (tmp_path / "secret.md").write_text("secret")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "loop").symlink_to(folder)
    (folder / "self.md").symlink_to(folder / "self.md")
    (folder / "above").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.md")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.md")).write_text("text")
    Path(os.fsdecode(os.fsencode(folder) + b"/dir\xff")).mkdir()
    with (folder / "large.txt").open("wb") as file:
        file.truncate(1_000_000_000)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "listen.md"))
        report = add(context, folder)
    assert counts(report) == {"added": 4}
    found = failures(report)
    assert found.keys() == {
        "above", "bad\\xff.md", "dir\\xff", "large.txt", "listen.md", "out.md", "pipe.md", "self.md",
    }  # fmt: skip
    assert found["pipe.md"] == "is a pipe, not a file"
    assert found["listen.md"] == "is a socket, not a file"
    assert found["above"] == found["out.md"] == "is a link out of the folder"
    assert "over the limit" in found["large.txt"]
    assert "UTF-8" in found["bad\\xff.md"]
    assert failures(listed(context)) == found
    assert "two\\nlines\\x1b[2J.md" in [line.document for line in listed(context).documents]
    assert failures(add(context, folder)) == found


def test_what_office_puts_beside_an_open_document_is_none(context: Context, folder: Path) -> None:
    """It is called like a document, and gone when that is closed."""
    write(folder / "~$report.docx", b"\x05owner")
    report = add(context, folder)
    assert (counts(report), report.failed) == ({"added": 3}, [])


def test_a_failure_whose_folder_is_gone_is_forgotten(context: Context, folder: Path, tmp_path: Path) -> None:
    """What could not be read and is no more is nobody's business; what was read is kept."""
    other = tmp_path / "other"
    other.mkdir()
    write(other / "tours.md", "We guide tours.")
    write(other / "broken.md", b"")
    assert failures(add(context, other)).keys() == {"broken.md"}
    shutil.rmtree(other)
    assert counts(add(context, folder)) == {"added": 3}
    assert listed(context).failed == []
    assert "tours.md" in [line.document for line in listed(context).documents]


def test_a_failure_takes_no_name_of_a_document(context: Context, folder: Path, tmp_path: Path) -> None:
    """A link that is refused, and then mended, leaves alone what is called like it in another folder."""
    add(context, folder)
    other = tmp_path / "other"
    other.mkdir()
    write(other / "tours.md", "We guide tours.")
    (other / "bikes.md").symlink_to(folder / "bikes.md")
    assert failures(add(context, other)).keys() == {"other/bikes.md"}
    (other / "bikes.md").unlink()
    assert counts(add(context, other)) == {"unchanged": 1}
    assert counts(add(context, folder)) == {"unchanged": 3}


def test_what_lies_behind_a_closed_door_is_kept(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be read today loses none of its documents, and is named."""
    (folder / "below").mkdir()
    write(folder / "below" / "tours.md", "We guide tours.")
    add(context, folder)
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", closed)
        report = add(context, folder)
    assert (counts(report), report.documents) == ({"unchanged": 3}, 4)
    assert "may not be read: Permission denied" in failures(report)["below"]
    report = add(context, folder)
    assert (counts(report), report.failed) == ({"unchanged": 4}, [])
    assert listed(context).failed == []


def test_a_file_that_may_not_be_looked_at_keeps_its_text(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that may be listed and not entered, nothing is gone."""
    add(context, folder)
    stat = Path.stat

    def closed(path: Path, **more: bool) -> os.stat_result:
        if path.name == "bikes.md":
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **more)

    lstat = os.lstat

    def closed_too(path: str) -> os.stat_result:
        if str(path).endswith("bikes.md"):
            raise PermissionError(13, "Permission denied", path)
        return lstat(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", closed)
        patch.setattr(os, "lstat", closed_too)
        report = add(context, folder)
    assert (counts(report), report.documents) == ({"unchanged": 2}, 3)
    assert failures(report) == {"bikes.md": "may not be looked at; check the permissions of its folder"}
    assert counts(add(context, folder)) == {"unchanged": 3}


def test_a_folder_that_vanishes_is_named(context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone between the listing and the reading is told, and the rest is added."""
    (folder / "below").mkdir()
    scandir = os.scandir

    def vanishing(path: str) -> object:
        if str(path).endswith("below"):
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    report = add(context, folder)
    assert counts(report) == {"added": 3}
    assert "No such file" in failures(report)["below"]


def test_what_the_workspace_made_is_no_document(context: Context, folder: Path) -> None:
    """Adding the folder around a workspace adds none of its datasets."""
    made = context.workspace.dataset("some")
    made.mkdir(parents=True)
    write(made / "card.md", "# A dataset")
    write(context.workspace.root / "notes.md", "# Notes\n\nA note.")
    add(context, context.workspace.root)
    assert [line.document for line in listed(context).documents] == ["notes.md"]


def test_several_collections_are_told_apart(context: Context, folder: Path) -> None:
    """With several, each has a line; one alone is listed as it is, whatever its name."""
    add(context, folder, collection="club")
    assert [line.document for line in listed(context).documents] == ["bikes.md", "helmets.md", "locks.md"]
    write(folder / "empty.md", "")
    add(context, folder)
    club, default = listed(context).collections
    assert (club.collection, club.documents, club.chunks, club.failed, club.embedder) == ("club", 3, 6, 0, "words-1")
    assert (default.collection, default.failed, default.pending) == ("default", 1, 0)
    assert len(listed(context, "club").documents) == 3


def test_a_file_that_vanishes_stops_no_list(context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process removes while sizes are added up counts nothing."""
    for name in ("club", "default"):
        add(context, folder, collection=name)
    (context.workspace.knowledge("club") / "vanishing").write_text("soon gone")
    is_file = Path.is_file

    def vanishing(path: Path) -> bool:
        found = is_file(path)
        if path.name == "vanishing":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "is_file", vanishing)
    assert [line.documents for line in listed(context).collections] == [3, 3]


def test_a_term_is_counted(context: Context, folder: Path) -> None:
    """The number of chunks with a term; nothing for a stop word, none for a strange one."""
    add(context, folder)
    with opened_ledger(context, "default") as ledger:
        assert [ledger.frequency(term) for term in ("rent", "bikes", "zebra", 'x" OR "rent', "the")] == [
            3,
            2,
            0,
            0,
            None,
        ]


def check(context: Context, folder: Path) -> None:
    """Check that a collection holds every document of a folder, each chunk once, and answers."""
    assert counts(add(context, folder)) == {"unchanged": len(list(folder.iterdir()))}
    with opened_ledger(context, "default") as ledger:
        chunks = ledger.chunks()
        assert not ledger.pending()
        assert ledger.count_keywords() == len(chunks)
    assert len({chunk.id for chunk in chunks}) == len(chunks) == 2 * len(list(folder.iterdir()))
    assert [chunk.id for chunk in read_records(context.workspace.chunks("default"), Chunk)] == [
        chunk.id for chunk in chunks
    ]
    params = SearchDocumentsParams(query="7 We rent thing-7.", top_k=1)
    assert "thing-7" in SEARCH_DOCUMENTS.start(params, context).passages[0].text


def start(context: Context, folder: Path) -> subprocess.Popen[str]:
    """Start a process that adds a folder; return when it begins."""
    command = [sys.executable, "-m", "tests.word_embedder", str(context.workspace.root), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == READY
    return process


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """A folder of forty documents."""
    root = tmp_path / "things"
    root.mkdir()
    for number in range(40):
        write(root / f"{number}.md", f"# {number}\n\nWe rent thing-{number}.\n\n## Prices\n\nAsk for {number}.\n")
    return root


def test_killed_at_any_moment_nothing_is_lost_or_doubled(context: Context, things: Path) -> None:
    """Runs that are killed, one after the other, leave what the last one completes."""
    for delay_s in (0.0, 0.3, 0.6, 1.2):
        process = start(context, things)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    add(context, things)
    check(context, things)


def test_two_processes_at_once_take_turns(context: Context, things: Path) -> None:
    """Both end well, and together they add everything once."""
    processes = [start(context, things) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=PATIENCE_S)
    assert [process.returncode for process in processes] == [0, 0]
    check(context, things)


def test_who_waits_is_told_for_whom(context: Context, folder: Path, recorder: Recorder) -> None:
    """A run that finds the collection held says so, and goes on when it is free."""
    held = context.workspace.knowledge("default")
    held.mkdir(parents=True)
    (held / ".holder").write_text(str(os.getppid()))
    lock = FileLock(held / ".lock")
    reports: list[AddDocumentsReport] = []
    thread = threading.Thread(target=lambda: reports.append(add(context, folder)))
    with lock:
        thread.start()
        wait_for(lambda: f"process {os.getppid()} is working in" in notices(recorder))
        assert not reports
    thread.join(PATIENCE_S)
    assert counts(reports[0]) == {"added": 3}


def test_a_watched_folder_is_followed(context: Context, folder: Path, recorder: Recorder) -> None:
    """Changes are taken up in bursts, each one run; a file that cannot be read stops nothing."""
    stop, reports = threading.Event(), []
    params = WatchDocumentsParams(folder=folder)
    thread = threading.Thread(target=lambda: reports.append(watch_folder(params, context, stop=stop)))
    thread.start()
    try:
        wait_for(lambda: "3 documents, 6 chunks" in notices(recorder))
        for number in range(30):
            (folder / f"{number}.md").write_text(f"# New\n\nThing {number}.")
        (folder / "empty.md").write_text("")
        (folder / "bikes.md").rename(folder / "cycles.md")
        wait_for(lambda: "33 documents" in notices(recorder))
        (folder / "locks.md").unlink()
        wait_for(lambda: "removed locks.md" in notices(recorder))
        wait_for(lambda: "32 documents" in notices(recorder))
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    [report] = reports
    assert (report.runs, report.added, report.renamed, report.removed) == (3, 33, 1, 1)
    assert failures(report).keys() == {"empty.md"}
    assert notices(recorder).count("failed empty.md") == 1


@contextlib.contextmanager
def watching(context: Context, folder: Path) -> Iterator[None]:
    """Watch a folder in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: watch_folder(WatchDocumentsParams(folder=folder), context, stop=stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)


def test_a_folder_that_takes_the_place_of_a_watched_one_is_watched(
    context: Context, folder: Path, recorder: Recorder
) -> None:
    """The system watches a folder and not its name; who replaces it as a whole is followed all the same."""
    with watching(context, folder):
        wait_for(lambda: "3 documents, 6 chunks" in notices(recorder))
        folder.rename(folder.with_name("former"))
        folder.mkdir()
        write(folder / "tours.md", "We guide tours.")
        wait_for(lambda: "added tours.md" in notices(recorder))
        wait_for(lambda: "1 documents" in notices(recorder))
        write(folder / "rides.md", "We share rides.")
        wait_for(lambda: "added rides.md" in notices(recorder))


def test_a_watch_tries_again_what_failed(
    context: Context, folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is away for a while ends no watch; what it missed is taken up, though nothing changes."""
    monkeypatch.setattr(watch, "_AGAIN_S", 0.1)
    failures = iter([True, True])

    def fail_twice() -> None:
        if next(failures, False):
            raise LLMConnectionError("nothing answered", hint="Start it.")

    with watching(with_words(context, words=WordEmbedder(before=fail_twice)), folder):
        wait_for(lambda: "3 documents, 6 chunks" in notices(recorder))
    assert notices(recorder).count("nothing answered. Start it.") == 1


WATCHING = """
import sys
from pathlib import Path
from pipelines.knowledge.watch import WATCH_DOCUMENTS, WatchDocumentsParams
from pipelines.operation import open_context
from tests.word_embedder import WordEmbedder, with_words
context = open_context(Path(sys.argv[1]), emit=lambda event: print(event, flush=True))
context = with_words(context, words=WordEmbedder())
report = WATCH_DOCUMENTS.start(WatchDocumentsParams(folder=Path(sys.argv[2])), context)
print(f"{report.runs} run", flush=True)
"""


def test_an_interrupt_ends_the_watch_well(context: Context, folder: Path) -> None:
    """Ctrl-C is how a watch ends: with its report, and no failure."""
    command = [sys.executable, "-c", WATCHING, str(context.workspace.root), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        while "watching for changes" not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    assert "1 run" in said
