"""Finds personal data and secrets in English and Chinese text.

Form, checksum and the words around a number decide, in this order: what has a checksum is
believed, what has none needs a word that announces it, and what a word announces as an
order, a version or a part is believed to be that. A UUID names a thing and is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.privacy.accounts import find_bank_accounts, find_cards, find_ibans
from pipelines.privacy.addresses import find_emails, find_ips, find_macs
from pipelines.privacy.chinese_names import find_chinese_names
from pipelines.privacy.identities import find_national_ids
from pipelines.privacy.keys import find_keys
from pipelines.privacy.kinds import Finder, Finding, PrivateKind, Span, plain
from pipelines.privacy.lookalikes import harmless_spans
from pipelines.privacy.names import find_names
from pipelines.privacy.phones import find_phones

__all__ = ["Finding", "PrivateKind", "find_private"]

_FINDERS: dict[PrivateKind, Finder] = {
    PrivateKind.KEY: find_keys,
    PrivateKind.EMAIL: find_emails,
    PrivateKind.IBAN: find_ibans,
    PrivateKind.CARD: find_cards,
    PrivateKind.NATIONAL_ID: find_national_ids,
    PrivateKind.MAC: find_macs,
    PrivateKind.IP: find_ips,
    PrivateKind.PHONE: find_phones,
    PrivateKind.BANK_ACCOUNT: find_bank_accounts,
}
# What is proved by its form alone, and is not given up to a date or a price around it.
_CERTAIN = (PrivateKind.KEY, PrivateKind.EMAIL, PrivateKind.IBAN)
_KINDS = list(PrivateKind)


def find_private(text: str) -> list[Finding]:
    """Return the personal data and secrets in `text`, in order and without overlap."""
    searched = plain(text)
    harmless = _Taken(len(text))
    for span in harmless_spans(searched):
        harmless.take(span)
    found = [
        (kind, span)
        for kind, finder in _FINDERS.items()
        for span in finder(searched)
        if kind in _CERTAIN or not harmless.touches(span)
    ]
    found += [(PrivateKind.NAME, span) for span in _names(searched, found)]
    taken = _Taken(len(text))
    kept: list[Finding] = []
    for kind, (start, end) in sorted(found, key=_preference):
        if not taken.touches((start, end)):
            taken.take((start, end))
            kept.append(Finding(kind, start, end, text[start:end]))
    return sorted(kept, key=lambda each: each.start)


class _Taken:
    """The characters of a text that are spoken for."""

    def __init__(self, length: int) -> None:
        self._marks = bytearray(length)

    def take(self, span: Span) -> None:
        self._marks[span[0] : span[1]] = b"\x01" * (span[1] - span[0])

    def touches(self, span: Span) -> bool:
        return any(self._marks[span[0] : span[1]])


def _names(text: str, found: list[tuple[PrivateKind, Span]]) -> Iterator[Span]:
    yield from find_names(text)
    data = [span for kind, span in found if kind in (PrivateKind.PHONE, PrivateKind.NATIONAL_ID)]
    yield from find_chinese_names(text, data=data)


def _preference(found: tuple[PrivateKind, Span]) -> tuple[int, int, int]:
    kind, (start, end) = found
    return _KINDS.index(kind), start - end, start
