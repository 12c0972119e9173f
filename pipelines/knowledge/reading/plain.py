"""What every reader makes: text that grows block by block, with headings, pages and what was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from pipelines.errors import DataError
from pipelines.text import clean_text, fold_space

# Nothing that a person reads; a file that inflates to more is no document.
_LONGEST_TEXT_CHARS = 50_000_000
# Zero-width and direction characters, and the tags of Unicode 3.1 that spell ASCII unseen. The
# joiners of Indic scripts, soft hyphens and byte order marks go too, but hide nothing.
_HIDDEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\U000e0000-\U000e007f]")
# What tells a terminal colours and places (ECMA-48), and titles and links.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_UNUSABLE = re.compile("[\ud800-\udfff\U000e0000-\U000e007f]")


@dataclass(frozen=True)
class Source:
    """The bytes of a file, and its name."""

    content: bytes
    name: str

    @property
    def suffix(self) -> str:
        """The end of the name, in lower case, with its dot."""
        return PurePath(self.name).suffix.lower()


@dataclass
class PlainText:
    """Text that grows block by block, with the headings and pages in it."""

    blocks: list[str] = field(default_factory=list)
    headings: list[tuple[int, int, str]] = field(default_factory=list)  # offset, level, title
    pages: list[int] = field(default_factory=list)  # offset at which each starts
    hidden: Counter[str] = field(default_factory=Counter)  # what was left out, by kind
    remarks: list[str] = field(default_factory=list)
    title: str = ""
    length: int = 0

    def add(self, block: str, *, level: int = 0) -> None:
        """Append a block; `level` is above 0 for a heading.

        Raises:
            DataError: The text has become too long.
        """
        if not block:
            return
        if level:
            self.headings.append((self.length, level, block))
            self.title = self.title or block
            block = "#" * level + " " + block
        self.blocks.append(block)
        self.length += len(block) + 2
        if self.length > _LONGEST_TEXT_CHARS:
            raise DataError(
                f"holds more than {_LONGEST_TEXT_CHARS:,} characters of text", hint="Split it into several files."
            )

    def add_row(self, cells: Iterable[str]) -> None:
        """Append a row of a table, unless nothing is in it."""
        self.add(row_text(cells))

    def start_page(self) -> None:
        """Let the next page begin with the next block."""
        self.pages.append(self.length)

    def clean(self, text: str) -> str:
        """Return `text` without what a reader would not see; that is counted."""
        if not text.isascii():
            self.hidden["hidden characters"] += len(_HIDDEN.findall(text))
            text = _UNUSABLE.sub("", text)
        return clean_text(_TERMINAL.sub("", text) if "\x1b" in text else text)

    def fold(self, text: str) -> str:
        """Return `text` cleaned, on one line."""
        return fold_space(self.clean(text))

    @property
    def text(self) -> str:
        """All blocks, with an empty line between them."""
        return "\n\n".join(self.blocks)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how it was read."""
        left_out = [f"left out {count} {kind}" for kind, count in sorted(self.hidden.items()) if count]
        return (*self.remarks, *left_out)


def row_text(cells: Iterable[str]) -> str:
    """Return a row of a table as a line; an empty cell keeps its place before others."""
    return " | ".join(cells).strip().rstrip("| ")
