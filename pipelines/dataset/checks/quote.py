"""The check that every quote stands in its passage, and that an answer has no number which no quote has."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.quotes import locate
from pipelines.records import Chunk, Example, ExampleKind, Quote, Rejection, rejected

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUOTING = (ExampleKind.GROUNDED, ExampleKind.FALSE_PREMISE)


class QuoteCheck:
    """Rejects examples whose quotes are not, to the letter, where they are said to be; is itself a `Check`."""

    def __init__(self, chunks: Mapping[str, Chunk]) -> None:
        self._chunks = chunks

    def __call__(self, example: Example) -> Example | Rejection:
        """Return the example if every quote is proved."""
        sources = [self._chunks[source] for source in example.sources if source in self._chunks]
        if len(sources) < len(example.sources):
            return rejected(example, check="source", reason="a passage that it was written from is gone")
        if example.kind in _QUOTING and sources and not example.quotes:
            return rejected(example, check="quote", reason="it rests on a passage and quotes nothing of it")
        if not all(_stands(quote, sources) for quote in example.quotes):
            return rejected(example, check="quote", reason="a quote does not stand in its passage")
        if example.quotes and (invented := _numbers(example.answer) - _numbers(_known(example))):
            reason = f"the answer has a number that no quote has: {', '.join(sorted(invented))}"
            return rejected(example, check="number", reason=reason)
        return example


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(text.replace(",", "")))


def _known(example: Example) -> str:
    return " ".join([example.question, *(quote.quote for quote in example.quotes)])


def _stands(quote: Quote, sources: list[Chunk]) -> bool:
    return any(locate(quote.quote, chunk) == quote or stands_in(quote, chunk) for chunk in sources)


def stands_in(quote: Quote, chunk: Chunk) -> bool:
    """Whether a quote stands in a passage at its offsets; the same words may stand earlier in it, too."""
    start, end = quote.start - chunk.start, quote.end - chunk.start
    return quote.document == chunk.document and start >= 0 and chunk.text[start:end] == quote.quote
