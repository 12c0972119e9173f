"""The lines of a PDF's page, and what their places say: columns of a table, code, the ends of paragraphs."""

from __future__ import annotations

import ctypes
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pypdfium2
import pypdfium2.raw as pdfium

# Parts of a font's size. Words stand a quarter to a half apart, justified ones seldom more.
_CELL_GAP = 1.0
_SAME_LINE = 0.5
_SAME_COLUMN = 3.0
_CODE_WIDTH = 0.6
# A paragraph's lines stand at most so much further apart than the document's usually do.
_LOOSER = 1.2
_USUAL_SPACING = 1.2
_NEAR_LINES = 8
_FIRST_CJK = "\u2e80"
_FIXED_PITCH = 1  # ISO 32000-1, table 123
_CODE_FONT = re.compile(r"mono|courier|consol|menlo|typewriter|^(?:\w+\+)?cm\w*tt\d", re.IGNORECASE)
_LIST_MARK = re.compile(r"[^\w\s]|[(\[]?(?:\d{1,3}|\w)[.)\]]")
_FIRST_WORD = re.compile(r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a page, measured in points along the direction in which it is written."""

    text: str
    row: str  # the same, with a bar between the cells of a table and all the spaces of code
    left: float
    right: float
    first_base: float  # the baseline of its beginning
    last_base: float  # and of its end, which is lower where a hyphen was undone
    size: float
    is_code: bool = False


def read_lines(text_page: pypdfium2.PdfTextPage) -> list[Line]:
    """Return the lines of a page that are not empty, in the order in which they were written."""
    glyphs = _Glyphs(text_page)
    return [glyphs.line(*found.span()) for found in re.finditer(r"[^\s](?:[^\r\n]*[^\s])?", glyphs.text)]


class _Glyphs:
    """The characters of a page, each asked for its place by its offset in the text."""

    def __init__(self, text_page: pypdfium2.PdfTextPage) -> None:
        self.text = text_page.get_text_range()
        self._page = text_page
        # pdfium counts in UTF-16.
        self._wide = [offset for offset, character in enumerate(self.text) if character > "\uffff"]

    def line(self, start: int, end: int) -> Line:
        """Return a line with its measures."""
        angle = max(0.0, pdfium.FPDFText_GetCharAngle(self._page, self._index(start)))  # clockwise
        size = pdfium.FPDFText_GetFontSize(self._page, self._index(start)) or 1.0
        is_code = all(self._is_fixed(offset) for offset in (start, (start + end) // 2, end - 1))
        # Arabic and Hebrew begin at the right.
        ends = list(zip(self._extent(start, angle), self._extent(end - 1, angle), strict=True))
        return Line(
            text=self.text[start:end],
            row=self._row(start, end, angle=angle, size=size, is_code=is_code),
            left=min(ends[0]),
            right=max(ends[1]),
            first_base=self._baseline(start, angle),
            last_base=self._baseline(end - 1, angle),
            size=size,
            is_code=is_code,
        )

    def _row(self, start: int, end: int, *, angle: float, size: float, is_code: bool) -> str:
        pieces: list[str] = []
        for space in re.compile(r"(?<=\S) +(?=\S)").finditer(self.text, start, end):
            gap = self._extent(space.end(), angle)[0] - self._extent(space.start() - 1, angle)[1]
            word = self.text[start : space.start()]
            is_mark = not pieces and _LIST_MARK.fullmatch(word)
            if is_code:
                pieces += [word, " " * max(1, round(gap / (_CODE_WIDTH * size)))]
            else:
                pieces += [word, " | " if gap > _CELL_GAP * size and not is_mark else " "]
            start = space.end()
        return "".join([*pieces, self.text[start:end]])

    def _index(self, offset: int) -> int:
        return int(pdfium.FPDFText_GetCharIndexFromTextIndex(self._page, offset + bisect_left(self._wide, offset)))

    def _extent(self, offset: int, angle: float) -> tuple[float, float]:
        """Return where a character begins and ends along the direction of writing."""
        box = pdfium.FS_RECTF()
        pdfium.FPDFText_GetLooseCharBox(self._page, self._index(offset), box)
        along = [
            x * math.cos(angle) - y * math.sin(angle) for x in (box.left, box.right) for y in (box.bottom, box.top)
        ]
        return min(along), max(along)

    def _baseline(self, offset: int, angle: float) -> float:
        x, y = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDFText_GetCharOrigin(self._page, self._index(offset), x, y)
        return y.value * math.cos(angle) + x.value * math.sin(angle)

    def _is_fixed(self, offset: int) -> bool:
        """Whether a character is of a font of one width, which says nothing of Chinese ones and of space."""
        if self.text[offset] >= _FIRST_CJK:
            return False
        if self.text[offset].isspace():
            return True
        flags, name = ctypes.c_int(), ctypes.create_string_buffer(128)
        pdfium.FPDFText_GetFontInfo(self._page, self._index(offset), name, len(name), flags)
        is_flagged = flags.value > 0 and flags.value & _FIXED_PITCH
        return bool(is_flagged or _CODE_FONT.search(name.value.decode(errors="replace")))


def usual_spacing(pages: Iterable[Sequence[Line]]) -> float:
    """Return how far apart the lines of most paragraphs stand, as a multiple of the font's size."""
    steps = Counter(
        round((line.last_base - after.first_base) / line.size, 1) for lines in pages for line, after in pairwise(lines)
    )
    likely = Counter({step: count for step, count in steps.items() if 0.9 <= step <= 3})
    return likely.most_common(1)[0][0] if likely else _USUAL_SPACING


def is_apart(line: Line, after: Line, *, spacing: float) -> bool:
    """Whether more than a usual line's distance lies between two lines, or the text goes on further up."""
    return not 0 <= line.last_base - after.first_base <= _LOOSER * spacing * max(line.size, after.size)


def is_cell(line: Line, after: Line) -> bool:
    """Whether the second stands to the right of the first, as a further cell of its row."""
    return abs(line.last_base - after.first_base) < _SAME_LINE * line.size and after.left >= line.right


def ends_early(lines: Sequence[Line], number: int) -> bool:
    """Whether the first word of the next line would have had room: then a line's end was meant."""
    line, after = lines[number], lines[number + 1]
    word = _FIRST_WORD.match(after.text)
    width = (after.right - after.left) * len(word[0] if word else "") / len(after.text)
    if after.first_base != after.last_base:
        width = line.size
    near = lines[max(0, number - _NEAR_LINES) : number + _NEAR_LINES]
    edge = max(each.right for each in near if abs(each.left - line.left) <= _SAME_COLUMN * line.size)
    return edge - line.right > width + line.size
