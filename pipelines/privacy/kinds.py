"""What counts as private, how a find is told, and the form in which text is searched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class PrivateKind(StrEnum):
    """Kinds of personal data and secrets; where two overlap, the first of this list wins."""

    KEY = "KEY"  # API keys, tokens, private keys, passwords, credentials in a URL
    EMAIL = "EMAIL"
    IBAN = "IBAN"
    CARD = "CARD"
    NATIONAL_ID = "NATIONAL_ID"  # also passports and driving licences
    MAC = "MAC"
    IP = "IP"
    PHONE = "PHONE"
    BANK_ACCOUNT = "BANK_ACCOUNT"
    NAME = "NAME"  # of a person, where the words around it prove that it is one


@dataclass(frozen=True)
class Finding:
    """One piece of private data: `text` stands from `start` to `end`."""

    kind: PrivateKind
    start: int
    end: int
    text: str


Span = tuple[int, int]
Finder = Callable[[str], Iterator[Span]]

# Every character becomes exactly one, so that offsets stay those of the text itself:
# full-width forms and typographic spaces and dashes, as their plain ASCII counterparts.
_PLAIN = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN |= dict.fromkeys([0x00A0, 0x202F, 0x3000, *range(0x2000, 0x200B)], ord(" "))
_PLAIN |= dict.fromkeys([0x2212, 0xFE63, *range(0x2010, 0x2016)], ord("-"))
_SEPARATORS = re.compile(r"[\s()./-]+")


def plain(text: str) -> str:
    """Return `text` of the same length, in the form that the finders search."""
    return text.translate(_PLAIN)


def compact(number: str) -> str:
    """Return `number` without the spaces and marks that people group its digits with."""
    return _SEPARATORS.sub("", number)
