"""Rows as JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from pydantic_core import from_json, to_json

from pipelines.dataset.formats.rows import Row
from pipelines.errors import DataError


def write_rows(file: IO[bytes], rows: Iterable[Row]) -> int:
    """Write a line for each row; return how many there were."""
    count = 0
    for row in rows:
        file.write(to_json(row) + b"\n")
        count += 1
    return count


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of a file.

    Raises:
        DataError: The file is missing, or a line is no JSON object.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                row = from_json(line)
            except ValueError as error:
                raise DataError(f"{path.name} line {number} is not JSON: {error}", path=path) from error
            if not isinstance(row, dict):
                raise DataError(f"{path.name} line {number} is not a JSON object", path=path)
            yield row
