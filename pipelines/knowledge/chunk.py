"""Documents cut into chunks: whole sentences of one section, small enough to be one passage."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Chunk, Document, content_id
from pipelines.text import sentence_spans

# Changes whenever the same document would be cut differently, so that it is cut again.
CHUNKER = "sections-3"
# About 90 tokens. Small passages make it easier for a small model to find the sentence,
# and more of them fit the prompt; 400 beat 700 in quote F1 (BENCHMARKS.md).
SIZE_CHARS = 400


def chunk_document(document: Document, *, size_chars: int = SIZE_CHARS) -> list[Chunk]:
    """Cut a document into chunks of at most `size_chars` characters, without overlap.

    A sentence that is longer is cut at white space. Headings are not part of any chunk's
    text; each chunk carries those it stands under.
    """
    chunks = []
    for start, end, heading in _sections(document):
        for span_start, span_end in _pieces(document.text, start, end, size_chars):
            text = document.text[span_start:span_end]
            chunks.append(
                Chunk(
                    id=content_id(document.id, str(span_start), str(span_end), text),
                    document=document.id,
                    start=span_start,
                    end=span_end,
                    text=text,
                    heading=heading,
                    page=document.page_at(span_start),
                )
            )
    return chunks


def _sections(document: Document) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and heading path of the text between headings."""
    path: list[tuple[int, str]] = []
    position = 0
    for offset, level, title in document.headings:
        if document.text[position:offset].strip():
            yield position, offset, _heading(document, path)
        path = [*[entry for entry in path if entry[0] < level], (level, title)]
        end_of_line = document.text.find("\n", offset)
        position = len(document.text) if end_of_line < 0 else end_of_line
    if document.text[position:].strip():
        yield position, len(document.text), _heading(document, path)


def _heading(document: Document, path: list[tuple[int, str]]) -> str:
    titles = [title for _level, title in path]
    if document.title not in titles:
        titles.insert(0, document.title)
    return HEADING_SEPARATOR.join(titles)


def _pieces(text: str, start: int, end: int, size_chars: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of as many whole sentences as fit."""
    current: tuple[int, int] | None = None
    for sentence in sentence_spans(text[start:end]):
        for piece_start, piece_end in _split_long(text, start + sentence[0], start + sentence[1], size_chars):
            if current is not None and piece_end - current[0] <= size_chars:
                current = (current[0], piece_end)
                continue
            if current is not None:
                yield current
            current = (piece_start, piece_end)
    if current is not None:
        yield current


def _split_long(text: str, start: int, end: int, size_chars: int) -> Iterator[tuple[int, int]]:
    while end - start > size_chars:
        space = max(text.rfind(" ", start, start + size_chars), text.rfind("\n", start, start + size_chars))
        cut = space if space > start else start + size_chars
        yield start, cut
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        yield start, end
