"""DOCX: paragraphs, lists, tables, notes, and pages as Word last laid them out."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from zipfile import BadZipFile

import docx
from docx.document import Document as WordDocument
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from docx.styles.style import BaseStyle
from lxml import etree

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import open_office, refuse_empty
from pipelines.knowledge.reading.plain import PlainText, Source

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_NAME = re.compile(r"heading ([1-9])", re.IGNORECASE)
_ELEMENTS_WITHOUT_TEXT = {f"{_W}del", f"{_W}moveFrom", f"{_W}pPr", f"{_W}instrText", _FALLBACK}
_TINY_HALF_POINTS = 4
_OFF = ("0", "false", "off")


def read_word(source: Source) -> PlainText:
    """Return the text of a Word document; deleted and hidden text is left out.

    Raises:
        DataError: It is broken, encrypted, a ZIP bomb, or holds no text.
    """
    archive = open_office(source.content, kind="DOCX")
    try:
        document = docx.Document(BytesIO(source.content))
        reader = _WordReader(document)
        reader.read()
    except (KeyError, ValueError, AttributeError, PackageNotFoundError, BadZipFile, zlib.error) as error:
        raise _broken(error) from error
    except (etree.XMLSyntaxError, RecursionError) as error:
        raise _broken(error) from error
    if not reader.plain.blocks:
        raise refuse_empty(archive)
    reader.plain.title = document.core_properties.title or reader.plain.title
    return reader.plain


def _broken(error: Exception) -> DataError:
    return DataError(f"is not a readable DOCX file: {error}", hint="Open it in Word or LibreOffice and save it again.")


class _WordReader:
    """Walks the body; styles are looked up once."""

    def __init__(self, document: WordDocument) -> None:
        self.plain = PlainText()
        self._document = document
        self._styles = {style.style_id: style for style in document.styles}
        self._has_pages = any(True for _each in document.element.body.iter(f"{_W}lastRenderedPageBreak"))

    def read(self) -> None:
        if self._has_pages:
            self.plain.start_page()
        self._blocks(self._document.element.body)
        for kind in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
            self._notes(kind)

    def _blocks(self, parent: etree._Element) -> None:
        for element in parent:
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self._table(element)
            elif element.tag not in _ELEMENTS_WITHOUT_TEXT:
                self._blocks(element)

    def _paragraph(self, paragraph: etree._Element) -> None:
        before, breaks = "", 0
        pieces: list[str] = []
        for piece in self._pieces(paragraph, in_table=False):
            if piece is None:
                breaks += 1
                before = before or "".join(pieces).strip()
            else:
                pieces.append(piece)
        if not before:
            self._start_pages(breaks)
        text = self.plain.fold("".join(pieces))
        level = self._level(paragraph)
        if text and not level and self._is_listed(paragraph):
            text = "- " + text
        self.plain.add(text, level=level)
        if before:
            self._start_pages(breaks)

    def _start_pages(self, count: int) -> None:
        for _page in range(count if self._has_pages else 0):
            self.plain.start_page()

    def _table(self, table: etree._Element) -> None:
        for row in table.iter(f"{_W}tr"):
            cells = []
            for cell in row.iterchildren(f"{_W}tc", f"{_W}sdt"):
                pieces = [
                    " ".join(["", *filter(None, self._pieces(each, in_table=True))]) for each in cell.iter(f"{_W}p")
                ]
                cells.append(self.plain.fold(" ".join(pieces)))
            self.plain.add_row(cells)
            self._start_pages(sum(1 for _each in row.iter(f"{_W}lastRenderedPageBreak")))

    def _pieces(self, element: etree._Element, *, in_table: bool) -> Iterator[str | None]:
        """Yield the visible text below an element; None for the beginning of a page."""
        for child in element:
            if child.tag in _ELEMENTS_WITHOUT_TEXT:
                continue
            if child.tag == f"{_W}t":
                yield child.text or ""
            elif child.tag in (f"{_W}tab", f"{_W}br", f"{_W}cr"):
                yield " "
            elif child.tag == f"{_W}lastRenderedPageBreak":
                yield None
            elif child.tag == f"{_W}r" and self._is_hidden(child, in_table=in_table):
                self.plain.hidden["hidden pieces of text"] += any(each.text for each in child.iter(f"{_W}t"))
            else:
                yield from self._pieces(child, in_table=in_table)

    def _is_hidden(self, run: etree._Element, *, in_table: bool) -> bool:
        properties = run.find(f"{_W}rPr")
        vanish = size = colour = shade = None
        if properties is not None:
            vanish, size = properties.find(f"{_W}vanish"), properties.find(f"{_W}sz")
            colour, shade = properties.find(f"{_W}color"), properties.find(f"{_W}shd")
        if vanish is not None:
            return vanish.get(f"{_W}val") not in _OFF
        if size is not None and int(size.get(f"{_W}val") or 0) <= _TINY_HALF_POINTS:
            return True
        is_white = colour is not None and (colour.get(f"{_W}val") or "").upper() == "FFFFFF"
        if is_white and shade is None and not in_table and run.getparent().find(f"{_W}pPr/{_W}shd") is None:
            return True
        return any(style.font.hidden for style in self._styles_of(run))

    def _styles_of(self, element: etree._Element) -> Iterator[BaseStyle]:
        """Yield the styles of a run and of its paragraph, each before what it is based on."""
        for path in (f"{_W}rPr/{_W}rStyle", f"../{_W}pPr/{_W}pStyle", f"{_W}pPr/{_W}pStyle"):
            named = element.find(path)
            style = self._styles.get(named.get(f"{_W}val")) if named is not None else None
            seen: set[str] = set()
            while style is not None and style.style_id not in seen and hasattr(style, "font"):
                seen.add(style.style_id)
                yield style
                style = style.base_style

    def _level(self, paragraph: etree._Element) -> int:
        """Return the level of a heading, 0 for other paragraphs; styles are named in English in every Word."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if own is not None:
            level = int(own.get(f"{_W}val") or 9) + 1
            return level if level <= 6 else 0
        for style in self._styles_of(paragraph):
            name = style.name or ""
            if name.lower() == "title":
                return 1
            found = _HEADING_NAME.fullmatch(name)
            if found:
                return min(6, int(found[1]))
            outline = style.element.find(f"{_W}pPr/{_W}outlineLvl")
            if outline is not None:
                level = int(outline.get(f"{_W}val") or 9) + 1
                return level if level <= 6 else 0
        return 0

    def _is_listed(self, paragraph: etree._Element) -> bool:
        if paragraph.find(f"{_W}pPr/{_W}numPr") is not None:
            return True
        return any((style.name or "").lower().startswith("list ") for style in self._styles_of(paragraph))

    def _notes(self, kind: str) -> None:
        try:
            part = self._document.part.part_related_by(kind)
        except KeyError:
            return
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        for note in etree.fromstring(part.blob, parser):
            if note.get(f"{_W}type") in (None, "normal"):
                self._blocks(note)
