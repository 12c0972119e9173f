"""Plain text as paragraphs."""

from __future__ import annotations

import re
from itertools import pairwise

from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.text import join_lines

_DEEPEST = 6
_RULE = re.compile(r"([=~^\"'`#*+_-])\1{2,}")


def read_text(source: Source) -> PlainText:
    """Return the paragraphs of a text file, hard-wrapped lines joined."""
    plain = PlainText()
    add_text(plain, decode(source.content, plain))
    return plain


def add_text(plain: PlainText, text: str) -> None:
    """Append the paragraphs of a text."""
    levels: dict[str, int] = {}
    for block in re.split(r"\n\s*\n", plain.clean(text)):
        lines = [line.rstrip() for line in block.strip("\n").split("\n")]
        ruled = _title_lines(lines)
        if ruled:
            # As in reStructuredText, a level is what was first ruled so.
            rule = lines[ruled - 1][0] * (ruled - 1)
            plain.add(plain.fold(lines[ruled - 2]), level=min(_DEEPEST, levels.setdefault(rule, len(levels) + 1)))
            lines = lines[ruled:]
        if lines:
            plain.add("\n".join(lines).strip() if _is_set(lines) else join_lines(lines))


def _title_lines(lines: list[str]) -> int:
    """Return how many lines a title and its rules take: 2, or 3 with one above it, too; 0 if there is none."""
    for count in (2, 3):
        title = lines[count - 2].strip() if len(lines) >= count else ""
        rules = [*lines[: count - 2], *lines[count - 1 : count]]
        if re.search(r"\w", title) and all(_RULE.fullmatch(rule) and len(rule) + 2 >= len(title) for rule in rules):
            return count
    return 0


def _is_set(lines: list[str]) -> bool:
    """Whether lines are no wrapped paragraph: indented, listed, a table, or ended though there was room."""
    width = max(map(len, lines))
    return any(
        re.match(r"\s|[-*•\d>]", line) or re.search(r"\S {4,}\S", before + line) or _has_room(before, line, width)
        for before, line in pairwise(lines)
    )


def _has_room(line: str, after: str, width: int) -> bool:
    return len(line) + len(after.split(" ", 1)[0]) < width / 2


def read_log(source: Source) -> PlainText:
    """Return the lines of a log, each as it is."""
    plain = PlainText()
    for block in re.split(r"\n\s*\n", plain.clean(decode(source.content, plain))):
        plain.add(block.strip("\n").rstrip())
    return plain
