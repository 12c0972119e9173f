"""What a teacher hands in: examples, or the reason for having none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipelines.dataset.writing.collect import Collector
from pipelines.models.ledger import CallCounts
from pipelines.records import Chunk


class Writer(Protocol):
    """Writes examples about chunks into a collector, until that has enough."""

    name: str
    calls: CallCounts

    def write(self, chunks: Sequence[Chunk], collector: Collector) -> Iterator[None]:
        """Offer examples and rejections; control comes back after each, so that it can be stopped."""
