"""Damage that a generator leaves in a text: it is cut off, or caught in a loop."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter

from pipelines.text import fold_space, sentence_spans, words

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_ENDED = re.compile(r"[.!?…。！？；;~][\"'”’)\]）】」』》*_]*$")
_SINGLE_MARK = re.compile(r"[\"'“‘][^\w\s][\"'”’]")  # "[" in quotation marks is spoken of, not used
# Ends with what something has to follow.
_GOES_ON = re.compile(r"[,，、:：(（\[{“「『《]$|\w-$|\s(?:the|an|and|or|of|because|which|whose|their|your|our|nor)$")
_LIST_ITEM = re.compile(r"(?:[-*•+|>#]|\d{1,3}[.)、]|[a-z][.)])\s*\S")
_OPENING, _CLOSING = "([{（【「『《", ")]}）】」』》"
_SHORT_WORDS = 3  # so few are a name or a number, which needs no end
_FEWEST_OF_PROSE = 8  # of fewer, a full stop may be an abbreviation's
_PHRASE_WORDS = 3
_FEWEST_REPEATS = 5
_MOST_REPEATED_SHARE = 0.35
_LONG_WORDS, _COUNTED_WORDS = 40, 400
_FEWEST_DISTINCT = 0.22
_LONG_BYTES = 600
_LEAST_COMPRESSED = 0.14


def truncation(text: str) -> str:
    """Say by what `text` shows that it was cut off, after "it"; empty if by nothing."""
    if text.count("```") % 2:
        return "has a code block that does not end"
    prose = _CODE.sub("`x`", text).strip()
    if _is_left_open(re.split(r"\n\s*\n", prose)[-1]):
        return "has a bracket or quotation that does not end"
    if _GOES_ON.search(prose) and len(words(prose)) > _SHORT_WORDS:
        return "ends in the middle of a sentence"
    last = prose.rpartition("\n")[2].strip()
    ends_in_letter = unicodedata.category(last[-1:] or " ").startswith("L")
    is_prose = not _LIST_ITEM.match(last) and len(words(last)) >= _FEWEST_OF_PROSE
    if ends_in_letter and is_prose and _has_ended_sentence(last):
        return "ends without a mark, where its other sentences have one"
    return ""


def repetition(text: str) -> str:
    """Say by what `text` shows that its writer was caught in a loop, after "it"; empty if by nothing."""
    said = words(text)
    phrases = Counter(zip(said, said[1:], said[2:]))
    if phrases:
        phrase, times = phrases.most_common(1)[0]
        if times >= _FEWEST_REPEATS and times * _PHRASE_WORDS > _MOST_REPEATED_SHARE * len(said):
            return f"says {' '.join(phrase)!r} {times} times"
    # Of a long text the share falls by itself, so no more than its beginning is counted.
    counted = said[:_COUNTED_WORDS]
    if len(counted) >= _LONG_WORDS and len(set(counted)) < _FEWEST_DISTINCT * len(counted):
        return f"has {len(set(counted))} different words among {len(counted)}"
    data = fold_space(text).encode()
    if len(data) >= _LONG_BYTES:
        left = len(zlib.compress(data)) / len(data)
        if left < _LEAST_COMPRESSED:
            return f"shrinks to {left:.0%} when compressed"
    return ""


def _is_left_open(text: str) -> bool:
    """Whether a bracket or quotation opens and never closes; marks such as 1) are neither."""
    text = _SINGLE_MARK.sub("", text)
    depth = 0
    for character in text:
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
    # After a digit, a straight mark may mean inches.
    is_odd = text.count('"') % 2 == 1 and len(re.findall(r'(?<!\d)"', text)) % 2 == 1
    return depth > 0 or text.count("“") > text.count("”") or is_odd


def _has_ended_sentence(line: str) -> bool:
    """Whether the line has a sentence with its end mark before its last one."""
    return any(_ENDED.search(line[start:end]) for start, end in sentence_spans(line)[:-1])
