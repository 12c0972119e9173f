"""Bytes as text, in the encoding that they are marked with or that fits them."""

from __future__ import annotations

import codecs
import re

import charset_normalizer

from pipelines.errors import DataError
from pipelines.knowledge.reading.plain import PlainText

_SAMPLE = 1 << 17
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What is declared or detected, and the superset of it that files really use (WHATWG Encoding Standard).
_WIDER = {
    **dict.fromkeys(("gb2312", "gbk", "cp936"), "gb18030"),
    **dict.fromkeys(("ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1"), "cp1252"),
}
_CANDIDATES = (
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
    *("koi8_r", "cp1250", "cp1251", "cp1252", "cp1253"),
)
# ASCII, and signs and the more frequent characters of GB 2312: too little text for a detector.
_SHORT_CHINESE = re.compile(
    rb"(?:[\x00-\x7f]|[\xa1-\xd7][\xa1-\xfe])*[\xb0-\xd7][\xa1-\xfe](?:[\x00-\x7f]|[\xa1-\xd7][\xa1-\xfe])*"
)
_SHORT_BYTES = 32
_LEAST_PAIRS = 4  # fewer zero bytes are no sign of UTF-16
_WESTERN = re.compile(r"[\x00-\x7f\xa0-\xbfÀ-ÖØ-öø-ÿŒœŠšŽž‘’“”–—…€„‚•]*")
# A file with so few foreign lines is a UTF-8 file into which they were pasted.
_FOREIGN_SHARE = 0.2


def decode(content: bytes, plain: PlainText, *, declared: str = "") -> str:
    """Return bytes as text; a guess is remarked in `plain`.

    A byte order mark counts first, then the declaration, then UTF-8 if it fits.

    Raises:
        DataError: It is not what it is declared to be, is not text, or no encoding fits.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    stated = marked or _WIDER.get(declared.lower(), declared)
    try:
        text = content.decode(stated or _wide_encoding(content) or "utf-8")
    except (UnicodeError, LookupError) as error:
        if stated and stated.lower() not in ("utf-8", "utf8"):
            raise _not_text(stated, error) from error
        text = _decode_lines(content, plain) or _decode_guessed(content, plain)
    if "\x00" in text:
        raise DataError("is not a text file: it holds zero bytes")
    return text


def _wide_encoding(content: bytes) -> str:
    """Return the encoding of text whose every other byte is zero; empty if it is not such."""
    head = content[:_SAMPLE]
    pairs = len(head) // 2
    if pairs < _LEAST_PAIRS:
        return ""
    if head[1::2].count(0) > pairs * 0.4 and not head[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) > pairs * 0.4 and not head[1::2].count(0) else ""


def _decode_lines(content: bytes, plain: PlainText) -> str:
    """Return UTF-8 text in which a few lines have another encoding; empty if it is not such."""
    lines = content.split(b"\n")
    foreign = [number for number, line in enumerate(lines) if not _is_utf8(line)]
    beyond_ascii = sum(not line.isascii() for line in lines)
    if len(foreign) > beyond_ascii * _FOREIGN_SHARE:
        return ""
    other = _guess(b"\n".join(lines[number] for number in foreign))
    decoded = [line.decode("utf-8", errors="replace") for line in lines]
    for number in foreign:
        decoded[number] = lines[number].decode(other, errors="replace")
    plain.remarks.append(f"read {len(foreign)} lines that are not UTF-8 as {other.upper()}")
    return "\n".join(decoded)


def _decode_guessed(content: bytes, plain: PlainText) -> str:
    encoding = _guess(content)
    try:
        text = content.decode(encoding)
    except UnicodeError:
        text = content.decode(encoding, errors="replace")
        plain.remarks.append(f"{text.count(chr(0xFFFD))} characters could not be read")
    plain.remarks.append(f"read as {encoding.upper()}, which fits best")
    return text


def _guess(content: bytes) -> str:
    """Return the encoding that fits best.

    Raises:
        DataError: None does.
    """
    # Around the first foreign byte, since pages of ASCII tell nothing.
    first = next((found.start() for found in re.finditer(rb"[\x80-\xff]", content)), 0)
    sample = content[max(0, first - 200) : first + _SAMPLE]
    if sum(byte > 0x7F for byte in sample) < _SHORT_BYTES and _SHORT_CHINESE.fullmatch(sample):
        return "gb18030"
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_CANDIDATES)).best()
    if best is None:
        raise _not_text("utf-8", UnicodeError())
    if best.encoding == "cp1250" and _WESTERN.fullmatch(sample.decode("cp1252", errors="replace")):
        return "cp1252"
    return best.encoding


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeError:
        return False
    return True


def _not_text(encoding: str, error: Exception) -> DataError:
    at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
    return DataError(
        f"is not {encoding.upper()} text{at}",
        hint="Convert it, for example with: iconv -f GB18030 -t UTF-8 FILE (or -f CP1252).",
    )
