"""Labelled pieces of a text that existing data brings, by their offsets."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.records import Span
from pipelines.text import clean_text


class _Mark(BaseModel):
    """A piece, as it is usually written; what else is said of it does not matter."""

    model_config = ConfigDict(extra="ignore", strict=True)

    start: int = Field(ge=0)
    end: int = Field(ge=1)
    label: str = Field(min_length=1)


_MARKS = TypeAdapter(list[_Mark])


def read_spans(value: object) -> list[Span]:
    """Return the spans of a record, in the order of the text.

    Raises:
        ValueError: They are not {"start", "end", "label"} each.
    """
    try:
        marks = _MARKS.validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"has a span that is not usable ({where}: {problem['msg']})") from error
    spans = [Span(start=mark.start, end=mark.end, label=mark.label) for mark in marks]
    return sorted(spans, key=lambda span: (span.start, span.end))


def place_spans(spans: Sequence[Span], *, before: str, after: str) -> list[Span]:
    """Return where spans of a text stand once it is cleaned, which may move them.

    Raises:
        ValueError: One marks nothing, or overlaps another.
    """
    indent = len(clean_text(before)) - len(clean_text(before).lstrip())
    placed: list[Span] = []
    for span in spans:
        piece = clean_text(before[span.start : span.end])
        start = len(clean_text(before[: span.start])) - indent
        where = f"a span from {span.start} to {span.end} ({span.label})"
        is_there = span.end <= len(before) and start >= 0 and after[start : start + len(piece)] == piece
        if not piece.strip() or not is_there:
            raise ValueError(f"has {where} that marks nothing in its text of {len(before)} characters")
        if placed and start < placed[-1].end:
            raise ValueError(f"has {where} that overlaps the one before")
        placed.append(Span(start=start, end=start + len(piece), label=span.label))
    return placed
