"""The text of a PDF, its lines joined into paragraphs again."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as pdfium

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import only_images
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.text import fold_space

_SENTENCE_END = re.compile(r"[.!?:;。！？：；]['\"”’)\]]*$")
_HYPHEN_END = re.compile(r"[^\W\d_]-$")
_CJK_END = re.compile(r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]$")
_HYPHEN = re.compile("\ufffe(?=(?P<next>.?))")
_PAGE_NUMBER = re.compile(r"(?:page |seite |第)?\s*[\divxlc]+(?:\s*(?:/|of)\s*\d+)?\s*页?", re.IGNORECASE)
# A line much shorter than the page's longest ends its paragraph.
_FULL_LINE = 0.75
_LONGEST_HEADING = 70
_MOST_PAGES = 10_000
# The same first or last line on so many pages, and this share of all, is a header or footer.
_LEAST_REPEATED = 4
_REPEATED_SHARE = 0.2
_EDGE_LINES = 1
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
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        reason = "is encrypted" if "assword" in str(error) else f"is not a readable PDF: {error}"
        raise DataError(reason, hint="Print it to a new PDF without a password, or repair it.") from error
    running = _running_lines(pages)
    for number, lines in enumerate(pages):
        plain.start_page()
        _Page(plain, _without_running(lines, running)).add(titles.get(number, []), has_outline=bool(titles))
    if not plain.blocks:
        raise only_images()
    return plain


def _page_lines(document: pypdfium2.PdfDocument, number: int, plain: PlainText) -> list[str]:
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        plain.hidden["broken pages"] += 1
        return []
    try:
        _remove_invisible(page, plain)
        text_page = page.get_textpage()
        text = plain.clean(_HYPHEN.sub(_unhyphenate, text_page.get_text_range()))
        text_page.close()
    finally:
        page.close()
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if not _PAGE_NUMBER.fullmatch(line)]


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


def _running_lines(pages: list[list[str]]) -> set[str]:
    """Return the shapes of the lines with which many pages begin or end."""
    count = Counter(shape for lines in pages for shape in {_shape(lines[index]) for index in _edges(lines)})
    least = max(_LEAST_REPEATED, _REPEATED_SHARE * len(pages))
    return {shape for shape, times in count.items() if times >= least}


def _without_running(lines: list[str], running: set[str]) -> list[str]:
    dropped = {index for index in _edges(lines) if _shape(lines[index]) in running}
    kept = [line for index, line in enumerate(lines) if index not in dropped]
    return kept if any(kept) else lines


def _edges(lines: list[str]) -> set[int]:
    filled = [index for index, line in enumerate(lines) if line]
    return {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line)


def _key(title: str) -> str:
    """Return a title without its number, spaces and case, in which outline and page differ."""
    return re.sub(r"^[\d.]+|\s+", "", re.sub(r"^(?:chapter|appendix|part)\s+\w+\W+", "", title.casefold()))


@dataclass
class _Page:
    """The lines of a page on their way into the text."""

    plain: PlainText
    lines: list[str]
    paragraph: str = ""

    def add(self, titles: list[tuple[int, str]], *, has_outline: bool) -> None:
        wanted = {_key(title): (level, title) for level, title in titles}
        longest = max(map(len, self.lines), default=0)
        number = 0
        while number < len(self.lines):
            line = self.lines[number]
            following = next((later for later in self.lines[number + 1 :] if later), "")
            number += 1
            # A title may run over two lines.
            found = next((key for key in (_key(line), _key(line + following)) if key in wanted), "")
            if found:
                self._flush()
                level, title = wanted.pop(found)
                self.plain.add(title, level=level)
                number += found != _key(line)
            elif not line:
                self._flush()
            elif not has_outline and not self.paragraph and _is_heading(line, following, longest):
                self.plain.add(fold_space(line), level=2 if self.plain.headings else 1)
            else:
                self.paragraph = _join(self.paragraph, line)
                if len(line) < _FULL_LINE * longest and _SENTENCE_END.search(line):
                    self._flush()
        self._flush()

    def _flush(self) -> None:
        self.plain.add(fold_space(self.paragraph))
        self.paragraph = ""


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
    space = "" if not paragraph or _CJK_END.search(paragraph) else " "
    return paragraph + space + line
