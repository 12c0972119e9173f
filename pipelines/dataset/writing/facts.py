"""Sentences that can be asked about and quoted alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.prompting import HEADING_SEPARATOR
from pipelines.records import Chunk, content_id
from pipelines.text import fold_space, language_of, sentence_spans, words

_SHORTEST, _LONGEST = 40, 320
_FEWEST_WORDS = 6
# These point at what was said before, so the sentence does not stand alone.
_POINTING = re.compile(
    r"(?:it|its|this|that|these|those|they|their|he|she|his|her|such|then|there|here|otherwise|however|but|and|or|"
    r"so|also|thus|therefore|in this|in that|in these|for example|e\.g|see|note that|as above|the former|the latter|"
    r"again|instead|similarly|likewise|finally|first|second|next|if so|for details|for more)\b",
    re.IGNORECASE,
)
_POINTING_ZH = re.compile(r"[它他她这那此其]|另外|此外|因此|所以|但是|不过|例如|参见")
_ENDS = re.compile(r"[.!。！][\"'”’)\]]*$")
_CODE_LIKE = re.compile(r"[{}<>|=$\\]|\s--?\w|https?://")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One sentence of a chunk."""

    chunk: Chunk
    start: int  # in the chunk's text
    end: int

    @property
    def text(self) -> str:
        """The sentence, on one line."""
        return fold_space(self.chunk.text[self.start : self.end])


def find_facts(chunk: Chunk) -> list[Fact]:
    """Return the sentences of a chunk that can be asked about and quoted alone."""
    facts = []
    for start, end in sentence_spans(chunk.text):
        fact = Fact(chunk=chunk, start=start, end=end)
        if stands_alone(fact.text):
            facts.append(fact)
    return facts


def stands_alone(sentence: str) -> bool:
    """Whether a sentence is whole, of useful length, and does not point at another one."""
    chinese = language_of(sentence) == "zh"
    shortest = _SHORTEST // 3 if chinese else _SHORTEST
    return (
        shortest <= len(sentence) <= _LONGEST
        and len(words(sentence)) >= _FEWEST_WORDS
        and bool(_ENDS.search(sentence))
        and not (_POINTING_ZH if chinese else _POINTING).match(sentence.lstrip("-* \"'"))
        and not _CODE_LIKE.search(sentence)
    )


def spread(facts: Sequence[Fact], *, seed: int) -> list[Fact]:
    """Order facts so that every chunk has its turn before one has its second."""
    turns: dict[str, int] = {}
    placed = []
    for fact in sorted(facts, key=lambda fact: _shuffled(fact, seed)):
        turn = turns.get(fact.chunk.id, 0)
        turns[fact.chunk.id] = turn + 1
        placed.append((turn, fact))
    return [fact for _turn, fact in sorted(placed, key=lambda entry: entry[0])]


def _shuffled(fact: Fact, seed: int) -> str:
    # By hash, so that a document more or less does not change the order of the others.
    return content_id(str(seed), fact.chunk.id, str(fact.start))


def topic_of(chunks: Sequence[Chunk]) -> dict[str, str]:
    """Return the title that passages stand under, as an attribute of what is written about them."""
    heading = chunks[0].heading.rpartition(HEADING_SEPARATOR)[2] if chunks else ""
    return {"subtopic": heading} if heading else {}
