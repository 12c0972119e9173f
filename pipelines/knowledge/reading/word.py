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
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_NAME = re.compile(r"heading ([1-9])", re.IGNORECASE)
_ELEMENTS_WITHOUT_TEXT = {f"{_W}del", f"{_W}moveFrom", f"{_W}pPr", f"{_W}instrText", _FALLBACK}
_LIST_NAME = re.compile(r"list\b.*?([2-5])?", re.IGNORECASE)
_DEEPEST_LIST = 9
_NOTE_PARTS = {
    f"{_W}footnoteReference": RELATIONSHIP_TYPE.FOOTNOTES,
    f"{_W}endnoteReference": RELATIONSHIP_TYPE.ENDNOTES,
}
_SIGNS = {f"{_W}tab": " ", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_MOST_COLUMNS = 64
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
        self._notes = {tag: self._notes_of(kind) for tag, kind in _NOTE_PARTS.items()}
        self._asides: list[etree._Element] = []  # notes and text boxes of the paragraph that is read
        self._has_pages = any(True for _each in document.element.body.iter(f"{_W}lastRenderedPageBreak"))

    def read(self) -> None:
        if self._has_pages:
            self.plain.start_page()
        self._blocks(self._document.element.body)

    def _blocks(self, parent: etree._Element) -> None:
        for element in parent:
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self._table(element)
            elif element.tag not in _ELEMENTS_WITHOUT_TEXT:
                self._blocks(element)
            asides, self._asides = self._asides, []
            for aside in asides:
                self._blocks(aside)

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
        level = self._level(paragraph)
        lines = [line for line in map(self.plain.fold, "".join(pieces).split("\n")) if line]
        list_level = self._list_level(paragraph)
        if lines and not level and list_level:
            lines[0] = "  " * (list_level - 1) + "- " + lines[0]
        self.plain.add((" " if level else "\n").join(lines), level=level)
        if before:
            self._start_pages(breaks)

    def _start_pages(self, count: int) -> None:
        for _page in range(count if self._has_pages else 0):
            self.plain.start_page()

    def _table(self, table: etree._Element) -> None:
        """Add a table: row by row, or as what is in it where it is but a frame."""
        rows = [list(row.iterchildren(f"{_W}tc", f"{_W}sdt")) for row in _own_rows(table)]
        if all(len(row) <= 1 for row in rows) or any(self._level(each) for each in table.iter(f"{_W}p")):
            for row in rows:
                for cell in row:
                    self._blocks(cell)
            return
        above: dict[int, str] = {}
        for row in rows:
            cells: dict[int, str] = {}
            column = 0
            for cell in row:
                merged = cell.find(f"{_W}tcPr/{_W}vMerge")
                is_covered = merged is not None and merged.get(f"{_W}val") != "restart"
                cells[column] = above.get(column, "") if is_covered else self._cell(cell)
                span = cell.find(f"{_W}tcPr/{_W}gridSpan")
                column += max(1, min(_MOST_COLUMNS, int(span.get(f"{_W}val") or 1))) if span is not None else 1
            self.plain.add_row(cells.get(number, "") for number in range(column))
            self._start_pages(sum(1 for cell in row for _each in cell.iter(f"{_W}lastRenderedPageBreak")))
            above = cells

    def _cell(self, cell: etree._Element) -> str:
        paragraphs = [" ".join(["", *filter(None, self._pieces(each, in_table=True))]) for each in cell.iter(f"{_W}p")]
        return self.plain.fold(" ".join(paragraphs))

    def _pieces(self, element: etree._Element, *, in_table: bool) -> Iterator[str | None]:
        """Yield the visible text below an element; None for the beginning of a page."""
        for child in element:
            if child.tag in _ELEMENTS_WITHOUT_TEXT:
                continue
            if child.tag in (f"{_W}t", f"{_M}t"):
                yield child.text or ""
            elif child.tag in _SIGNS:
                yield _SIGNS[child.tag]
            elif child.tag in self._notes:
                self._asides += self._notes[child.tag].pop(child.get(f"{_W}id"), [])
            elif child.tag == f"{_W}txbxContent":
                self._asides.append(child)
            elif child.tag == f"{_W}commentReference":
                self.plain.hidden["comments"] += 1
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

    def _list_level(self, paragraph: etree._Element) -> int:
        """Return how deep in lists a paragraph is, from 1; 0 outside."""
        own = paragraph.find(f"{_W}pPr/{_W}numPr")
        if own is not None:
            level, number = own.find(f"{_W}ilvl"), own.find(f"{_W}numId")
            if number is not None and number.get(f"{_W}val") == "0":
                return 0
            return 1 + min(_DEEPEST_LIST, int(level.get(f"{_W}val") or 0) if level is not None else 0)
        names = [style.name or "" for style in self._styles_of(paragraph)]
        found = next(filter(None, map(_LIST_NAME.fullmatch, names)), None)
        return int(found[1] or 1) if found else 0

    def _notes_of(self, kind: str) -> dict[str, list[etree._Element]]:
        """Return the notes of a kind by their ids."""
        try:
            part = self._document.part.part_related_by(kind)
        except KeyError:
            return {}
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        return {note.get(f"{_W}id"): [note] for note in etree.fromstring(part.blob, parser)}


def _own_rows(table: etree._Element) -> list[etree._Element]:
    """Return the rows of a table, without those of tables in its cells."""
    return [row for row in table.iter(f"{_W}tr") if next(row.iterancestors(f"{_W}tbl"), None) is table]
