"""Tables: XLSX, CSV and TSV, one line a row, each cell with its column's name."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import re
import warnings
import zlib
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import openpyxl
from lxml import etree
from openpyxl.utils import column_index_from_string
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import open_office, refuse_empty
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.plain import PlainText, Source

_SAMPLE_CHARS = 20_000
_NUMBER = re.compile(r"[\s\d.,:/%€$£¥+\-]+")
_LONGEST_NAME = 60
_LAST_COLUMN = 16_384  # of Excel's sheets

Row = Sequence[str]


def read_table(source: Source) -> PlainText:
    """Return a CSV or TSV file as text.

    Raises:
        DataError: It is not text, or a field of it is endless.
    """
    plain = PlainText()
    text = decode(source.content, plain)
    sample = text[:_SAMPLE_CHARS]
    try:
        dialect: type[csv.Dialect] = csv.Sniffer().sniff(sample, delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if source.suffix == ".tsv" else csv.excel
    try:
        add_table(plain, csv.reader(io.StringIO(text, newline=""), dialect))
    except csv.Error as error:
        raise DataError(f"is not a readable table: {error}", hint="Look for a quote that is not closed.") from error
    return plain


def read_workbook(source: Source) -> PlainText:
    """Return the sheets of an Excel workbook, each a page; hidden sheets, rows and columns are left out.

    Formulas stand for the values that they had when the workbook was saved.

    Raises:
        DataError: It is broken, encrypted, a ZIP bomb, or holds no text.
    """
    archive = open_office(source.content, kind="XLSX")
    plain = PlainText()
    try:
        with warnings.catch_warnings(action="ignore"):
            workbook = openpyxl.load_workbook(io.BytesIO(source.content), data_only=True)
        for sheet in workbook.worksheets:
            plain.start_page()
            if sheet.sheet_state == "visible":
                _add_sheet(plain, sheet)
            else:
                plain.hidden["hidden sheets"] += 1
        plain.title = workbook.properties.title or ""
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError) as error:
        raise _broken(error) from error
    except (InvalidFileException, ParseError, etree.XMLSyntaxError, BadZipFile, zlib.error) as error:
        raise _broken(error) from error
    if len(plain.blocks) == len(plain.headings):
        raise refuse_empty(archive)
    return plain


def _broken(error: Exception) -> DataError:
    return DataError(f"is not a readable XLSX file: {error}", hint="Open it in Excel or LibreOffice and save it again.")


def _add_sheet(plain: PlainText, sheet: Worksheet) -> None:
    plain.add(plain.fold(sheet.title), level=1)
    hidden_rows = {number for number, row in sheet.row_dimensions.items() if row.hidden}
    hidden_columns = {
        number
        for letter, column in sheet.column_dimensions.items()
        if column.hidden
        for number in range(column.min or column_index_from_string(letter), min(column.max or 0, _LAST_COLUMN) + 1)
    }
    # Its own iterators make every cell up to the last one, and that may be the sheet's farthest corner.
    cells = sorted((place, cell.value) for place, cell in sheet._cells.items() if cell.value is not None)
    rows: list[dict[int, str]] = []
    for number, group in itertools.groupby(cells, key=lambda each: each[0][0]):
        row = {column: _written(value) for (_number, column), value in group}
        seen = {} if number in hidden_rows else {each: row[each] for each in row if each not in hidden_columns}
        plain.hidden["hidden cells"] += len(row) - len(seen)
        rows.append(seen)
    columns = sorted({column for row in rows for column in row})
    add_table(plain, ([row.get(column, "") for column in columns] for row in rows if row))


def _written(value: object) -> str:
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(sep=" ")
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)


def add_table(plain: PlainText, rows: Iterable[Row]) -> None:
    """Append rows; under a first row that reads like names, each cell comes with its column's."""
    filled = ([plain.fold(cell) for cell in row] for row in rows)
    table = [row for row in filled if any(row)]
    names = _names(table[0]) if len(table) > 1 else None
    if names is None:
        lines = [" | ".join(cell for cell in row if cell) for row in table]
    else:
        lines = [" | ".join(names)]
        lines += [" | ".join(_named(names, row)) for row in table[1:]]
    plain.add("\n".join(lines))


def _names(row: Row) -> Row | None:
    """Return the columns' names, if that is what a row holds: short, none twice, and no numbers."""
    width = max(number for number, cell in enumerate(row, start=1) if cell)
    names = row[:width]
    are_names = all(cell and len(cell) <= _LONGEST_NAME and not _NUMBER.fullmatch(cell) for cell in names)
    return names if are_names and 1 < width == len(set(names)) else None


def _named(names: Row, row: Row) -> Iterable[str]:
    for name, cell in itertools.zip_longest(names, row, fillvalue=""):
        if cell:
            yield f"{name}: {cell}" if name else cell
