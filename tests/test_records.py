"""Records: what is written is read again, and what is malformed is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipelines import records
from pipelines.errors import DataError
from pipelines.records import (
    Chunk,
    Conversation,
    Document,
    Example,
    ExampleKind,
    Message,
    Quote,
    Record,
    content_id,
    read_records,
    write_records,
)

TEXT = st.text(min_size=1, max_size=40)
QUOTES = st.builds(
    lambda document, quote, start: Quote(document=document, quote=quote, start=start, end=start + len(quote)),
    TEXT,
    TEXT,
    st.integers(0, 10**6),
)
EXAMPLES = st.builds(
    Example,
    id=TEXT,
    kind=st.sampled_from(ExampleKind),
    question=TEXT,
    answer=TEXT,
    language=st.sampled_from(["en", "zh"]),
    messages=st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=TEXT)).map(tuple),
    chunks=st.lists(TEXT).map(tuple),
    sources=st.tuples(TEXT),
    quotes=st.lists(QUOTES, max_size=2).map(tuple),
    teacher=TEXT,
    prompt=TEXT,
    scores=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False)),
    split=st.sampled_from([None, "train", "validation", "test"]),
)


def make_chunk(number: int) -> Chunk:
    """Return a chunk."""
    return Chunk(id=str(number), document="shop.md", start=number, end=number + 4, text="text")


def defined_records() -> list[type[BaseModel]]:
    """Return every record of the module."""
    found = [each for each in vars(records).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    return [each for each in found if each.__module__ == records.__name__ and each is not Record]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(found=st.lists(EXAMPLES, max_size=4))
def test_what_is_written_is_read_again(tmp_path: Path, found: list[Example]) -> None:
    """A JSONL file keeps every record, in order, whatever characters it holds."""
    path = tmp_path / "examples.jsonl"
    assert write_records(path, found) == len(found)
    assert list(read_records(path, Example)) == found
    assert path.read_bytes().count(b"\n") == len(found)


def test_an_old_file_is_replaced_at_once(tmp_path: Path) -> None:
    """Where the writing fails, the former records are all there, and nothing else."""
    path = tmp_path / "chunks.jsonl"
    write_records(path, [make_chunk(1)])

    def failing() -> Iterator[Chunk]:
        yield make_chunk(2)
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_records(path, failing())
    assert list(read_records(path, Chunk)) == [make_chunk(1)]
    assert [each.name for each in tmp_path.iterdir()] == ["chunks.jsonl"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "the line"),
        ('{"id": "1"}', "document: Field required"),
        (make_chunk(1).model_dump_json()[:-1] + ', "extra": 1}', "extra: Extra inputs are not permitted"),
        (make_chunk(1).model_dump_json().replace('"start":1', '"start":-1'), "start: Input should be greater"),
    ],
)
def test_a_malformed_line_is_told_by_its_number(tmp_path: Path, line: str, problem: str) -> None:
    """The records before it are read; then its line, field and problem are named."""
    path = tmp_path / "chunks.jsonl"
    path.write_text(f"{make_chunk(1).model_dump_json()}\n{line}\n", encoding="utf-8")
    reading = read_records(path, Chunk)
    assert next(reading) == make_chunk(1)
    with pytest.raises(DataError, match=rf"chunks\.jsonl line 2 is not a valid Chunk: .*{problem}") as caught:
        next(reading)
    assert caught.value.path == str(path)
    assert caught.value.hint


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    """Records that another program wrote in another encoding are refused, not crashed on."""
    path = tmp_path / "chunks.jsonl"
    path.write_bytes('{"id": "é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"chunks\.jsonl"):
        list(read_records(path, Chunk))


@pytest.mark.parametrize("name", ["gone.jsonl", "."])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    """A missing file, or a folder, is named."""
    with pytest.raises(DataError, match="cannot read"):
        list(read_records(tmp_path / name, Chunk))


def test_ids_are_short_stable_and_tell_their_parts_apart() -> None:
    """The same parts give the same id on every machine; parts do not run together."""
    assert content_id("shop.md", "0") == "8677f75870a56434"
    assert len({content_id("ab", "c"), content_id("a", "bc"), content_id("abc"), content_id("c", "ab")}) == 4


@pytest.mark.parametrize(("offset", "page"), [(0, 1), (9, 1), (10, 2), (29, 2), (30, 4), (99, 4)])
def test_an_offset_lies_on_a_page(offset: int, page: int) -> None:
    """Pages count from 1; one without text has no offset of its own."""
    document = Document(id="a", source="/a", title="A", sha256="", text="x" * 100, pages=(0, 10, 30, 30))
    assert document.page_at(offset) == page


def test_a_document_without_pages_has_no_page() -> None:
    """Only a PDF has pages."""
    assert Document(id="a", source="/a", title="A", sha256="", text="x").page_at(0) is None


@pytest.mark.parametrize("record", defined_records())
def test_every_field_is_described(record: type[BaseModel]) -> None:
    """The descriptions feed the schemas that models are given, and the documentation."""
    assert record.model_fields
    assert not [name for name, field in record.model_fields.items() if not field.description]


@pytest.mark.parametrize("record", defined_records())
def test_no_record_can_be_changed(record: type[BaseModel]) -> None:
    """Records are passed on, never edited."""
    assert record.model_config["frozen"]
    assert record.model_config["extra"] == ("ignore" if record is Conversation else "forbid")


def test_a_record_refuses_what_it_does_not_know() -> None:
    """A field of another version is not silently dropped."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        Message.model_validate({"role": "user", "content": "Hello", "name": "Ada"})
    with pytest.raises(ValidationError, match="frozen"):
        Message(role="user", content="Hello").content = "Bye"  # type: ignore[misc]


def test_a_conversation_takes_other_programs_records() -> None:
    """For training, any record with messages will do."""
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    read = Conversation.model_validate({"messages": messages, "id": 7, "meta": {}})
    assert [message.role for message in read.messages] == ["user", "assistant"]
