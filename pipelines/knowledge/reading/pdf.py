"""The text of a PDF, its lines joined into paragraphs again."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pypdfium2
import pypdfium2.raw as pdfium

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import only_images
from pipelines.knowledge.reading.layout import Line, ends_early, is_apart, is_cell, read_lines, usual_spacing
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.text import clean_text

_SENTENCE_END = re.compile(r"[.!?:;。！？：；]['\"”’)\]]*$")
_HYPHEN_END = re.compile(r"[^\W\d_]-$")
_CJK = r"\u3400-\u9fff\u3000-\u303f\uff00-\uffef"
_CJK_MEET = re.compile(f"[{_CJK}]\n[{_CJK}]")
_LEADERS = re.compile(r"(?:\s*\.){6,}\s*")
_HYPHEN = re.compile("\ufffe(?=(?P<next>.?))")
_LIST_ITEM = re.compile(r"[•‣◦▪●○■–*-] |[(\[]?\d{1,2}[.)\]] ")
_PAGE_NUMBER = re.compile(r"(?:page |seite |第)?\s*[\divxlc]+(?:\s*(?:/|of)\s*\d+)?\s*页?", re.IGNORECASE)
# A line much shorter than the page's longest may be a title.
_FULL_LINE = 0.75
_LONGEST_HEADING = 70
# What programs call a document that nobody has named.
_PROGRAMS_TITLE = re.compile(r"^microsoft \w+ - |^untitled|^\W*anonymous\W*$|\.\w{2,5}$", re.IGNORECASE)
# Letters this much larger than most of the text's are those of a title, of at most so many levels.
_LARGER = 1.12
_LEVELS = 4
_MOST_LARGE_LINES = 0.2
_MOST_PAGES = 10_000
# The same first or last line on so many pages, and this share of all, is a header or footer; so is
# one with the page's number, if half of the pages have it there.
_LEAST_REPEATED = 4
_REPEATED_SHARE = 0.2
_NUMBERED_SHARE = 0.5
_INVISIBLE_MODE = pdfium.FPDF_TEXTRENDERMODE_INVISIBLE

Titles = dict[int, list[tuple[int, str]]]  # of the outline: level and title, by page from 0


def read_pdf(source: Source) -> PlainText:
    """Return the text of a PDF, its pages, and headings by its outline or by their looks.

    Raises:
        DataError: It is broken or encrypted, has too many pages, or holds no text.
    """
    plain = PlainText()
    try:
        document = pypdfium2.PdfDocument(source.content)
        try:
            if len(document) > _MOST_PAGES:
                raise DataError(
                    f"claims {len(document):,} pages, over the limit of {_MOST_PAGES:,}", hint="Split the file."
                )
            titles = _outline(document, plain)
            pages = [_page_lines(document, number, plain) for number in range(len(document))]
            title = plain.fold(document.get_metadata_value("Title"))
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        reason = "is encrypted" if "assword" in str(error) else f"is not a readable PDF: {error}"
        raise DataError(reason, hint="Print it to a new PDF without a password, or repair it.") from error
    pages = _without_running_lines(pages)
    looks = _Looks.of(pages)
    for number, lines in enumerate(pages):
        plain.start_page()
        _Page(plain, lines, looks).add(titles.get(number, []), has_outline=bool(titles))
    if not plain.blocks:
        raise only_images()
    chapters = [level for _offset, level, _title in plain.headings].count(1)
    if title and not _PROGRAMS_TITLE.search(title):
        plain.title = title
    elif chapters > 1:
        plain.title = ""  # the first chapter's name is not that of the book
    return plain


def _page_lines(document: pypdfium2.PdfDocument, number: int, plain: PlainText) -> list[Line]:
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        plain.hidden["broken pages"] += 1
        return []
    try:
        # A page may have been turned on a screen; its lines are put in order as they were written.
        page.set_rotation(0)
        _remove_invisible(page, plain)
        text_page = page.get_textpage()
        lines = [_cleaned(line, plain) for line in read_lines(text_page)]
        text_page.close()
    finally:
        page.close()
    return [line for line in lines if line.text]


def _cleaned(line: Line, plain: PlainText) -> Line:
    text = plain.fold(_readable(line.text))
    return replace(line, text=text, row=text if line.row == line.text else clean_text(_readable(line.row)).strip())


def _readable(text: str) -> str:
    return _LEADERS.sub(" … ", _HYPHEN.sub(_unhyphenate, text))


def _remove_invisible(page: pypdfium2.PdfPage, plain: PlainText) -> None:
    """Take text in rendering mode 3 off a page, unless it is all there is: then it is what OCR read."""
    objects = [pdfium.FPDFPage_GetObject(page, index) for index in range(pdfium.FPDFPage_CountObjects(page))]
    texts = [each for each in objects if pdfium.FPDFPageObj_GetType(each) == pdfium.FPDF_PAGEOBJ_TEXT]
    invisible = [each for each in texts if pdfium.FPDFTextObj_GetTextRenderMode(each) == _INVISIBLE_MODE]
    if not invisible or len(invisible) == len(texts):
        return
    for each in invisible:
        if pdfium.FPDFPage_RemoveObject(page, each):
            pdfium.FPDFPageObj_Destroy(each)
    plain.hidden["invisible pieces of text"] += len(invisible)


def _unhyphenate(match: re.Match[str]) -> str:
    # pdfium writes U+FFFE for a hyphen at the end of a line, and joins the two lines.
    return "" if match["next"].islower() else "-"


def _outline(document: pypdfium2.PdfDocument, plain: PlainText) -> Titles:
    titles: Titles = defaultdict(list)
    for bookmark in document.get_toc():
        target = bookmark.get_dest()
        page = target.get_index() if target is not None else None
        title = plain.fold(bookmark.get_title())
        if page is not None and title:
            titles[page].append((min(6, bookmark.level + 1), title))
    return dict(titles)


def _without_running_lines(pages: list[list[Line]]) -> list[list[Line]]:
    """Return the pages without what stands at the top or bottom of many, and without their numbers."""
    shapes = Counter(shape for lines in pages for shape in {_shape(line) for line in _edges(lines)})
    least = max(_LEAST_REPEATED, _REPEATED_SHARE * len(pages))
    running = {shape for shape, times in shapes.items() if times >= least}
    first = _first_number(pages)
    return [
        _without(lines, [line for line in _edges(lines) if _is_running(line, running, first + number)])
        for number, lines in enumerate(pages)
    ]


def _is_running(line: Line, running: set[str], number: float) -> bool:
    return _shape(line) in running or bool(_PAGE_NUMBER.fullmatch(line.text)) or number in _outer_numbers(line)


def _without(lines: list[Line], dropped: list[Line]) -> list[Line]:
    kept = [line for line in lines if line not in dropped]
    # A form of one line a page; numbers alone are none.
    return kept or [line for line in lines if not _PAGE_NUMBER.fullmatch(line.text)]


def _first_number(pages: list[list[Line]]) -> float:
    """Return the number of the first page, as the edges of most of the pages tell it; NaN if they do not."""
    votes = Counter(
        found - number
        for number, lines in enumerate(pages)
        for found in {found for line in _edges(lines) for found in _outer_numbers(line)}
    )
    for first, times in votes.most_common(1):
        if times >= max(_LEAST_REPEATED, _NUMBERED_SHARE * len(pages)):
            return first
    return float("nan")


def _outer_numbers(line: Line) -> set[int]:
    return {int(found) for found in re.findall(r"^\d{1,5}(?=\s)|(?<=\s)\d{1,5}$", line.text)}


def _edges(lines: list[Line]) -> list[Line]:
    """Return what stands at the height of the highest and of the lowest line of a page."""
    top = max((line.first_base for line in lines), default=0.0)
    bottom = min((line.last_base for line in lines), default=0.0)
    return [line for line in lines if line.first_base > top - line.size / 2 or line.last_base < bottom + line.size / 2]


def _shape(line: Line) -> str:
    return re.sub(r"\d+", "0", line.text)


def _key(title: str) -> str:
    """Return a title without its number, spaces and case, in which outline and page differ."""
    return re.sub(r"^[\d.]+|\s+", "", re.sub(r"^(?:chapter|appendix|part)\s+\w+\W+", "", title.casefold()))


@dataclass(frozen=True)
class _Looks:
    """What is usual in a document."""

    spacing: float
    levels: dict[float, int]  # of the sizes of letters that titles have

    @classmethod
    def of(cls, pages: Sequence[Sequence[Line]]) -> _Looks:
        """Return the looks of a document of such pages."""
        lines = [line for page in pages for line in page]
        letters: Counter[float] = Counter()
        for line in lines:
            letters[round(line.size)] += len(line.text)
        usual = letters.most_common(1)[0][0] if letters else 0.0
        large = [round(line.size) for line in lines if _is_title_like(line, usual)]
        sizes = sorted(set(large), reverse=True)[:_LEVELS] if len(large) < _MOST_LARGE_LINES * len(lines) else []
        return cls(spacing=usual_spacing(pages), levels={size: level for level, size in enumerate(sizes, start=1)})


def _is_title_like(line: Line, usual: float) -> bool:
    return (
        line.size > _LARGER * usual
        and len(line.text) <= 2 * _LONGEST_HEADING
        and re.search(r"[^\W\d_]{2}|[\u3400-\u9fff]", line.text) is not None
    )


@dataclass
class _Page:
    """The lines of a page on their way into the text."""

    plain: PlainText
    lines: list[Line]
    looks: _Looks
    block: str = ""

    def add(self, titles: list[tuple[int, str]], *, has_outline: bool) -> None:
        wanted = {_key(title): (level, title) for level, title in titles}
        longest = max((len(line.text) for line in self.lines), default=0)
        number = 0
        while number < len(self.lines):
            line = self.lines[number]
            following = self.lines[number + 1].text if number + 1 < len(self.lines) else ""
            level = 0 if has_outline else self.looks.levels.get(round(line.size), 0)
            # A title may run over two lines.
            found = next((key for key in (_key(line.text), _key(line.text + following)) if key in wanted), "")
            if found:
                self._flush()
                outline_level, title = wanted.pop(found)
                self.plain.add(title, level=outline_level)
                number += found != _key(line.text)
            elif level and len(line.text) <= 2 * _LONGEST_HEADING:
                number = self._add_title(number, level)
            elif not has_outline and not self.looks.levels and self._looks_like_title(number, following, longest):
                self.plain.add(line.text, level=2 if self.plain.headings else 1)
            else:
                self._append(number)
            number += 1
        self._flush()

    def _add_title(self, number: int, level: int) -> int:
        """Add lines of large letters that stand close together as a heading; return the last one's number."""
        self._flush()
        last = number
        while last + 1 < len(self.lines) and round(self.lines[last + 1].size) == round(self.lines[number].size):
            if is_apart(self.lines[last], self.lines[last + 1], spacing=self.looks.spacing):
                break
            last += 1
        self.plain.add(" ".join(line.text for line in self.lines[number : last + 1]), level=level)
        return last

    def _looks_like_title(self, number: int, following: str, longest: int) -> bool:
        return not self.block and _is_heading(self.lines[number].text, following, longest)

    def _append(self, number: int) -> None:
        """Let a line continue the block, or begin another."""
        line, before = self.lines[number], self.lines[number - 1] if number else None
        if not self.block or before is None:
            self.block = line.row
        elif is_cell(before, line):
            self.block += " | " + line.row
        elif self._is_new_block(number):
            self._flush()
            self.block = line.row
        elif line.is_code and before.is_code:
            self.block += "\n" + self._indent(number) + line.row
        elif line.is_code != before.is_code or " | " in before.row + line.row or ends_early(self.lines, number - 1):
            self.block += "\n" + line.row
        else:
            self.block = _join(self.block, line.row)

    def _is_new_block(self, number: int) -> bool:
        before, line = self.lines[number - 1], self.lines[number]
        if _LIST_ITEM.match(line.text) and not line.is_code:
            return True
        if is_apart(before, line, spacing=self.looks.spacing):
            # A paragraph may go on at the head of the next column.
            return line.first_base < before.last_base or bool(_SENTENCE_END.search(before.text))
        return bool(_SENTENCE_END.search(before.text)) and not line.is_code and ends_early(self.lines, number - 1)

    def _indent(self, number: int) -> str:
        line, before = self.lines[number], self.lines[number - 1]
        indent = len(self.block) - self.block.rfind("\n") - 1
        indent = indent - len(self.block[self.block.rfind("\n") + 1 :].lstrip(" "))
        return " " * max(0, indent + round((line.left - before.left) / (0.6 * line.size)))

    def _flush(self) -> None:
        self.plain.add(self.block)
        self.block = ""


def _is_heading(line: str, following: str, longest: int) -> bool:
    """Whether a line at a paragraph's start reads like a title: short, and no sentence."""
    return (
        len(line) <= min(_LONGEST_HEADING, _FULL_LINE * longest)
        and not _SENTENCE_END.search(line)
        and bool(re.match(r"[A-Z0-9\u3400-\u9fff]", line))
        and not re.match(r"[a-z]", following)
    )


def _join(paragraph: str, line: str) -> str:
    if _HYPHEN_END.search(paragraph) and line[:1].islower():
        return paragraph[:-1] + line
    return paragraph + ("" if _CJK_MEET.fullmatch(f"{paragraph[-1:]}\n{line[:1]}") else " ") + line
