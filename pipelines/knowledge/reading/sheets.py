"""Tables: XLSX, CSV and TSV, one line a row, each cell with its column's name."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import openpyxl
from lxml import etree
from openpyxl.cell.cell import Cell
from openpyxl.utils import column_index_from_string
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.errors import DataError
from pipelines.knowledge.reading.archive import open_office, read_entry, refuse_empty
from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.plain import PlainText, Source, row_text

_SAMPLE_CHARS = 20_000
_SAMPLE_ROWS = 100
_DELIMITERS = ",;\t|"
# As openpyxl, pandas and others write a formula: without what it would give.
_UNCOMPUTED = re.compile(rb"</f>\s*(?:<v\s*/>|<v></v>)?\s*</c>")
_NOTHING = ";;;"  # the format of a number that is not shown
_MOST_MERGED_ROWS = 1_000
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
    try:
        add_table(plain, csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, source.suffix)))
    except csv.Error as error:
        raise DataError(f"is not a readable table: {error}", hint="Look for a quote that is not closed.") from error
    return plain


def _delimiter(text: str, suffix: str) -> str:
    """Return what separates cells: that which gives most rows the same number of several cells."""
    lines = text[:_SAMPLE_CHARS].splitlines(keepends=True)[:_SAMPLE_ROWS]
    usual = "\t" if suffix == ".tsv" else ","

    def rows_alike(delimiter: str) -> tuple[int, bool]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if len(row) > 1)
        return max(widths.values(), default=0), delimiter == usual

    return max(_DELIMITERS, key=rows_alike)


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
        plain.hidden["formulas without a saved value"] += sum(
            len(_UNCOMPUTED.findall(read_entry(archive, name, kind="XLSX")))
            for name in archive.namelist()
            if name.startswith("xl/worksheets/")
        )
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
    merged = _merged_values(sheet)
    # Its own iterators make every cell up to the last one, and that may be the sheet's farthest corner.
    cells = sorted((place, cell) for place, cell in sheet._cells.items() if cell.value is not None)
    rows: dict[int, dict[int, str]] = {}
    for number, group in itertools.groupby(cells, key=lambda each: each[0][0]):
        shown = {column: _shown(cell) for (_number, column), cell in group}
        plain.hidden["hidden cells"] += len(shown) if number in hidden_rows else len(hidden_columns & shown.keys())
        if number not in hidden_rows:
            row = merged.get(number, {}) | shown
            plain.hidden["hidden cells"] += sum(cell is None for cell in row.values())
            rows[number] = {column: row[column] or "" for column in row if column not in hidden_columns}
    for table in _tables({number: row for number, row in rows.items() if any(row.values())}):
        columns = sorted({column for row in table for column in row})
        add_table(plain, ([row.get(column, "") for column in columns] for row in table))


def _merged_values(sheet: Worksheet) -> dict[int, dict[int, str | None]]:
    """Return by row and column what cells hold that are merged with one above them."""
    values: dict[int, dict[int, str | None]] = {}
    for merged in sheet.merged_cells.ranges:
        cell = sheet._cells.get((merged.min_row, merged.min_col))
        if cell is not None and cell.value is not None:
            for number in range(merged.min_row + 1, min(merged.max_row, merged.min_row + _MOST_MERGED_ROWS) + 1):
                values.setdefault(number, {})[merged.min_col] = _shown(cell)
    return values


def _tables(rows: dict[int, dict[int, str]]) -> Iterator[list[dict[int, str]]]:
    """Yield the tables of a sheet: a title, that is a cell by itself after an empty row, begins another."""
    table: list[dict[int, str]] = []
    last = 0
    for number, row in rows.items():
        if table and number > last + 1 and len(row) == 1:
            yield table
            table = []
        table.append(row)
        last = number
    yield table


def _shown(cell: Cell) -> str | None:
    """Return what a person sees in a cell; None if its format hides it."""
    value = cell.value
    if cell.number_format == _NOTHING:
        return None
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(sep=" ")
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float) and cell.number_format.endswith("%"):
        return f"{100 * value:.12g}%"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def add_table(plain: PlainText, rows: Iterable[Row]) -> None:
    """Append rows; under a first row that reads like names, each cell comes with its column's."""
    filled = ([plain.fold(cell) for cell in row] for row in rows)
    table = [row for row in filled if any(row)]
    # Above a table there may be a title, or what it was exported from.
    first = next((number for number, row in enumerate(table) if _width(row) > 1), 0)
    has_cells = any(_width(row) > 1 for row in table[first + 1 :])
    names = _names(table[first]) if has_cells else None
    unnamed = table if names is None else table[: first + 1]
    lines = [row_text(row) for row in unnamed]
    if names is not None:
        lines += [" | ".join(_named(names, row)) for row in table[first + 1 :]]
    plain.add("\n".join(lines))


def _width(row: Row) -> int:
    return max((number for number, cell in enumerate(row, start=1) if cell), default=0)


def _names(row: Row) -> Row | None:
    """Return the columns' names, if that is what a row holds: short, none twice, and no numbers."""
    width = _width(row)
    names = row[:width]
    are_names = all(cell and len(cell) <= _LONGEST_NAME and not _NUMBER.fullmatch(cell) for cell in names)
    return names if are_names and 1 < width == len(set(names)) else None


def _named(names: Row, row: Row) -> Iterable[str]:
    for name, cell in itertools.zip_longest(names, row, fillvalue=""):
        if cell:
            yield f"{name}: {cell}" if name else cell
