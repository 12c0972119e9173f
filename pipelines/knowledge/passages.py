"""What a prompt, or a person, gets of the passages that were found.

The same text twice is shown once, chunks that stand beside each other become one passage in
reading order, and what a budget of tokens leaves out is told, never cut silently. A passage
is always `document.text[start:end]`, so that quotes of it map back.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from pipelines.records import Chunk, Document, Passage, content_id
from pipelines.text import fold_space, sentence_spans, words

FindDocument = Callable[[str], Document]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many tokens there are for passages.

    Attributes:
        max_tokens: Most tokens that `count` may return.
        count: Returns the tokens of all that is made of chunks, the best first.
    """

    max_tokens: int
    count: Callable[[Sequence[Chunk]], int]

    def holds(self, passages: Sequence[Passage]) -> bool:
        """Whether the tokens suffice for these passages."""
        return self.count([passage.chunk for passage in passages]) <= self.max_tokens


class LeftOut(BaseModel):
    """Which of the found passages are not shown."""

    duplicates: int = Field(0, description="Whose text stands in another passage.")
    over_budget: int = Field(0, description="For which the tokens did not suffice.")
    documents: list[str] = Field([], description="Documents of those for which the tokens did not suffice.")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is shown, best first, and what is not."""

    passages: tuple[Passage, ...]
    left_out: LeftOut


def select_passages(
    found: Sequence[Passage], *, budget: Budget | None = None, find_document: FindDocument | None = None
) -> Selection:
    """Choose what to show of the passages found.

    Args:
        found: The passages, best first.
        budget: How many tokens there are; where one does not fit, a worse one still may.
        find_document: Returns a document by its id, for neighbours to be merged; without
            it none are.
    """
    distinct = drop_duplicates(found)
    merge = functools.partial(merge_neighbours, find_document=functools.cache(find_document)) if find_document else list
    shown = merge(distinct)
    over: list[Passage] = []
    if budget is not None and not budget.holds(shown):
        kept: list[Passage] = []
        for passage in distinct:
            # Merged first: a passage may cost more, or less, beside its neighbour.
            (kept if budget.holds(merge([*kept, passage])) else over).append(passage)
        shown = merge(kept)
    left_out = LeftOut(
        duplicates=len(found) - len(distinct),
        over_budget=len(over),
        documents=list(dict.fromkeys(each.chunk.document for each in over)),
    )
    return Selection(passages=tuple(shown), left_out=left_out)


def text_budget(max_tokens: int, tokenize: Callable[[str], Sequence[int]]) -> Budget:
    """Return a budget for the bare texts, in the tokens of a model."""
    count = functools.cache(lambda text: len(tokenize(text)))
    return Budget(max_tokens=max_tokens, count=lambda chunks: sum(count(chunk.text) for chunk in chunks))


def drop_duplicates(found: Sequence[Passage]) -> list[Passage]:
    """Return the passages without those whose sentences all stand, in a row, in another one.

    The longer one takes the better place of the two, and of several alike the first stays.
    """
    sentences = [_folded_sentences(passage.chunk.text) for passage in found]
    best: dict[int, Passage] = {}
    for index, passage in enumerate(found):
        holders = [other for other, held in enumerate(sentences) if _holds(held, sentences[index])]
        longest = max(holders, key=lambda other: (len(" ".join(sentences[other])), -other))
        best.setdefault(longest, found[longest].model_copy(update={"score": max(passage.score, found[longest].score)}))
    return list(best.values())


def merge_neighbours(passages: Sequence[Passage], *, find_document: FindDocument) -> list[Passage]:
    """Return the passages, those of one section and page that stand beside each other as one.

    A merged passage has the place and the score of its best part.
    """
    order = sorted(range(len(passages)), key=lambda each: (passages[each].chunk.document, passages[each].chunk.start))
    runs: list[list[int]] = []
    for index in order:
        chunk = passages[index].chunk
        if runs and _meet([passages[each].chunk for each in runs[-1]], chunk, find_document):
            runs[-1].append(index)
        else:
            runs.append([index])
    runs.sort(key=min)
    return [_joined([passages[each] for each in run], find_document) for run in runs]


def _meet(run: Sequence[Chunk], chunk: Chunk, find_document: FindDocument) -> bool:
    """Whether no words stand between a run of chunks and one that begins no earlier."""
    last, end = run[-1], max(each.end for each in run)
    if (last.document, last.heading, last.page) != (chunk.document, chunk.heading, chunk.page):
        return False
    text = find_document(chunk.document).text
    # What was found may be of a version that was replaced a moment ago.
    is_current = text[last.start : last.end] == last.text and text[chunk.start : chunk.end] == chunk.text
    return is_current and not words(text[end : chunk.start])


def _joined(parts: Sequence[Passage], find_document: FindDocument) -> Passage:
    """Return parts, by offset, as one passage."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].chunk
    end = max(part.chunk.end for part in parts)
    text = find_document(first.document).text[first.start : end]
    chunk_id = content_id(first.document, str(first.start), str(end), text)
    return Passage(
        chunk=first.model_copy(update={"id": chunk_id, "end": end, "text": text}),
        score=max(part.score for part in parts),
        cosine=max(part.cosine for part in parts),
    )


def _folded_sentences(text: str) -> tuple[str, ...]:
    line = fold_space(unicodedata.normalize("NFKC", text))
    return tuple(line[start:end].casefold() for start, end in sentence_spans(line)) or (line.casefold(),)


def _holds(longer: tuple[str, ...], shorter: tuple[str, ...]) -> bool:
    size = len(shorter)
    # Case and width may hide where a sentence ends.
    return " ".join(longer) == " ".join(shorter) or any(
        longer[start : start + size] == shorter for start in range(len(longer) - size + 1)
    )
