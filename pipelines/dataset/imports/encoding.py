"""The encoding of a file, told by its bytes."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import charset_normalizer

from pipelines.errors import DataError

_BLOCK = 1 << 20
_SAMPLE = 1 << 18
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "Save the sheet as CSV, or unpack the archive."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as CSV."),
    (b"PAR1", "a Parquet file", "Convert it, for example with: pandas.read_parquet(FILE).to_json(OUT, lines=True)"),
    (b"ARROW1", "an Arrow file", "Convert it to JSONL first."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it with: gunzip FILE"),
    (b"%PDF", "a PDF", "Documents are added with: assistant docs add FILE"),
    (b"SQLite format 3", "an SQLite database", "Export the table as CSV first."),
)
_GB = {"gb2312", "gbk", "cp936", "hz"}  # subsets of GB18030, taken for it by a detector


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the bytes of a file are read."""

    name: str
    is_damaged: bool = False  # some bytes are not valid; they are read as U+FFFD


def detect_encoding(path: Path, *, declared: str = "") -> Encoding:
    """Return the encoding of a text file.

    Raises:
        DataError: It cannot be read, is no text, or no encoding fits.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
            _refuse_binary(path, head)
            name = declared or next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "")
            name = name or _wide_encoding(head) or "utf-8"
            file.seek(0)
            bad = _first_bad_byte(file, name)
            if bad is None:
                return Encoding(name=name)
            file.seek(max(0, bad - _SAMPLE // 2))
            sample = file.read(_SAMPLE)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", path=path) from error
    except LookupError as error:
        raise DataError(
            f"there is no encoding {declared!r}", path=path, hint="For example: --encoding cp1252"
        ) from error
    if name != "utf-8" or declared or _is_mostly(sample, name):
        return Encoding(name=name, is_damaged=True)
    best = charset_normalizer.from_bytes(sample).best()
    if best is None:
        raise DataError(
            f"{path.name} is not text in any known encoding", path=path, hint="Name it, for example: --encoding cp1252"
        )
    return Encoding(name="gb18030" if best.encoding in _GB else best.encoding, is_damaged=True)


def _refuse_binary(path: Path, head: bytes) -> None:
    for magic, what, hint in _BINARY:
        if head.startswith(magic):
            raise DataError(
                f"{path.name} is {what}; expected text: JSON, JSONL, CSV or a chat log", path=path, hint=hint
            )
    if not head.strip():
        raise DataError(f"{path.name} is empty", path=path)


def _wide_encoding(head: bytes) -> str:
    """Return the encoding of text whose every other byte is zero; empty if it is not such."""
    pairs = max(1, len(head) // 2)
    if head[1::2].count(0) > pairs * 0.4:
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) > pairs * 0.4 else ""


def _first_bad_byte(file: IO[bytes], encoding: str) -> int | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    position = 0
    while block := file.read(_BLOCK):
        try:
            decoder.decode(block)
        except UnicodeError:
            return position
        position += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeError:
        return max(0, position - 1)
    return None


def _is_mostly(sample: bytes, encoding: str) -> bool:
    """Whether nearly all that is not ASCII is valid: a damaged file, not one of another encoding."""
    text = sample.decode(encoding, errors="replace")
    foreign = sum(not character.isascii() for character in text)
    return text.count("\ufffd") * 5 <= foreign


def open_text(path: Path, encoding: Encoding, *, newline: str | None = None) -> IO[str]:
    """Open a file for reading; what is not valid in its encoding is read as U+FFFD."""
    return path.open(encoding=encoding.name, errors="replace" if encoding.is_damaged else "strict", newline=newline)
