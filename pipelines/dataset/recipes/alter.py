"""Facts of a sentence made false: another number, date or name in place of its own."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORDS = (
    ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    # Not March and May, which are other words too.
    ("January", "February", "April", "June", "July", "August", "September", "October", "November", "December"),
)
_FAMILY = {word: family for family in _WORDS for word in family}
_WORD = re.compile(rf"\b(?:{'|'.join(_FAMILY)})\b")
# Not a part of a name such as x86_64, of a path, or of a version's suffix.
_DIGITS = re.compile(r"(?<![A-Za-z0-9_.,/\-])\d+(?:[.,]\d+)*(?![A-Za-rt-z_/]|\d)")
_CHINESE = re.compile(
    "(?<!第)[一二两三四五六七八九十百千万]+(?=年|个?月|日|天|点|个?小时|分钟|美元|欧元|元|岁|米|公里|公斤|次|个|人|倍|页|层|台|种|%)"
    "|(?<=周)[一二三四五六日]|(?<=星期)[一二三四五六日]"
)
_CHINESE_DIGITS = "二三四五六七八九"
_WEEKDAYS = "一二三四五六日"
_NAME = re.compile(r"[A-Z][\w&'’\-]+(?:(?: of| the| de| van| von)* [A-Z][\w&'’\-]+)*")
_NAME_IN_CHINESE = re.compile(r"(?<![\w./\-])[A-Za-z][A-Za-z0-9+.\-]{2,}(?![\w/]|://)|《[^》]{2,20}》", re.ASCII)
_CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")
_SENTENCE_START = re.compile(r"(?:^|[.!?:]\s+|[\"“(]\s*)$")


@dataclass(frozen=True, kw_only=True)
class Change:
    """One fact replaced by another, wherever it stands as a word of its own."""

    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return `text` with the fact replaced."""
        pattern = rf"(?<![A-Za-z0-9]){re.escape(self.old)}(?![A-Za-z0-9])"
        return re.sub(pattern, lambda _match: self.new, text)


def number_changes(text: str, rng: random.Random) -> list[Change]:
    """Return a change for each number, date and weekday of `text`, each to one of its like."""
    changes = [Change(old=match.group(), new=_other_digits(match.group(), rng)) for match in _DIGITS.finditer(text)]
    for match in _WORD.finditer(text):
        others = [word for word in _FAMILY[match.group()] if word != match.group()]
        changes.append(Change(old=match.group(), new=rng.choice(others)))
    for match in _CHINESE.finditer(text):
        other = _other_chinese(text, match, rng)
        if other is not None:
            changes.append(other)
    return changes


def name_changes(text: str, others: Sequence[str]) -> list[Change]:
    """Return changes of each name of `text` to each name of `others` that could stand there."""
    own = _names(text)
    found = sorted({name for other in others for name in _names(other)} - own)
    return [
        Change(old=name, new=other)
        for name in sorted(own)
        for other in found
        if other not in text
        and name not in other
        and name.count(" ") == other.count(" ")
        and name.isascii() == other.isascii()
    ]


def _names(text: str) -> set[str]:
    if _CHINESE_CHARACTER.search(text):
        return {match.group() for match in _NAME_IN_CHINESE.finditer(text)}
    # At the beginning of a sentence any word is written like a name.
    return {
        match.group()
        for match in _NAME.finditer(text)
        if not _SENTENCE_START.search(text, 0, match.start()) and match.group() not in _FAMILY
    }


def _other_digits(number: str, rng: random.Random) -> str:
    """Return a number of the same form; a round one stays round."""
    position = 0 if number.endswith("0") else len(number) - 1
    others = [digit for digit in "123456789" if digit != number[position]]
    return number[:position] + rng.choice(others) + number[position + 1 :]


def _other_chinese(text: str, match: re.Match[str], rng: random.Random) -> Change | None:
    number = match.group()
    before = text[max(0, match.start() - 1) : match.start()]
    after = text[match.end()] if match.end() < len(text) else ""
    digits = _WEEKDAYS if before in {"周", "期"} else _CHINESE_DIGITS
    positions = [index for index, character in enumerate(number) if character in digits or character == "两"]
    if positions:
        position = rng.choice(positions)
        other = rng.choice([digit for digit in digits if digit != number[position]])
        new = number[:position] + other + number[position + 1 :]
    elif number.startswith("十"):
        new = rng.choice(_CHINESE_DIGITS) + number
    else:
        return None  # 一个 and the like say no number
    return Change(old=before + number + after, new=before + new + after)
