"""What a file of existing data is, by its content, and its records one after the other.

Nothing is read whole: a file may be larger than the memory. A record that cannot be read
does not end the reading; it comes out as a `Problem`, and the next one follows.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from pipelines.errors import DataError

Container = Literal["jsonl", "json", "csv", "chat-log"]

_BLOCK = 1 << 20  # characters
_LONGEST_RECORD = 64_000_000  # characters
_LONGEST_CELL = 16_000_000
_MOST_LINES = 2_000  # of one row of a table
_DELIMITERS = (",", "\t", ";", "|")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A piece of the file that could not be read."""

    place: str
    reason: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One record of the file, as it was parsed."""

    place: str  # "line 3"
    value: object
    text: str  # the record as it was written, or the beginning of it


def detect_container(
    head: str, *, columns: Sequence[str], is_chat: Callable[[Sequence[str]], bool]
) -> Container | None:
    """Return how the records of a file are kept; None if it cannot be told.

    Args:
        head: The beginning of the file's text.
        columns: Names that a table's header could hold, in small letters.
        is_chat: Tells whether lines are those of a chat log.
    """
    lines = [line for line in head.splitlines() if line.strip()]
    if not lines:
        return None
    if re.match(r'\s*(?:\{|\[\s*(?:[\[{"\]]|$))', head):
        parsed = [_is_json(line) for line in lines[:20]]
        if parsed[0] and lines[0].lstrip().startswith("[") and len(lines) == 1:
            return "json"
        return "jsonl" if parsed[0] or sum(parsed) * 2 > len(parsed) else "json"
    if set(_header(lines[0])[0]) & set(columns):
        return "csv"
    return "chat-log" if is_chat(lines) else None


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line, strict=False), dict | list)
    except (ValueError, RecursionError):
        return False


def read_json_lines(file: IO[str]) -> Iterator[Entry | Problem]:
    """Yield the value of each line of a JSONL file."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, strict=False)
        except (ValueError, RecursionError) as error:
            yield Problem(place=f"line {number}", reason=f"is not JSON: {error}", text=line)
            continue
        yield Entry(place=f"line {number}", value=value, text=line)


def read_json_values(file: IO[str]) -> Iterator[Entry | Problem]:
    """Yield the elements of a JSON array, or one JSON value after the other."""
    window = _Window(file)
    window.enter_array()
    number = 0
    while window.reach_value():
        number += 1
        yield window.take(f"record {number}")


class _Window:
    """The part of a JSON text that is in memory, and how far it has been read."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._decoder = json.JSONDecoder(strict=False)
        self._text = ""
        self._position = 0
        self._next = re.compile(r"(?<=\})\s*,\s*(?=\{)")  # where another record begins, after a damaged one

    def enter_array(self) -> None:
        """Step over the bracket of an array, and learn how its elements are set off."""
        if not self._skip(" \t\r\n"):
            return
        if self._text[self._position] == "[":
            self._position += 1
            self._skip(" \t\r\n")
        indent = re.search(r"\n([ \t]*)$", self._text[: self._position])
        if indent is not None or self._position == 0:
            # An element on a line of its own: its siblings stand as far to the right.
            self._next = re.compile(rf"\n{indent[1] if indent else ''}(?=[\[{{])")

    def reach_value(self) -> bool:
        """Step to the next value; return whether there is one."""
        return self._skip(" \t\r\n,]")

    def take(self, place: str) -> Entry | Problem:
        """Return the value that begins here, or what is wrong with it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if self._grow():
                    continue
                return self._damaged(place, error)
            text = self._text[self._position : end]
            self._position = end
            return Entry(place=place, value=value, text=text)

    def _damaged(self, place: str, error: Exception) -> Problem:
        begin = self._position
        found = self._next.search(self._text, begin + 1)
        self._position = found.end() if found else len(self._text)
        reason = f"is not JSON: {getattr(error, 'msg', error)}"
        return Problem(place=place, reason=reason, text=self._text[begin : self._position])

    def _skip(self, characters: str) -> bool:
        while True:
            while self._position < len(self._text) and self._text[self._position] in characters:
                self._position += 1
            if self._position < len(self._text):
                return True
            if not self._grow():
                return False

    def _grow(self) -> bool:
        """Read on, keeping what has not been taken; return whether there was more."""
        left = len(self._text) - self._position
        more = self._file.read(max(_BLOCK, left)) if left < _LONGEST_RECORD else ""
        if more:
            self._text, self._position = self._text[self._position :] + more, 0
        return bool(more)


def read_table(file: IO[str], *, columns: Sequence[str]) -> Iterator[Entry | Problem]:
    """Yield the rows of a CSV or TSV file, by the names in its header.

    Raises:
        DataError: There is no header.
    """
    csv.field_size_limit(_LONGEST_CELL)
    lines = _Lines(file)
    first = next((line for line in lines if line.strip()), "")
    header, delimiter = _header(first, columns=columns)
    if len(header) < 2:
        raise DataError(f"the first line holds no column names: {first.strip()[:80]!r}", hint="Give the file a header.")
    while True:
        place = f"line {lines.begin()}"
        try:
            row = next(csv.reader(lines, delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            # A quotation mark that is never closed must not swallow the rows below it.
            yield Problem(place=place, reason=f"is not a row: {error}", text=lines.give_back())
            continue
        if not any(cell.strip() for cell in row):
            continue
        text = delimiter.join(row)
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            yield Problem(place=place, reason=f"has {len(row)} cells, but the header {len(header)}", text=text)
            continue
        cells = row + [""] * (len(header) - len(row))
        yield Entry(place=place, value=dict(zip(header, cells, strict=False)), text=text)


class _Lines:
    """The lines of a table, of which those of a damaged row can be given back but for the first."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._ahead: deque[str] = deque()
        self._row: list[str] = []
        self._number = 0  # of lines that have been read, and not given back

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self._row) > _MOST_LINES:
            raise csv.Error(f"a cell goes on for more than {_MOST_LINES} lines")
        line = self._ahead.popleft() if self._ahead else next(self._file)
        self._number += 1
        self._row.append(line)
        return line

    def begin(self) -> int:
        """Begin a row; return the number of its first line, from 1."""
        self._row.clear()
        return self._number + 1

    def give_back(self) -> str:
        """Read the lines of the row anew but for the first, and return that."""
        self._ahead.extendleft(reversed(self._row[1:]))
        self._number -= len(self._row) - 1
        return self._row[0]


def _header(line: str, *, columns: Sequence[str] = ()) -> tuple[list[str], str]:
    """Return the names in a header, in small letters, and what stands between them."""
    best: tuple[int, int, list[str], str] = (-1, -1, [], ",")
    for delimiter in _DELIMITERS:
        names = [name.strip().casefold() for name in next(csv.reader([line], delimiter=delimiter), [])]
        known = len(set(names) & set(columns))
        if (known, len(names)) > best[:2]:
            best = (known, len(names), names, delimiter)
    return best[2], best[3]
