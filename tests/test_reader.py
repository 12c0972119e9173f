"""The worker process: what hostile and broken files cannot do, and that the next file is read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.knowledge.parse import read_document
from pipelines.knowledge.reading.reader import DocumentReader, ReadingLimits, open_reader
from pipelines.knowledge.scan import scan_folder
from pipelines.records import Document
from tests.test_parse import make_pdf

NOBODY = 65534


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    """A reader with the usual limits."""
    with open_reader() as reader:
        yield reader


def read(reader: DocumentReader, path: Path, content: bytes) -> Document:
    """Write a file and read it in the worker process."""
    path.write_bytes(content)
    return reader.read(path, document_id=path.name, max_megabytes=20)


@contextlib.contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Be no administrator for a while, whom no permission stops."""
    if os.geteuid():
        yield
        return
    os.chown(folder, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everyone can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_it_reads_what_this_process_would(tmp_path: Path, reader: DocumentReader) -> None:
    """A document comes back whole: text, headings, pages and notes."""
    (tmp_path / "a.html").write_bytes("<h1>租车</h1><p>We\u200b open.<p hidden>Obey.".encode())
    (tmp_path / "a.pdf").write_bytes(make_pdf([["Hours", "", "We open at nine."], ["We close at six."]]))
    for path in sorted(tmp_path.iterdir()):
        here = read_document(path, document_id="x", max_megabytes=1)
        assert reader.read(path, document_id="x", max_megabytes=1) == here


def test_an_error_comes_back_with_its_hint(tmp_path: Path, reader: DocumentReader) -> None:
    """What went wrong is said as if it had happened here, and the next file is read."""
    with pytest.raises(DataError, match="is not a readable PDF") as caught:
        read(reader, tmp_path / "a.pdf", b"broken")
    assert "repair" in caught.value.hint
    assert caught.value.path == str(tmp_path / "a.pdf")
    with pytest.raises(DataError, match="is of a kind that cannot be read"):
        read(reader, tmp_path / "a.exe", b"MZ")
    assert read(reader, tmp_path / "a.md", b"Open.").text == "Open."


def test_a_large_log_is_refused_at_once(tmp_path: Path, reader: DocumentReader) -> None:
    """A log of a gigabyte is told by its size, and not read."""
    path = tmp_path / "server.log"
    path.touch()
    os.truncate(path, 10**9)
    with pytest.raises(DataError, match=r"1000\.0 MB is over the limit of 20 MB"):
        reader.read(path, document_id="x", max_megabytes=20)


def test_a_pdf_of_endless_pages_is_refused(tmp_path: Path, reader: DocumentReader) -> None:
    """A PDF may claim any number of pages; nobody looks for them all."""
    pdf = make_pdf([["We open."]]).replace(b"/Count 1", b"/Count 999999")
    with pytest.raises(DataError, match="claims 999,999 pages"):
        read(reader, tmp_path / "a.pdf", pdf)


def slow_pdf() -> bytes:
    """Return a PDF that takes long: one page on which half a million pieces of text are placed."""
    return make_pdf([["We open."] * 500_000])


@pytest.mark.parametrize("limits", [ReadingLimits(cpu_s=1), ReadingLimits(wall_s=3)])
def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path, limits: ReadingLimits) -> None:
    """Whichever clock runs out, the file is named with the reason, and the next one is read."""
    with open_reader(limits) as reader:
        with pytest.raises(DataError, match="took more than") as caught:
            read(reader, tmp_path / "a.pdf", slow_pdf())
        assert "split" in caught.value.hint
    with open_reader() as reader:
        assert read(reader, tmp_path / "a.md", b"Open.").text == "Open."


def test_a_file_that_needs_too_much_memory_is_given_up(tmp_path: Path) -> None:
    """The memory of the worker is limited, and ours is not touched; the next file is read."""
    with open_reader(ReadingLimits(memory_mb=100)) as reader:
        with pytest.raises(DataError, match=r"needs more than 100 MB|crashed") as caught:
            read(reader, tmp_path / "a.txt", b"a" * 6_000_000 + "😀".encode())
        assert "plit" in caught.value.hint
        assert read(reader, tmp_path / "a.md", b"Open.").text == "Open."


def test_the_time_of_many_files_does_not_add_up(tmp_path: Path) -> None:
    """The processor's time is limited for each file, not for all."""
    page = b"<p>We open at <b>nine</b>.</p>" * 20_000
    with open_reader(ReadingLimits(cpu_s=2)) as reader:
        for number in range(12):
            assert read(reader, tmp_path / f"{number}.html", page).text.startswith("We open at nine.")


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """Whatever kills the process between two files, the next one starts another."""
    with open_reader() as reader:
        read(reader, tmp_path / "a.md", b"Open.")
        assert reader._process is not None
        reader._process.kill()
        with pytest.raises(DataError, match=r"its reader crashed \(SIGKILL\)"):
            read(reader, tmp_path / "b.md", b"Open.")
        assert read(reader, tmp_path / "b.md", b"Open.").text == "Open."


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """The process ends with the block, and there is none without a file."""
    with open_reader() as reader:
        assert reader._process is None
        read(reader, tmp_path / "a.md", b"Open.")
        process = reader._process
    assert process is not None and process.poll() is not None


def test_the_worker_gets_no_keys_and_no_heavy_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile file finds neither the user's keys in the environment nor a library from the current folder."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the current folder')")
    with open_reader() as reader:
        assert read(reader, tmp_path / "a.md", b"Open.").text == "Open."
        assert reader._process is not None
        process = Path("/proc", str(reader._process.pid))
        if process.exists():
            assert b"sk-secret" not in (process / "environ").read_bytes()
            mapped = (process / "maps").read_text()
            assert not any(name in mapped for name in ("/torch/", "chromadb", "onnxruntime", "/numpy/"))


@pytest.mark.parametrize("name", ["a\nb.md", "a\tb'\"$(x).md", "租车.md", "-rf.md", "a\x1b[2J.md"])
def test_any_name_is_a_name(tmp_path: Path, reader: DocumentReader, name: str) -> None:
    """Line breaks, quotes and other scripts in a name change nothing."""
    document = read(reader, tmp_path / name, b"Open.")
    assert (document.id, document.source, document.text) == (name, str(tmp_path / name), "Open.")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path, reader: DocumentReader) -> None:
    """A name in another encoding is reported in a form that can be shown."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))
    try:
        path.write_bytes(b"Open.")
    except OSError:
        pytest.skip("this file system takes no such name")
    for read_it in (reader.read, read_document):
        with pytest.raises(DataError, match="has a name that is not UTF-8") as caught:
            read_it(path, document_id="x", max_megabytes=1)
        assert caught.value.path.isascii()


def test_what_is_no_file_is_refused(tmp_path: Path, reader: DocumentReader) -> None:
    """A pipe is not waited for, a folder and a device are not read."""
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "device.log").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        with pytest.raises(DataError, match="is not a file"):
            reader.read(path, document_id="x", max_megabytes=1)


def test_what_may_not_be_read_is_named(public_folder: Path) -> None:
    """A file and a folder without permission are reported, and the rest is listed."""
    (public_folder / "closed").mkdir(mode=0)
    (public_folder / "open.md").write_text("Open.")
    (public_folder / "secret.md").write_text("Secret.")
    (public_folder / "secret.md").chmod(0)
    with unprivileged(public_folder):
        scan = scan_folder(public_folder)
        assert list(scan.files) == ["open.md", "secret.md"]
        assert scan.failed == {"closed": "the folder may not be read: Permission denied"}
        with pytest.raises(DataError, match="cannot be read: Permission denied") as caught:
            read_document(public_folder / "secret.md", document_id="x", max_megabytes=1)
        assert "permissions" in caught.value.hint


def test_the_hash_is_of_what_was_parsed(tmp_path: Path, reader: DocumentReader) -> None:
    """A file that is written to meanwhile is either reported, or text and hash belong together."""
    path = tmp_path / "a.log"
    path.write_bytes(b"0" * 3_000_000)
    stop = threading.Event()

    def rewrite() -> None:
        for digit in (b"%d" % (number % 10) for number in range(10**9)):
            if stop.is_set():
                return
            with path.open("r+b") as file:
                file.write(digit * 3_000_000)

    writer = threading.Thread(target=rewrite)
    writer.start()
    outcomes = set()
    try:
        for _time in range(12):
            try:
                document = reader.read(path, document_id="x", max_megabytes=20)
                assert document.sha256 == hashlib.sha256(document.text.encode()).hexdigest()
                outcomes.add("whole")
            except DataError as error:
                assert "changes while it is read" in str(error)
                outcomes.add("changes")
    finally:
        stop.set()
        writer.join()
    assert outcomes
    assert reader.read(path, document_id="x", max_megabytes=20).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_mixed_encodings_in_one_folder(tmp_path: Path, reader: DocumentReader) -> None:
    """Each file of a folder is read in its own encoding."""
    text = "租车店每天早上九点开门。"
    for encoding in ("utf-8", "utf-16", "gb18030", "utf-8-sig"):
        assert read(reader, tmp_path / f"{encoding}.txt", text.encode(encoding)).text == text
    assert read(reader, tmp_path / "a.txt", "Zoë’s café – déjà vu".encode("cp1252")).text == "Zoë’s café – déjà vu"
