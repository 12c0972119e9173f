"""The vectors of a collection: stored once, indexed in Chroma, found damaged, made again, switched."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.errors import DataError, SettingsError
from pipelines.knowledge import index, owned
from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams
from pipelines.knowledge.collection import open_index, opened_ledger, opened_vectors
from pipelines.knowledge.documents import REMOVE_DOCUMENT, RemoveDocumentParams
from pipelines.knowledge.reindex import REINDEX_DOCUMENTS, ReindexDocumentsParams, ReindexDocumentsReport
from pipelines.knowledge.search import SEARCH_DOCUMENTS, SearchDocumentsParams
from pipelines.knowledge.stored import IndexVersion, StoredVectors
from pipelines.knowledge.vectors import VectorStore
from pipelines.operation import Context, Notice, open_context
from pipelines.records import Chunk
from tests.conftest import Recorder
from tests.word_embedder import READY, WordEmbedder, with_words

MANY = 1_100  # above 1,000, from where Chroma writes its HNSW files
QUERY = "about w7 and w700"  # four chunks have one of these words
CHROMA_FILES = (
    "chroma.sqlite3", "header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle",
)  # fmt: skip


class Killed(BaseException):
    """Ends a run as a signal does: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """No index stays open after a test, as none does after a process."""
    yield
    owned.close_indexes()


@pytest.fixture
def context(context: Context) -> Context:
    """A context with the embedder of words."""
    return with_words(context, words=WordEmbedder())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a collection of many chunks, to be copied."""
    root = tmp_path_factory.mktemp("filled")
    add(with_words(open_context(root / "workspace"), words=WordEmbedder()), write_sections(root / "texts", MANY))
    return root / "workspace"


@pytest.fixture
def many(filled: Path, context: Context) -> Context:
    """A context over a copy of the collection of many chunks."""
    shutil.copytree(filled, context.workspace.root, dirs_exist_ok=True)
    return context


def write_sections(folder: Path, count: int, *, first: int = 0, name: str = "long") -> Path:
    """Write a document of sections, each of which becomes a chunk."""
    folder.mkdir(exist_ok=True)
    sections = [
        f"## Part {number}\n\nIt is about w{number} and w{number // 2} here.\n" for number in range(first, count)
    ]
    (folder / f"{name}.md").write_text(f"# {name}\n\n" + "\n".join(sections), encoding="utf-8")
    return folder


def add(context: Context, folder: Path) -> None:
    """Add a folder as every surface does."""
    ADD_DOCUMENTS.start(AddDocumentsParams(folder=folder), context)


def update(context: Context) -> None:
    """Bring the index up to date, as an addition of what is there already does."""
    with opened_ledger(context, "default") as ledger:
        [source] = {document.source for document in ledger.documents()}
    add(context, Path(source))


def reindex(context: Context, embedder: str = "") -> ReindexDocumentsReport:
    """Embed the collection again as every surface does."""
    return REINDEX_DOCUMENTS.start(ReindexDocumentsParams(embedder=embedder), context)


def collection(context: Context) -> Path:
    """Return the folder of the collection."""
    return context.workspace.knowledge("default")


def serving(context: Context) -> IndexVersion:
    """Return the version that serves."""
    with opened_vectors(collection(context)) as stored:
        version = stored.serving()
    assert version is not None
    return version


def index_folder(context: Context) -> Path:
    """Return the folder of the index that serves."""
    return collection(context) / "chroma" / serving(context).key


@contextlib.contextmanager
def store(context: Context, *, exact_up_to: int = 0) -> Iterator[VectorStore]:
    """Open the vectors for searching, in Chroma unless told otherwise."""
    version = serving(context)
    with opened_vectors(collection(context)) as stored:
        index = open_index(collection(context), version, context)
        yield VectorStore(stored, version, index, exact_up_to=exact_up_to)


def nearest(context: Context, query: str = QUERY, *, limit: int = 4, exact_up_to: int = 0) -> list[str]:
    """Return the ids of the chunks nearest to a query."""
    with store(context, exact_up_to=exact_up_to) as opened:
        return opened.nearest(WordEmbedder().embed([query])[0], limit=limit)


def is_open(context: Context) -> bool:
    """Whether this process has the index open in Chroma."""
    return index_folder(context) in owned._OPEN


def notices(recorder: Recorder) -> list[str]:
    """Return what the person was told."""
    return [event.message for event in recorder.events if isinstance(event, Notice)]


def assert_whole(context: Context) -> None:
    """Check that ledger, keywords, stored vectors and Chroma hold the same, each once."""
    with opened_ledger(context, "default") as ledger, opened_vectors(collection(context)) as stored:
        version = stored.serving()
        assert version is not None
        chunks = [chunk.id for chunk in ledger.chunks()]
        assert len(set(chunks)) == len(chunks) == ledger.count_keywords()
        texts = stored.texts(version.embedder)
        assert sorted(stored.chunks_of(sorted(texts))) == sorted(chunks)
        assert not ledger.pending()
        index = owned.chroma.open_folder(collection(context) / "chroma" / version.key, version)
        assert index.keys() == texts
        assert index.count() == len(texts)
        index.close()


def test_the_same_text_is_embedded_once(context: Context, tmp_path: Path) -> None:
    """Two files with the same text are two chunks with one vector, and both are found."""
    folder = write_sections(tmp_path / "texts", 9)
    (folder / "copy.md").write_bytes((folder / "long.md").read_bytes())
    words = WordEmbedder()
    add(with_words(context, words=words), folder)
    assert words.embedded == 9
    assert len(nearest(context, limit=99)) == 18
    with store(context) as opened:
        assert opened.count() == 9


@pytest.mark.parametrize("way", ["add", "reindex"])
def test_few_chunks_are_in_memory_at_once(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Of a collection of any size, a part is embedded after the other."""
    monkeypatch.setattr(index, "_HELD", 128)
    folder = write_sections(tmp_path / "texts", 1_000)
    before, held = count_chunks(), list[int]()
    counting = WordEmbedder("words-2", before=lambda: held.append(count_chunks()))
    if way == "add":
        write_sections(folder, 2_000, first=1_000, name="second")
        add(with_words(context, words=counting), folder)
    else:
        add(context, folder)
        reindex(with_words(context, words=WordEmbedder(), other=counting), "other")
    assert len(held) == (16 if way == "add" else 8)
    assert max(held) - before <= 2 * 128
    assert_whole(context)


def count_chunks() -> int:
    """Return how many chunks there are in memory."""
    gc.collect()
    return sum(type(each) is Chunk for each in gc.get_objects())


def test_a_renamed_file_is_not_embedded_again(context: Context, tmp_path: Path) -> None:
    """The vectors belong to the text, whatever the file is called."""
    folder = write_sections(tmp_path / "texts", 9)
    add(context, folder)
    (folder / "long.md").rename(folder / "other.md")
    words = WordEmbedder()
    add(with_words(context, words=words), folder)
    assert words.embedded == 0
    assert all(chunk for chunk in nearest(context, limit=99))
    assert_whole(context)


def test_vectors_of_texts_that_are_gone_are_collected(context: Context, tmp_path: Path) -> None:
    """What no chunk says any more is neither stored nor found."""
    folder = write_sections(tmp_path / "texts", 9)
    write_sections(folder, 20, first=9, name="second")
    add(context, folder)
    REMOVE_DOCUMENT.start(RemoveDocumentParams(document="second.md"), open_with_consent(context))
    with store(context) as opened:
        assert opened.count() == 9
    (folder / "second.md").unlink()
    write_sections(folder, 5)
    add(context, folder)
    assert len(nearest(context, limit=99)) == 5
    assert_whole(context)


def open_with_consent(context: Context) -> Context:
    """Return a context in which every plan is agreed to."""
    return with_words(open_context(context.workspace.root, confirm=lambda plan: True), words=WordEmbedder())


def test_chroma_and_exact_search_find_the_same(many: Context) -> None:
    """The approximate index answers as comparing everything does, and only where it is asked."""
    exact = nearest(many, exact_up_to=MANY)
    assert not is_open(many)
    assert nearest(many) == exact
    assert is_open(many)


def test_a_filter_is_exact(many: Context) -> None:
    """Of chunks that are far from the query, the nearest are found all the same."""
    ranked = nearest(many, limit=MANY, exact_up_to=MANY)
    far = ranked[-30:]
    with store(many) as opened:
        assert opened.nearest(WordEmbedder().embed([QUERY])[0], limit=5, among=far) == far[:5]


def test_an_unchanged_collection_opens_neither_model_nor_chroma(many: Context) -> None:
    """An addition that finds nothing new has nothing to load."""

    def refuse() -> None:
        raise AssertionError

    shutil.copytree(index_folder(many), before := many.workspace.root / "before")
    update(with_words(many, words=WordEmbedder(before=refuse)))
    for path in before.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (index_folder(many) / path.relative_to(before)).read_bytes()


def damaged(path: Path, how: str) -> None:
    """Damage a file as a bad disk or a killed process does."""
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    else:
        for offset in range(len(content) // 3, len(content), max(1, len(content) // 50)):
            content[offset] ^= 0xFF
    path.write_bytes(content)


def chroma_file(context: Context, name: str) -> Path:
    """Return one of the files of the index."""
    [path] = index_folder(context).rglob(name)
    return path


@pytest.mark.parametrize("name", CHROMA_FILES)
def test_flipped_bytes_are_found_before_they_crash(many: Context, recorder: Recorder, name: str) -> None:
    """Whichever file of Chroma is damaged, searches go on, and the next addition makes it again."""
    expected = nearest(many)
    owned.close_indexes()
    damaged(chroma_file(many, name), "flipped")
    assert nearest(many) == expected
    assert not is_open(many)
    update(many)
    assert sum("is damaged" in notice for notice in notices(recorder)) == 1
    assert nearest(many) == expected
    assert is_open(many)


def test_every_file_of_chroma_is_tried(many: Context) -> None:
    """The list of files above is the one that Chroma writes."""
    found = {path.name for path in index_folder(many).rglob("*") if path.is_file()}
    assert found == set(CHROMA_FILES)


@pytest.mark.parametrize(("name", "how"), [("data_level0.bin", "truncated"), ("header.bin", "flipped")])
def test_an_index_that_was_not_closed_is_tried_in_a_child(
    many: Context, recorder: Recorder, name: str, how: str
) -> None:
    """After a kill there is no seal; a torn file then ends the child, and not this process."""
    expected = nearest(many, exact_up_to=MANY)
    index_folder(many).with_suffix(".json").unlink()
    damaged(chroma_file(many, name), how)
    update(many)
    assert any("is damaged" in notice for notice in notices(recorder))
    assert nearest(many) == expected
    assert is_open(many)


def test_a_sound_index_that_was_not_closed_is_kept(many: Context, recorder: Recorder) -> None:
    """A kill alone costs nothing: what the child could read is used, for searches too."""
    index_folder(many).with_suffix(".json").unlink()
    nearest(many)
    assert is_open(many)
    assert not index_folder(many).with_suffix(".json").exists()
    owned.close_indexes()
    assert index_folder(many).with_suffix(".json").exists()
    update(many)
    assert not notices(recorder)


def test_a_module_in_the_current_folder_is_not_run(
    many: Context, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who starts this among foreign documents imports nothing of them, in the child neither."""
    index_folder(many).with_suffix(".json").unlink()
    (tmp_path / "numpy.py").write_text("open('owned', 'w')")
    monkeypatch.chdir(tmp_path)
    update(many)
    assert not (tmp_path / "owned").exists()
    assert not notices(recorder)


class Malice:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int, int]]:
        """Return what a pickle would have called."""
        return os.open, (str(self._path), os.O_CREAT, 0o600)


def test_a_foreign_pickle_runs_nothing(many: Context, recorder: Recorder, tmp_path: Path) -> None:
    """Code in the metadata file is not run, even by the child that tries it."""
    index_folder(many).with_suffix(".json").unlink()
    content = pickle.dumps(Malice(tmp_path / "owned"))
    chroma_file(many, "index_metadata.pickle").write_bytes(content)
    update(many)
    assert any("is damaged" in notice for notice in notices(recorder))
    assert not (tmp_path / "owned").exists()
    pickle.loads(content)
    assert (tmp_path / "owned").exists()


def test_an_index_that_lost_entries_is_filled_again(context: Context, tmp_path: Path, recorder: Recorder) -> None:
    """Vectors, keywords and Chroma are counted against the ledger, and made again from what is left."""
    add(context, write_sections(tmp_path / "texts", 30))
    path = collection(context) / "ledger.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM vectors WHERE row % 3 = 0")
        connection.execute("DELETE FROM keywords WHERE rowid % 2 = 0")
    words = WordEmbedder()
    update(with_words(context, words=words))
    assert words.embedded == 10
    assert [notice.partition(" has")[0].partition(" have")[0] for notice in notices(recorder)[:2]] == [
        "the keyword index",
        "the stored vectors",
    ]
    assert_whole(context)
    shutil.rmtree(index_folder(context))
    update(with_words(context, words=words))
    assert words.embedded == 10
    assert_whole(context)


HOLD = """
import sys, pathlib
from pipelines.knowledge import owned
from pipelines.knowledge.stored import IndexVersion, StoredVectors
collection = pathlib.Path(sys.argv[1])
stored = StoredVectors(collection)
version = stored.serving()
index = owned.OwnedIndex(collection, version)
vector = stored.all_vectors(version.embedder)[1][0]
print(index.nearest(vector, limit=1, stamp=stored.stamp(version.embedder)), flush=True)
sys.stdin.readline()
"""


def test_one_process_has_the_index_open(many: Context, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile another one searches exactly, adds to the stored vectors, and says who has the index."""
    monkeypatch.setattr(owned, "_WAIT_S", 0.1)
    expected = nearest(many, exact_up_to=MANY)
    command = [sys.executable, "-c", HOLD, str(collection(many))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert b"['" in holder.stdout.readline()
        assert nearest(many) == expected
        assert not is_open(many)
        with opened_ledger(many, "default") as ledger:
            folder = Path(ledger.documents()[0].source).parent
        write_sections(folder, 3_000, first=2_999, name="more")
        add(many, folder)
        (folder / "more.md").unlink()
        assert any(f"process {holder.pid} has the vector index open" in notice for notice in notices(recorder))
        assert len(nearest(many, "about w2999 and w1499", limit=1)) == 1
        assert not is_open(many)
        holder.stdin.close()
    add(many, folder)
    assert_whole(many)


def test_a_process_has_one_client_for_a_folder(many: Context) -> None:
    """However many searches there are, in however many threads, Chroma is opened once."""
    expected = nearest(many)
    [opened] = owned._OPEN.values()
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(nearest(many))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert list(owned._OPEN.values()) == [opened]


def test_a_search_sees_what_was_added_meanwhile(context: Context, tmp_path: Path) -> None:
    """An open search takes in what another connection stores."""
    folder = write_sections(tmp_path / "texts", 9)
    add(context, folder)
    vector = WordEmbedder().embed(["about w12 and w6"])[0]
    for exact_up_to in (0, 99):
        with store(context, exact_up_to=exact_up_to) as opened:
            before = opened.nearest(vector, limit=99)
            write_sections(folder, 20)
            add(context, folder)
            assert len(opened.nearest(vector, limit=99)) == 20
            assert len(before) == 9
        write_sections(folder, 9)
        add(context, folder)


def test_a_collection_keeps_its_embedder(context: Context, tmp_path: Path) -> None:
    """Another model's vectors are never mixed in; the message says which model made those that are there."""
    folder = write_sections(tmp_path / "texts", 9)
    add(context, folder)
    write_sections(folder, 10)
    other = with_words(context, words=WordEmbedder("words-2"))
    params = SearchDocumentsParams(query=QUERY)
    for attempt in (lambda: add(other, folder), lambda: SEARCH_DOCUMENTS.start(params, other)):
        with pytest.raises(DataError, match="made by words-1, not by words-2") as caught:
            attempt()
        assert "docs reindex" in caught.value.hint
    assert len(nearest(context, limit=99)) == 9


def test_vectors_of_another_size_are_refused(context: Context, tmp_path: Path) -> None:
    """An endpoint that serves another model under the same name spoils nothing, and is told from the former one."""
    folder = write_sections(tmp_path / "texts", 9)
    add(context, folder)
    write_sections(folder, 10)
    other = with_words(context, words=WordEmbedder(size=12))
    params = SearchDocumentsParams(query=QUERY)
    for attempt in (lambda: add(other, folder), lambda: SEARCH_DOCUMENTS.start(params, other)):
        with pytest.raises(DataError, match="makes vectors of 12 numbers now; those of this collection have 24"):
            attempt()
    assert len(nearest(context, limit=99)) == 9
    add(context, folder)
    assert_whole(context)


def test_a_collection_is_embedded_anew_while_the_old_one_serves(context: Context, tmp_path: Path) -> None:
    """Until the last vector is there, searches find by the former model; then by the new one, and add by it."""
    add(context, write_sections(tmp_path / "texts", 300))
    expected, former = nearest(context), index_folder(context)
    seen: list[list[str]] = []
    other = WordEmbedder("words-2", size=16, before=lambda: seen.append(nearest(context)))
    both = with_words(context, words=WordEmbedder(), other=other)
    report = reindex(both, "other")
    assert (report.former_embedder, report.embedder, report.embedded) == ("words-1", "words-2", 300)
    assert seen == [expected] * 3
    assert serving(context) == IndexVersion(key=serving(context).key, embedder="words-2", model="other")
    write_sections(tmp_path / "texts", 301)
    add(with_words(context, words=WordEmbedder(), other=WordEmbedder("words-2", size=16)), tmp_path / "texts")
    owned.close_indexes()
    assert not former.exists()
    assert_whole(context)


def test_an_embedding_anew_that_was_killed_goes_on(context: Context, tmp_path: Path) -> None:
    """What was embedded by the new model is not embedded again, and an addition between changes nothing of that."""
    add(context, write_sections(tmp_path / "texts", 300))
    calls = iter([None, None])

    def die_later() -> None:
        if next(calls, Killed) is Killed:
            raise Killed

    killed = WordEmbedder("words-2", before=die_later)
    with pytest.raises(Killed):
        reindex(with_words(context, words=WordEmbedder(), other=killed), "other")
    assert serving(context).embedder == "words-1"
    write_sections(tmp_path / "texts", 310)
    add(context, tmp_path / "texts")
    resumed = WordEmbedder("words-2")
    reindex(with_words(context, words=WordEmbedder(), other=resumed), "other")
    assert killed.embedded + resumed.embedded == 310
    assert killed.embedded == 256
    assert serving(context).embedder == "words-2"
    assert_whole(context)


def test_reindexing_by_the_same_model_embeds_nothing(context: Context, tmp_path: Path) -> None:
    """Without another model, the index is made again from the stored vectors."""
    add(context, write_sections(tmp_path / "texts", 30))
    former = index_folder(context)
    assert reindex(context).embedded == 0
    assert index_folder(context) != former
    assert not former.exists()
    assert_whole(context)


def start_adding(context: Context, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that adds a folder, and return when it is about to."""
    command = [sys.executable, "-m", "tests.word_embedder", str(context.workspace.root), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline().decode().strip() == READY
    return process


def test_a_kill_at_any_moment_loses_and_doubles_nothing(context: Context, tmp_path: Path) -> None:
    """After each kill the index answers, and the next addition makes it whole."""
    dice = random.Random(5)
    for round_ in range(3):
        folder = write_sections(tmp_path / "texts", 1_500 + 300 * round_, first=100 * round_)
        with start_adding(context, folder) as process:
            time.sleep(dice.uniform(0.2, 3.0))
            process.kill()
        with opened_vectors(collection(context)) as stored:
            if stored.serving() is not None and stored.count("words-1"):
                assert nearest(context, exact_up_to=20_000)
    add(context, folder)
    assert_whole(context)
    assert len(nearest(context, limit=9_999, exact_up_to=20_000)) == 1_900


def test_two_processes_at_once_lose_and_double_nothing(context: Context, tmp_path: Path) -> None:
    """One of them works, the other one is told so or finds the work done."""
    folder = write_sections(tmp_path / "texts", 600)
    with start_adding(context, folder) as one, start_adding(context, folder) as other:
        codes = {one.wait(120), other.wait(120)}
    assert 0 in codes
    assert_whole(context)
    assert len(nearest(context, limit=9_999, exact_up_to=20_000)) == 600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Chroma server on this machine."""
    binary = Path(sys.executable).with_name("chroma")
    if not binary.exists():
        pytest.skip("the chroma command is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "run", "--path", str(tmp_path_factory.mktemp("server")), "--host", "127.0.0.1"]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL) as process:
        for _attempt in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def on_server(context: Context, url: str) -> Context:
    """Return a context whose vectors are on a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSISTANT_CHROMA_URL", url)
        opened = open_context(context.workspace.root, emit=context.emit, confirm=context.confirm)
    return with_words(opened, words=WordEmbedder(), other=WordEmbedder("words-2"))


def test_a_server_holds_the_vectors(context: Context, server: str, tmp_path: Path) -> None:
    """With a server's address, nothing is indexed in the workspace, and all is found as before."""
    there = on_server(context, server)
    folder = write_sections(tmp_path / "texts", 300)
    add(there, folder)
    assert not (collection(there) / "chroma").exists()
    assert nearest(there) == nearest(there, exact_up_to=20_000)
    write_sections(folder, 290)
    add(there, folder)
    assert len(nearest(there, limit=999)) == 290
    assert SEARCH_DOCUMENTS.start(SearchDocumentsParams(query=QUERY), there).passages
    former = serving(there)
    reindex(there, "other")
    with contextlib.closing(sqlite3.connect(collection(there) / "ledger.sqlite")) as connection:
        states = connection.execute("SELECT key, state FROM index_versions").fetchall()
    assert [state for _key, state in states] == ["serving"]
    assert owned.chroma.open_server(server, former).count() == 0


def test_an_index_that_was_made_again_on_the_server_is_found(context: Context, server: str, tmp_path: Path) -> None:
    """Who has it open learns that it is gone, and goes on when it is there again."""
    there = on_server(context, server)
    add(there, write_sections(tmp_path / "texts", 9))
    with store(there) as opened:
        vector = WordEmbedder().embed([QUERY])[0]
        expected = opened.nearest(vector, limit=4)
        owned.chroma.drop_from_server(server, serving(there))
        with pytest.raises(DataError, match="was removed meanwhile"):
            opened.nearest(vector, limit=4)
        add(there, tmp_path / "texts")
        assert opened.nearest(vector, limit=4) == expected
        assert len(expected) == 4


def test_a_server_learns_no_text(context: Context, server: str, tmp_path: Path) -> None:
    """What is sent is vectors under hashes."""
    there = on_server(context, server)
    add(there, write_sections(tmp_path / "texts", 5))
    index = owned.chroma.open_server(server, serving(there))
    content = index._collection.get(include=["documents", "metadatas", "uris"])
    assert content["documents"] == content["metadatas"] == [None] * 5
    assert all(len(key) == 32 and int(key, 16) for key in content["ids"])


def test_a_server_that_is_down_is_named(context: Context, tmp_path: Path) -> None:
    """Nothing is lost by it: the vectors are stored, and go there when it answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(DataError, match=f"no Chroma server answers at {url}") as caught:
        add(on_server(context, url), write_sections(tmp_path / "texts", 9))
    assert "ASSISTANT_CHROMA_URL" in caught.value.hint
    words = WordEmbedder()
    add(with_words(context, words=words), tmp_path / "texts")
    assert words.embedded == 0


def test_a_server_that_is_down_keeps_no_document(context: Context, tmp_path: Path) -> None:
    """What is removed meanwhile is in no search and no list of chunks, and leaves the server when that answers."""
    folder = write_sections(tmp_path / "texts", 9)
    write_sections(folder, 20, first=9, name="second")
    add(context, folder)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        there = on_server(open_with_consent(context), f"http://127.0.0.1:{unused.getsockname()[1]}")
    with pytest.raises(DataError, match="no Chroma server answers"):
        REMOVE_DOCUMENT.start(RemoveDocumentParams(document="second.md"), there)
    assert "second" not in context.workspace.chunks("default").read_text()
    assert len(nearest(context, limit=99, exact_up_to=99)) == 9


def test_a_server_needs_a_web_address(context: Context, tmp_path: Path) -> None:
    """What is no http address is refused, with the variable's name."""
    with pytest.raises(SettingsError, match="chroma_url must begin with") as caught:
        add(on_server(context, "chroma.example:8000"), write_sections(tmp_path / "texts", 1))
    assert "ASSISTANT_CHROMA_URL" in caught.value.hint


def test_a_seal_lists_every_file(many: Context) -> None:
    """Size and hash of each file, and what the index holds, are written down when it is closed."""
    seal = json.loads(index_folder(many).with_suffix(".json").read_text(encoding="utf-8"))
    assert {Path(name).name for name in seal["files"]} == set(CHROMA_FILES)
    with opened_vectors(collection(many)) as stored:
        assert seal["stamp"] == stored.stamp("words-1") == f"{MANY}:{MANY}"
    assert isinstance(stored, StoredVectors)
