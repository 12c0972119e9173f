"""Telephone numbers: written internationally, in the way of a few countries, or announced as such."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import phonenumbers

from pipelines.privacy.cues import Cue, cue_before
from pipelines.privacy.kinds import Span, compact

_BEFORE = r"(?<![A-Za-z0-9_+#$€£])(?<!\d[-./:,])(?<![A-Za-z/][-/])"
_AFTER = r"(?![A-Za-z0-9_]|[-./:,]\d|%| ?\d)"
_EXTENSION = r"(?:,? ?(?:ext\.?|extension|x|转|分机)[ :]?\d{1,6}|(?<=\d{7})-\d{2,4}(?!\d))?"
_CALLING_CODE = r"(?:\((?:\+|00)[1-9]\d{0,2}\)|(?:\+|00)\(?[1-9]\d{0,2}\)?)"
# Digits before the plus are of another number.
_INTERNATIONAL = re.compile(
    rf"(?:{_BEFORE}|(?<=\d)(?=\+)){_CALLING_CODE}(?:[ ./-]{{0,3}}(?:\(\d{{1,5}}\)|\d{{1,14}})){{1,8}}", re.ASCII
)
# The way each country groups its numbers, where that alone says telephone; checked by its plan.
_NATIONAL = {
    "US": r"(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([-. ]))[2-9]\d\d(?(1)\1|[-. ])\d{4}",
    "GB": r"\(0\d{2,4}\) ?\d{3,4}[ -]?\d{3,4}|0\d{2,4}([ -])\d{3,4}\1\d{3,4}|0\d{4}[ -]\d{5,6}",
    "FR": r"0[1-9](?:([ .-])\d\d(?:\1\d\d){3})",
    "DE": r"0[1-9]\d{1,4}(?: ?/ ?| )\d{3,8}(?:[ -]\d{1,5}){0,2}|\(0[1-9]\d{1,4}\) ?\d{3,8}(?:[ -]\d{1,5})?",
    "CN": r"(?:86-?)?1[3-9]\d([ -])\d{4}\1\d{4}|86-?1[3-9]\d{9}"
    r"|(?:\(0\d{2,3}\) ?|0\d{2,3}[- ])[2-8]\d{2,3}[ -]?\d{4}(?:-\d{2,4})?|400([- ]?)\d{3}\2\d{4}|400-\d{4}-\d{3}",
}
_FORMS = {region: re.compile(rf"{_BEFORE}(?<!\d )(?:{form}){_AFTER}", re.ASCII) for region, form in _NATIONAL.items()}
_CHINESE_MOBILE = re.compile(r"(?<![A-Za-z0-9_+#.-])1[3-9]\d{9}(?![A-Za-z0-9_]|[.-]\d)", re.ASCII)
_CHINESE = re.compile("[\u4e00-\u9fff]")
# Any digits, where the words before them say telephone.
_ANNOUNCED = re.compile(
    rf"{_BEFORE}(?:\(\d{{2,5}}\)(?:[ ./-]{{0,3}}\d){{5,12}}|\d(?:[ ()./-]{{0,3}}\d){{6,14}}){_AFTER}", re.ASCII
)
_REGIONS = ("US", "GB", "DE", "FR", "CN", "ES", "IT", "CH", "AT", "NL", "BE", "IE", "AU", "IN", "JP", "KR", "BR", "HK")
_INNER_LINE = re.compile(r"(?<=\d{7})-\d{2,4}$", re.ASCII)
_TAIL = re.compile(_EXTENSION, re.IGNORECASE)
_LAST_GROUP = re.compile(r"[ ./(-]*(?:\(\d+\)|(?<!\d)\d+)$")
_NOT_A_PHONE = (Cue.REFERENCE, Cue.VERSION, Cue.CARD, Cue.ACCOUNT)


def find_phones(text: str) -> Iterator[Span]:
    """Yield telephone numbers, with their extensions."""
    for match in _INTERNATIONAL.finditer(text):
        end = _valid_end(text, *match.span())
        if end is not None:
            yield match.start(), _tail(text, end)
    for region, form in _FORMS.items():
        for match in form.finditer(text):
            start, end = match.span()
            if _is_valid(_INNER_LINE.sub("", match.group()), region) and cue_before(text, start) not in _NOT_A_PHONE:
                yield start, _tail(text, end)
    for match in _CHINESE_MOBILE.finditer(text):
        cue = cue_before(text, match.start())
        if cue is Cue.PHONE or (cue not in _NOT_A_PHONE and _CHINESE.search(text)):
            yield match.span()
    for match in _ANNOUNCED.finditer(text):
        start, end = match.span()
        if cue_before(text, start) is Cue.PHONE and any(_is_valid(match.group(), region) for region in _REGIONS):
            yield start, _tail(text, end)


@functools.lru_cache(maxsize=4096)
def _is_valid(number: str, region: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def _valid_end(text: str, start: int, end: int) -> int | None:
    """Return where the number from `start` ends: the groups behind it may be of something else."""
    while end - start > 7:
        digits = compact(text[start:end].replace("(0)", ""))
        number = "+" + digits.lstrip("+").removeprefix("00")
        if _is_valid(number, "ZZ"):
            return end
        shorter = _LAST_GROUP.search(text[start:end])
        if shorter is None or shorter.start() == 0:
            return None
        end = start + shorter.start()
    return None


def _tail(text: str, end: int) -> int:
    found = _TAIL.match(text, end)
    return found.end() if found else end
