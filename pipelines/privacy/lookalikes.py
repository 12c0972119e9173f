"""Numbers that look private and are not: books, dates, sums, hashes, prices, places."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import isbn

from pipelines.privacy.kinds import Span

_HARMLESS = re.compile(
    r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"  # UUID: names a thing, and nobody
    r"|\b(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})\b"  # sums and commits
    r"|\b(?:isbn|issn)(?:-1[03])?[\s:#]*[\dX][\dX -]{6,16}[\dX]\b"
    r"|\b(?:doi:\s*|doi\.org/)?10\.\d{4,9}/\S+"
    r"|\b(?:19|20)\d\d([-/.])\d{1,2}\1\d{1,2}(?:[T ]+\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?)?"
    r"|\b\d{1,2}([-/.])\d{1,2}\2(?:19|20)\d\d\b"
    r"|(?:[$€£¥]|\b(?:USD|EUR|GBP|CNY|RMB|CHF))\s?\d[\d., ]{0,24}\d"
    r"|\b\d[\d., ]{0,24}\d\s?(?:[$€£¥元]|(?:USD|EUR|GBP|CNY|RMB|CHF)\b)"
    r"|-?\b\d{1,3}\.\d{3,}\s*[,; ]\s*-?\d{1,3}\.\d{3,}"  # coordinates
    r"|\b\d+\.\d{5,}\b|\b\d{1,3}(?:,\d{3})+\b"
    r"|(?<![\d-])(?:(?:19|20)\d\d[ -]){2,}(?:19|20)\d\d(?![\d-])",  # a row of years
    re.IGNORECASE | re.ASCII,
)
_BOOK = re.compile(r"(?<![\w-])97[89][- ]?(?:\d[- ]?){9}\d(?![\w-])", re.ASCII)


def harmless_spans(text: str) -> Iterator[Span]:
    """Yield the spans of numbers whose form says that they are nobody's."""
    for match in _HARMLESS.finditer(text):
        yield match.span()
    for match in _BOOK.finditer(text):
        if isbn.is_valid(match.group()):
            yield match.span()
