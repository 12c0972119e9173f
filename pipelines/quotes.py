"""The form in which an answer cites, and the proof that a citation is true.

A citation is written as `"the words of the document" [2]`: a quote, and the number of the
passage it was taken from. The same form is taught, asked for, and checked. What is shown
as a citation is never the model's wording but the document's own text at known offsets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.records import Chunk, Quote
from pipelines.text import fold_space, language_of, sentence_spans

_CITATION = re.compile(r"[\"“](?P<quote>.+?)[\"”]\s*\[(?P<number>\d{1,2})\]", re.DOTALL)
_MARKER = re.compile(r"\s*\[\d{1,2}\]")
# Typographic variants that a tokenizer or a model replaces without meaning anything by it.
_SAME = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})
# A quote that differs from a sentence of the passage by a word or so is taken to mean that
# sentence; measured in BENCHMARKS.md.
_CLOSE_ENOUGH = 0.88
_SHORTEST = 8
_MOST_SENTENCES = 2


@dataclass(frozen=True, kw_only=True)
class CheckedAnswer:
    """An answer after its citations were checked."""

    prose: str  # what the model said besides its quotes; may be empty
    quotes: tuple[Quote, ...]
    unproved: tuple[str, ...]  # quotes that no document holds


def format_citation(quote: str, number: int) -> str:
    """Write a citation of the passage with that number, counted from 1."""
    return f'"{fold_space(quote)}" [{number}]'


def cited_quotes(text: str) -> list[str]:
    """Return what an answer puts in quotation marks before a number, proved or not."""
    return [match["quote"] for match in _CITATION.finditer(text)]


def check_answer(text: str, chunks: Sequence[Chunk]) -> CheckedAnswer:
    """Split what a model wrote into prose and citations, and prove each citation.

    Args:
        text: The model's answer.
        chunks: The chunks it was shown, in their order.
    """
    quotes: list[Quote] = []
    unproved: list[str] = []
    prose: list[str] = []
    position = 0
    for match in _CITATION.finditer(text):
        before = text[position : match.start()]
        position = match.end()
        quote = None
        for start in _beginnings(match["quote"]):
            quote = _prove(match["quote"][start:], int(match["number"]), chunks)
            if quote is not None:
                before += match["quote"][:start]
                break
        prose.append(before)
        if quote is None:
            unproved.append(match["quote"])
        elif quote not in quotes:
            quotes.append(quote)
    prose.append(text[position:])
    said = fold_space(_MARKER.sub("", " ".join(prose))).strip(' "“”')
    if not quotes and not unproved and said:
        # Without the marks of a citation, an answer may still be one, to the letter.
        quote = _prove(said, 0, chunks)
        if quote is not None:
            return CheckedAnswer(prose="", quotes=(quote,), unproved=())
    return CheckedAnswer(prose=said, quotes=tuple(quotes), unproved=tuple(unproved))


def _beginnings(said: str) -> list[int]:
    """Return where a quote may begin: at once, or at a quotation mark that the prose before it hid."""
    return [0, *(match.end() for match in re.finditer('["“]', said))]


def locate(quote: str, chunk: Chunk) -> Quote | None:
    """Find `quote` in the chunk, to the letter but for white space and kinds of quotation marks.

    Returns:
        The document's own text with its offsets, or None where it does not stand there.
    """
    wanted = quote.translate(_SAME).split()
    if not wanted:
        return None
    pattern = r"\s+".join(re.escape(word) for word in wanted)
    match = re.search(pattern, chunk.text.translate(_SAME))
    return None if match is None else _quote_of(chunk, match.start(), match.end())


def find_sentences(quote: str, chunks: Sequence[Chunk]) -> tuple[Quote, ...]:
    """Return the whole sentences that a quote means: those it was taken from, or the one it is close to.

    A teacher often quotes a clause, or changes a word; what is kept is the document's own text.

    Args:
        quote: What was said to be quoted.
        chunks: Where to look, in order.

    Returns:
        Two neighbouring sentences at most; none where nothing is meant.
    """
    for chunk in chunks:
        found = locate(quote, chunk) if len(quote.strip()) >= _SHORTEST // 2 else None
        if found is None:
            continue
        start, end = found.start - chunk.start, found.end - chunk.start
        held = [span for span in sentence_spans(chunk.text) if span[0] < end and start < span[1]]
        if len(held) > _MOST_SENTENCES:
            return ()
        return tuple(_quote_of(chunk, first, last) for first, last in held)
    meant = _prove(quote, 0, chunks)
    return () if meant is None else (meant,)


def _prove(quote: str, number: int, chunks: Sequence[Chunk]) -> Quote | None:
    """Find a quote in the chunk it names, else in any other, else the sentence it must mean."""
    shortest = _SHORTEST // 2 if language_of(quote) == "zh" else _SHORTEST
    if len(quote.strip()) < shortest:
        return None
    first = [chunks[number - 1]] if 1 <= number <= len(chunks) else []
    candidates = first + [chunk for chunk in chunks if chunk not in first]
    for chunk in candidates:
        found = locate(quote, chunk)
        if found is not None:
            return found
    best, best_ratio = None, _CLOSE_ENOUGH
    folded = fold_space(quote)
    for chunk in candidates:
        for start, end in sentence_spans(chunk.text):
            ratio = difflib.SequenceMatcher(None, folded, fold_space(chunk.text[start:end])).ratio()
            if ratio > best_ratio:
                best, best_ratio = _quote_of(chunk, start, end), ratio
    return best


def _quote_of(chunk: Chunk, start: int, end: int) -> Quote:
    return Quote(
        document=chunk.document,
        quote=chunk.text[start:end],
        start=chunk.start + start,
        end=chunk.start + end,
        page=chunk.page,
    )
