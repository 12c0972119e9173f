"""Chunks: pieces of the document's own text, which leave nothing out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.knowledge.chunk import SIZE_CHARS, TokenLimit, chunk_document
from pipelines.knowledge.reading.plain import PlainText
from pipelines.records import Chunk, Document

WORD = st.sampled_from(["a", "bike", "Nine", "e.g.", "3.5", "end.", "Why?", "-", "•", "\n", "租车", "开门。", "x" * 50])
BLOCK = st.lists(WORD, min_size=1, max_size=30).map(" ".join)
TITLE = st.sampled_from(["Shop", "Prices", "Opening hours", "租车"])


def make_document(plain: PlainText, *, title: str = "Shop", pages: tuple[int, ...] = ()) -> Document:
    """Return a document as a reader makes it of a file."""
    return Document(
        id="shop.md",
        source="/shop.md",
        title=title,
        sha256="",
        text=plain.text,
        headings=tuple(plain.headings),
        pages=pages,
    )


def write(*blocks: tuple[int, str]) -> PlainText:
    """Return plain text made of blocks, each with its level; 0 for text below a heading."""
    plain = PlainText()
    for level, text in blocks:
        plain.add(text, level=level)
    return plain


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Draw a document of headings and of text with sentences, list items, and words without end."""
    heading = st.tuples(st.integers(1, 3), TITLE)
    text = st.tuples(st.just(0), BLOCK)
    return make_document(write(*draw(st.lists(st.one_of(text, text, heading), max_size=12))))


SIZES = st.integers(20, SIZE_CHARS)


@given(documents(), SIZES)
def test_every_chunk_is_the_document_at_its_offsets(document: Document, size: int) -> None:
    """A chunk's text is document.text[start:end], begins with something to read, and fits the size."""
    for chunk in chunk_document(document, size_chars=size):
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.text.lstrip() == chunk.text
        assert 0 < len(chunk.text) <= size
        assert chunk.document == document.id


@given(documents(), SIZES)
def test_chunks_leave_out_headings_list_marks_and_space_alone(document: Document, size: int) -> None:
    """All other text is in exactly one chunk."""
    left = list(document.text)
    for offset, level, title in document.headings:
        end = offset + level + 1 + len(title)
        left[offset:end] = " " * (end - offset)
    for chunk in chunk_document(document, size_chars=size):
        span = slice(chunk.start, chunk.end)
        assert "".join(left[span]) == chunk.text, "a chunk overlaps another one, or a heading"
        left[span] = " " * (chunk.end - chunk.start)
    assert set("".join(left).split()) <= {"-", "•"}


@given(documents(), SIZES)
def test_ids_are_unique_and_stable(document: Document, size: int) -> None:
    """Cutting the same document again gives the same ids, none of them twice."""
    ids = [chunk.id for chunk in chunk_document(document, size_chars=size)]
    assert len(set(ids)) == len(ids)
    assert ids == [chunk.id for chunk in chunk_document(document, size_chars=size)]


@given(documents())
def test_what_is_added_at_the_end_moves_nothing_before(document: Document) -> None:
    """Chunks before a new section keep their ids, so their vectors need not be made again."""
    longer = document.model_copy(
        update={
            "text": f"{document.text}\n\n# New\n\nA new section.",
            "headings": (*document.headings, (len(document.text) + 2, 1, "New")),
        }
    )
    before = [chunk.id for chunk in chunk_document(document)]
    assert [chunk.id for chunk in chunk_document(longer)][:-1] == before


@given(documents(), SIZES, st.integers(20, 90))
def test_headings_and_text_fit_the_embedder(document: Document, size: int, max_tokens: int) -> None:
    """Where each character is a token, headings and text and what begins and ends them are never too many."""
    limit = TokenLimit(max_tokens=max_tokens, tokenize=lambda text: [ord(character) for character in text])
    chunks = chunk_document(document, size_chars=size, limit=limit)
    assert all(len(f"{chunk.heading}\n{chunk.text}") + 2 <= max_tokens for chunk in chunks)
    whole = chunk_document(document, size_chars=size)
    assert _characters(chunks) == _characters(whole), "a limit leaves nothing out"


def _characters(chunks: list[Chunk]) -> str:
    """Return what chunks say, without space and without list marks, which do not begin a chunk."""
    return "".join("".join(chunk.text.split()) for chunk in chunks).translate({ord("-"): None, ord("•"): None})


@pytest.mark.parametrize("line", ["x" * 10_000, "cell," * 2_000, "租车押金四十欧元" * 1_250, "a word " * 1_430])
def test_a_line_of_ten_thousand_characters_is_cut(line: str) -> None:
    """A table's row, code, or Chinese without a stop is cut to what fits, and nothing of it is lost."""
    limit = TokenLimit(max_tokens=128, tokenize=lambda text: [ord(character) for character in text])
    document = make_document(write((1, "A very long heading " * 20), (2, "Below it"), (0, line)))
    chunks = chunk_document(document, limit=limit)
    assert all(len(chunk.heading) + len(chunk.text) <= 126 for chunk in chunks)
    assert _characters(chunks) == "".join(line.split())


def test_what_stands_above_leaves_ids_as_they_are() -> None:
    """An id is made of the text and of how often it came before, so what is put before it changes nothing."""
    blocks = [(1, "Shop"), (0, "We open at nine."), (1, "Branch"), (0, "We open at nine.")]
    before = chunk_document(make_document(write(*blocks)))
    after = chunk_document(make_document(write((0, "News."), *blocks)))
    assert [chunk.id for chunk in after[1:]] == [chunk.id for chunk in before]
    assert before[0].id != before[1].id


def test_ids_differ_between_documents_and_texts() -> None:
    """The same words in another document, or other words in the same one, are another chunk."""
    document = make_document(write((0, "We open at nine.")))
    variants = [
        document,
        document.model_copy(update={"id": "other.md"}),
        document.model_copy(update={"text": "We open at five."}),
    ]
    assert len({chunk.id for each in variants for chunk in chunk_document(each)}) == 3


def test_a_chunk_carries_the_headings_around_it() -> None:
    """Titles stand outermost first; a heading ends those of its level and below."""
    plain = write(
        (0, "Before all."),
        (1, "Shop"),
        (0, "Welcome."),
        (2, "Prices"),
        (3, "E-bikes"),
        (0, "Nine euros."),
        (2, "Hours"),
        (0, "From nine."),
        (1, "Imprint"),
        (0, "By us."),
    )
    chunks = chunk_document(make_document(plain))
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("Shop", "Before all."),
        ("Shop", "Welcome."),
        ("Shop › Prices › E-bikes", "Nine euros."),
        ("Shop › Hours", "From nine."),
        ("Shop › Imprint", "By us."),
    ]


def test_the_title_leads_where_no_heading_says_it() -> None:
    """A document's title is part of the heading of each of its chunks."""
    [chunk] = chunk_document(make_document(write((2, "Prices"), (0, "Nine euros.")), title="Price list"))
    assert chunk.heading == "Price list › Prices"


@pytest.mark.parametrize("blocks", [[], [(1, "Shop")], [(1, "Shop"), (2, "Prices")]])
def test_headings_alone_make_no_chunk(blocks: list[tuple[int, str]]) -> None:
    """Where there is no text below the headings, there is nothing to cite."""
    assert chunk_document(make_document(write(*blocks))) == []


def test_sentences_stay_whole() -> None:
    """As many whole sentences as fit are a chunk."""
    text = "One bike is red. Two bikes are blue. Three bikes are green."
    chunks = chunk_document(make_document(write((0, text))), size_chars=40)
    assert [chunk.text for chunk in chunks] == ["One bike is red. Two bikes are blue.", "Three bikes are green."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three four five six", ["one two", "three four", "five six"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijkl", "mnopqrstuvwx", "yz"]),
        ("租车押金为四十欧元归还时退还给您", ["租车押金为四", "十欧元归还时", "退还给您"]),
    ],
)
def test_a_sentence_without_end_is_cut(text: str, expected: list[str]) -> None:
    """A sentence longer than a chunk is cut at white space, or at the size where there is none."""
    chunks = chunk_document(make_document(write((0, text))), size_chars=12)
    assert [chunk.text for chunk in chunks] == expected


def test_a_chunk_knows_the_page_it_begins_on() -> None:
    """Pages count from 1; a document without pages has none."""
    blocks = [(0, f"This is all that page {number} says. " + "More of it. " * 30) for number in range(1, 4)]
    plain = write(*blocks)
    starts = tuple(plain.text.index(f"This is all that page {number}") for number in range(1, 4))
    chunks = chunk_document(make_document(plain, pages=starts))
    assert {chunk.page for chunk in chunks} == {1, 2, 3}
    for chunk in chunks:
        assert chunk.page == sum(start <= chunk.start for start in starts)
    assert {chunk.page for chunk in chunk_document(make_document(plain))} == {None}


def test_a_chunk_across_pages_is_on_the_first() -> None:
    """A reader is sent to the page where the passage begins."""
    [chunk] = chunk_document(make_document(write((0, "We open at nine."), (0, "We close at six.")), pages=(0, 18)))
    assert (chunk.text, chunk.page) == ("We open at nine.\n\nWe close at six.", 1)


def test_chinese_chunks_have_half_as_many_characters() -> None:
    """A character of Chinese says more than a letter, and takes a student's context as several."""
    english, chinese = ("The shop opens at nine in the morning. " * 40, "门店周日上午十点开门，晚上六点关门。" * 40)
    longest = [
        max(len(chunk.text) for chunk in chunk_document(make_document(write((0, text))))) for text in (english, chinese)
    ]
    assert SIZE_CHARS - 40 < longest[0] <= SIZE_CHARS
    assert SIZE_CHARS // 2 - 40 < longest[1] <= SIZE_CHARS // 2
