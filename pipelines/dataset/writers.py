"""What a teacher hands in: drafts of question-answer pairs, or the reason for having none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.models.ledger import CallCounts
from pipelines.records import Chunk, Quote, Rejection


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A question with its answer and quote, before the common checks."""

    chunk: Chunk
    question: str
    answer: str  # equals the quote where the teacher only extracts
    quote: Quote
    scores: dict[str, float] = field(default_factory=dict)


class Writer(Protocol):
    """Writes drafts about chunks, one after the other, until its reader has enough."""

    name: str
    prompt: str
    calls: CallCounts

    def write(self, chunks: Sequence[Chunk]) -> Iterator[Draft | Rejection]:
        """Yield drafts and rejections; what is not read is not paid for."""
