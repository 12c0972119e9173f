"""Payment cards, IBANs and bank accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stdnum import iban, luhn
from stdnum.exceptions import ValidationError
from stdnum.us import rtn

from pipelines.privacy.cues import Cue, cue_before, sentence_before
from pipelines.privacy.kinds import Span, compact

# Digits of one grouping throughout, as on the card: 4-4-4-4, 4-6-5, 4-6-4, or none.
_CARD = re.compile(
    r"(?<![\w.,#/+-])"
    r"(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![\w]|[.,:/-]\d)",
    re.ASCII,
)
# Issuers and the lengths of their numbers.
_ISSUED = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11,13}|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}"
    r"|62\d{14,17}|(?:5[0678]|6[0-9])\d{11,17}|9\d{15,18}",
    re.ASCII,
)
_WELL_KNOWN = re.compile(r"[2-5]|6(?:011|[245])", re.ASCII)
_IBAN = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}"
    r"(?:([ -])[A-Z0-9]{4}(?:\1[A-Z0-9]{4}){1,6}(?:\1[A-Z0-9]{1,3})?|[A-Z0-9]{11,30})(?![A-Z0-9])",
    re.IGNORECASE | re.ASCII,
)
_SORT_CODE = re.compile(r"(?<![\w-])\d{2}-\d{2}-\d{2}(?![\w-])", re.ASCII)
_ROUTING = re.compile(r"(?<![\w-])\d{9}(?![\w-])", re.ASCII)
_ACCOUNT = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){5,18}(?![\w-]|\.\d)", re.ASCII)
_OF_SORT_CODE = re.compile(r"\bsort[ -]?code\b", re.IGNORECASE)
_OF_ROUTING = re.compile(r"\b(?:routing|aba|rtn)\b", re.IGNORECASE)


def find_cards(text: str) -> Iterator[Span]:
    """Yield the numbers of payment cards: an issuer's prefix and length, and a valid check digit."""
    for match in _CARD.finditer(text):
        number = compact(match.group())
        if not (_ISSUED.fullmatch(number) and luhn.is_valid(number)):
            continue
        cue = cue_before(text, match.start())
        is_announced = cue in (Cue.CARD, Cue.ACCOUNT)
        if is_announced or (cue is not Cue.REFERENCE and _WELL_KNOWN.match(number) and len(number) > 13):
            yield match.span()


def find_ibans(text: str) -> Iterator[Span]:
    """Yield international bank account numbers with a valid checksum."""
    for match in _IBAN.finditer(text):
        end = match.end()
        # A word of four letters or digits behind an IBAN looks like a group of it.
        while end > match.start() + 14:
            if _is_iban(compact(text[match.start() : end])):
                yield match.start(), end
                break
            end = max(text.rfind(mark, match.start(), end) for mark in " -")


def find_bank_accounts(text: str) -> Iterator[Span]:
    """Yield sort codes, routing numbers and account numbers that are announced as such."""
    for match in _SORT_CODE.finditer(text):
        if _OF_SORT_CODE.search(_line_of(text, *match.span())):
            yield match.span()
            paired = _ACCOUNT.match(text, match.end() + 1)
            if paired:
                yield paired.span()
    for match in _ROUTING.finditer(text):
        if _OF_ROUTING.search(sentence_before(text, match.start())) and rtn.is_valid(match.group()):
            yield match.span()
    for match in _ACCOUNT.finditer(text):
        if cue_before(text, match.start()) is Cue.ACCOUNT:
            yield match.span()


def _is_iban(number: str) -> bool:
    # Not its country's own rules: they know only the banks of the day the list was made.
    try:
        return bool(iban.validate(number, check_country=False))
    except ValidationError:
        return False


def _line_of(text: str, start: int, end: int) -> str:
    return text[text.rfind("\n", 0, start) + 1 : (text.find("\n", end) + 1 or len(text) + 1) - 1]
