"""One file as a `Document`: the text that was understood of it, with headings and pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import DataError
from pipelines.lazy import lazy_import
from pipelines.records import Document
from pipelines.text import clean_text, join_lines

if TYPE_CHECKING:
    from pipelines.knowledge import markup, pdf
    from pipelines.knowledge.markup import PlainText
else:
    markup = lazy_import("pipelines.knowledge.markup", extra="docs")
    pdf = lazy_import("pipelines.knowledge.pdf", extra="docs")

_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_MEGABYTE = 1_000_000
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_document(path: Path, *, document_id: str, max_megabytes: float) -> Document:
    """Read a file.

    Raises:
        DataError: It cannot be read, is too large, not text, broken, or empty.
    """
    try:
        size = path.stat().st_size
        if size > max_megabytes * _MEGABYTE:
            raise DataError(
                f"{size / _MEGABYTE:.1f} MB is over the limit of {max_megabytes:g} MB",
                path=path,
                hint="Split the file, or raise --max-megabytes.",
            )
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    plain, pages = _READERS[path.suffix.lower()](content)
    if not plain.text.strip():
        raise DataError("there is no text in it", path=path)
    return Document(
        id=document_id,
        source=str(path),
        title=plain.title or path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        text=plain.text,
        headings=tuple(plain.headings),
        pages=tuple(pages),
    )


def _read_html(content: bytes) -> tuple[PlainText, list[int]]:
    declared = _CHARSET.search(content[:2048])
    return markup.read_html(_decode(content, declared=declared[1].decode() if declared else "utf-8")), []


def _read_markdown(content: bytes) -> tuple[PlainText, list[int]]:
    return markup.read_markdown(_decode(content)), []


def _read_text(content: bytes) -> tuple[PlainText, list[int]]:
    plain = markup.PlainText()
    for block in re.split(r"\n\s*\n", clean_text(_decode(content))):
        # Hard-wrapped lines are one paragraph; indented or listed lines stay as they are.
        lines = [line.rstrip() for line in block.strip("\n").split("\n")]
        loose = any(re.match(r"\s|[-*•\d]", line) for line in lines[1:])
        plain.add("\n".join(lines).strip() if loose else join_lines(lines))
    return plain, []


def _read_pdf(content: bytes) -> tuple[PlainText, list[int]]:
    return pdf.read_pdf(content)


_READERS: dict[str, Callable[[bytes], tuple[PlainText, list[int]]]] = {
    ".htm": _read_html,
    ".html": _read_html,
    ".markdown": _read_markdown,
    ".md": _read_markdown,
    ".pdf": _read_pdf,
    ".text": _read_text,
    ".txt": _read_text,
}
READABLE_SUFFIXES = frozenset(_READERS)


def _decode(content: bytes, *, declared: str = "utf-8") -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), declared)
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError) as error:
        at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        raise DataError(
            f"is not {encoding.upper()} text{at}",
            hint="Convert it, for example with: iconv -f GB18030 -t UTF-8 FILE (or -f CP1252).",
        ) from error
    if "\x00" in text:
        raise DataError("is not a text file: it holds zero bytes")
    return text
