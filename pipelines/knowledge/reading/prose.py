"""Plain text as paragraphs."""

from __future__ import annotations

import re

from pipelines.knowledge.reading.encoding import decode
from pipelines.knowledge.reading.plain import PlainText, Source
from pipelines.text import join_lines


def read_text(source: Source) -> PlainText:
    """Return the paragraphs of a text file, hard-wrapped lines joined."""
    plain = PlainText()
    add_text(plain, decode(source.content, plain))
    return plain


def add_text(plain: PlainText, text: str) -> None:
    """Append the paragraphs of a text."""
    for block in re.split(r"\n\s*\n", plain.clean(text)):
        # Hard-wrapped lines are one paragraph; indented or listed lines stay as they are.
        lines = [line.rstrip() for line in block.strip("\n").split("\n")]
        loose = any(re.match(r"\s|[-*•\d>]", line) for line in lines[1:])
        plain.add("\n".join(lines).strip() if loose else join_lines(lines))


def read_log(source: Source) -> PlainText:
    """Return the lines of a log, each as it is."""
    plain = PlainText()
    for block in re.split(r"\n\s*\n", plain.clean(decode(source.content, plain))):
        plain.add(block.strip("\n").rstrip())
    return plain
