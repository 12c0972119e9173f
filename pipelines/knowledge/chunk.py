"""Documents cut into chunks: whole sentences of one section, small enough to be one passage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Chunk, Document, content_id
from pipelines.text import language_of, sentence_spans

# Changes whenever the same file would be read or cut differently, so that it is read again.
CHUNKER = "sections-5"
# About 90 tokens. Small passages make it easier for a small model to find the sentence,
# and more of them fit the prompt; 400 beat 700 in quote F1 (BENCHMARKS.md).
SIZE_CHARS = 400
# A Chinese character says as much as several letters, and is more tokens to a small student.
_CHINESE_SIZE = 0.5
_TITLE_CHARS = 120
# Tokens that are nobody's text: those that begin and end it, a model's own prefix, the line end between
# headings and text, and the one that a word may take more where another stands before it.
_RESERVED_TOKENS = 10
_ELLIPSIS = "…"

Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class TokenLimit:
    """What an embedder takes of a text; what is beyond it would not be found."""

    max_tokens: int
    tokenize: Callable[[str], list[int]]

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self.tokenize(text))


def chunk_document(document: Document, *, size_chars: int = SIZE_CHARS, limit: TokenLimit | None = None) -> list[Chunk]:
    """Cut a document into chunks of at most `size_chars` characters, half of that in Chinese, without overlap.

    A sentence that is longer is cut at white space. Headings are not part of any chunk's
    text; each chunk carries those it stands under. With a limit, headings and text together
    are never more than its tokens. An id is made of the document's id and the chunk's text, and
    of how often that occurred before; so it stays when something else in the document changes.
    """
    chunks = []
    occurrences: Counter[str] = Counter()
    for start, end, path in _sections(document):
        heading = _heading(document, path, limit)
        is_chinese = language_of(document.text[start:end]) == "zh"
        size = int(size_chars * _CHINESE_SIZE) if is_chinese else size_chars
        for span_start, span_end in _Cutter(document.text, size, limit, heading).pieces(start, end):
            text = document.text[span_start:span_end]
            chunks.append(
                Chunk(
                    id=content_id(document.id, text, str(occurrences[text])),
                    document=document.id,
                    start=span_start,
                    end=span_end,
                    text=text,
                    heading=heading,
                    page=document.page_at(span_start),
                )
            )
            occurrences[text] += 1
    return chunks


def _sections(document: Document) -> Iterator[tuple[int, int, list[str]]]:
    """Yield start, end and headings, outermost first, of the text between headings."""
    path: list[tuple[int, str]] = []
    position = 0
    for offset, level, title in document.headings:
        if document.text[position:offset].strip():
            yield position, offset, [name for _level, name in path]
        path = [*[entry for entry in path if entry[0] < level], (level, title)]
        end_of_line = document.text.find("\n", offset)
        position = len(document.text) if end_of_line < 0 else end_of_line
    if document.text[position:].strip():
        yield position, len(document.text), [name for _level, name in path]


def _heading(document: Document, path: list[str], limit: TokenLimit | None) -> str:
    """Return the heading path; where a limit would leave the text no room, the outer ones go first."""
    titles = path if document.title in path else [document.title, *path]
    titles = [title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1] + _ELLIPSIS for title in titles]
    heading = HEADING_SEPARATOR.join(titles)
    if limit is None:
        return heading
    most = (limit.max_tokens - _RESERVED_TOKENS) // 3
    while limit.count(heading) > most:
        titles = titles[1:]
        heading = HEADING_SEPARATOR.join(titles) if titles else heading[: len(heading) // 2].rstrip()
    return heading


class _Cutter:
    """Cuts one section's text so that each piece fits."""

    def __init__(self, text: str, size_chars: int, limit: TokenLimit | None, heading: str) -> None:
        self._text = text
        self._size_chars = size_chars
        self._limit = limit
        taken = limit.count(heading) + _RESERVED_TOKENS if limit else 0
        self._room = max(1, limit.max_tokens - taken) if limit else 0

    def pieces(self, start: int, end: int) -> Iterator[Span]:
        """Yield the spans of as many whole sentences as fit."""
        current: Span | None = None
        used = 0
        for sentence in sentence_spans(self._text[start:end]):
            for piece in self._split_long(start + sentence[0], start + sentence[1]):
                if current and piece[1] - current[0] <= self._size_chars:
                    longer = used + self._count((current[1], piece[1]))  # with what stands between, like a list's mark
                    if longer <= self._room:
                        current, used = (current[0], piece[1]), longer
                        continue
                if current:
                    yield current
                current, used = piece, self._count(piece)
        if current:
            yield current

    def _split_long(self, start: int, end: int) -> Iterator[Span]:
        """Yield a sentence in pieces that fit by themselves."""
        while end > start:
            size = min(self._size_chars, end - start)
            cut = self._cut(start, end, size)
            while size > 1 and self._count((start, cut)) > self._room:
                size //= 2
                cut = self._cut(start, end, size)
            yield start, cut
            start = cut
            while start < end and self._text[start].isspace():
                start += 1

    def _cut(self, start: int, end: int, size: int) -> int:
        """Return where a piece of at most `size` characters ends: all of it, at white space, or anywhere."""
        if end - start <= size:
            return end
        space = max(self._text.rfind(" ", start, start + size), self._text.rfind("\n", start, start + size))
        return space if space > start else start + size

    def _count(self, span: Span) -> int:
        return self._limit.count(self._text[slice(*span)]) if self._limit else 0
