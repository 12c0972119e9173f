"""The text of a PDF, its lines joined into paragraphs again."""

from __future__ import annotations

import re

import pypdfium2

from pipelines.errors import DataError
from pipelines.knowledge.markup import PlainText
from pipelines.text import clean_text, fold_space

_SENTENCE_END = re.compile(r"[.!?:;。！？：；]['\"”’)\]]*$")
_HYPHEN_END = re.compile(r"[^\W\d_]-$")
_CJK_END = re.compile(r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]$")
_HYPHEN = re.compile("\ufffe(?=(?P<next>.?))")
_PAGE_NUMBER = re.compile(r"(?:page |seite |第)?\s*[\divxlc]+(?:\s*(?:/|of)\s*\d+)?\s*页?", re.IGNORECASE)
# A line much shorter than the page's longest ends its paragraph.
_FULL_LINE = 0.75
_LONGEST_HEADING = 70


def read_pdf(content: bytes) -> tuple[PlainText, list[int]]:
    """Return the text of a PDF and the offset at which each page starts.

    Raises:
        DataError: It is broken or encrypted, or holds no text.
    """
    plain = PlainText()
    pages: list[int] = []
    try:
        document = pypdfium2.PdfDocument(content)
        try:
            for page in document:
                pages.append(plain.length)
                text_page = page.get_textpage()
                _add_page(plain, clean_text(_HYPHEN.sub(_unhyphenate, text_page.get_text_range())))
                text_page.close()
                page.close()
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        reason = "is encrypted" if "assword" in str(error) else f"is not a readable PDF: {error}"
        raise DataError(reason, hint="Print it to a new PDF without a password, or repair it.") from error
    if not plain.blocks:
        raise DataError("holds no text", hint="It may be scanned: run OCR over it first, e.g. with ocrmypdf.")
    return plain, pages


def _unhyphenate(match: re.Match[str]) -> str:
    # pdfium writes U+FFFE for a hyphen at the end of a line, and joins the two lines.
    return "" if match["next"].islower() else "-"


def _add_page(plain: PlainText, text: str) -> None:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if not _PAGE_NUMBER.fullmatch(line)]
    longest = max(map(len, lines), default=0)
    paragraph = ""
    for number, line in enumerate(lines):
        if not line:
            plain.add(fold_space(paragraph))
            paragraph = ""
            continue
        following = next((later for later in lines[number + 1 :] if later), "")
        if not paragraph and _is_heading(line, following, longest):
            plain.add(fold_space(line), level=2 if plain.headings else 1)
            continue
        paragraph = _join(paragraph, line)
        if len(line) < _FULL_LINE * longest and _SENTENCE_END.search(line):
            plain.add(fold_space(paragraph))
            paragraph = ""
    plain.add(fold_space(paragraph))


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
