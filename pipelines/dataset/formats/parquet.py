"""Rows as Parquet, in groups of bounded size, with declared types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import pyarrow
import pyarrow.json
import pyarrow.parquet
from pydantic_core import to_json

from pipelines.dataset.formats.rows import Row
from pipelines.dataset.formats.shapes import Columns, ListOf, Scalar, Shape
from pipelines.errors import DataError

# A group is held in memory by writer and reader, so it is bounded by rows and by bytes.
_GROUP_ROWS = 10_000
_GROUP_BYTES = 8_000_000
_BATCH_ROWS = 1000
_TYPES: Mapping[Scalar, pyarrow.DataType] = {
    "string": pyarrow.string(),
    "bool": pyarrow.bool_(),
    "int64": pyarrow.int64(),
    "float64": pyarrow.float64(),
}


def write_rows(file: IO[bytes], rows: Iterable[Row], columns: Columns) -> int:
    """Write rows as Parquet; return how many there were.

    Raises:
        DataError: A value does not fit its column.
    """
    schema = pyarrow.schema([(name, arrow_type(shape)) for name, shape in columns.items()])
    count = 0
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd", write_page_index=True) as writer:
        for group in _groups(rows):
            table = _table(group, schema)
            writer.write_table(table)
            count += table.num_rows
    return count


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of a Parquet file.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}", path=path) from error


def arrow_type(shape: Shape) -> pyarrow.DataType:
    """Return the Arrow type of a shape."""
    if isinstance(shape, ListOf):
        return pyarrow.list_(arrow_type(shape.item))
    if isinstance(shape, str):
        return _TYPES[shape]
    return pyarrow.struct([(name, arrow_type(inner)) for name, inner in shape.items()])


def _groups(rows: Iterable[Row]) -> Iterator[bytearray]:
    """Yield JSON lines of as many rows as make a group."""
    lines = bytearray()
    count = 0
    for row in rows:
        lines += to_json(row) + b"\n"
        count += 1
        if count == _GROUP_ROWS or len(lines) >= _GROUP_BYTES:
            yield lines
            lines = bytearray()
            count = 0
    if lines:
        yield lines


def _table(lines: bytearray, schema: pyarrow.Schema) -> pyarrow.Table:
    """Return rows as a table; reading them as JSON is ten times quicker than as Python objects."""
    try:
        return pyarrow.json.read_json(
            pyarrow.BufferReader(pyarrow.py_buffer(lines)),
            # One block: a row may be longer than the usual megabyte.
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pyarrow.ArrowException as error:
        raise DataError(f"a record does not fit the columns of Parquet: {error}") from error
