"""Controlled degradations: a good answer made worse in one known way, for preference pairs.

What is put into the worse answer is taken from the passages shown, and that it is worse is
proved, as a citation is proved: by looking it up in them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.dataset.recipes.alter import Change, name_changes, number_changes
from pipelines.prompting import is_refusal, refusal
from pipelines.quotes import check_answer, format_citation, locate
from pipelines.records import Chunk, Example, ExampleKind, Language, Message, Quote, content_id
from pipelines.text import fold_space, search_terms, sentence_spans

# A student that is shown pairs of unlike lengths learns the length.
MOST_LENGTH_RATIO = 1.5
_SMALL_DIFFERENCE_CHARS = 12
_SHORTEST_QUOTE: Mapping[Language, int] = {"en": 24, "zh": 10}
_SHORTEST_CLAIM: Mapping[Language, int] = {"en": 16, "zh": 7}
_CUT_SHARES = (0.4, 0.7)
_NEAREST = 3
_SENTENCE_ENDS = (".", "!", "。", "！")


class Degradation(StrEnum):
    """What was done to the better answer."""

    DROP_CITATION = "drop_citation"  # the quote, no longer marked as one, without its number
    WRONG_NUMBER = "wrong_number"  # another number or date in the quote
    WRONG_SOURCE = "wrong_source"  # the number of a passage that does not hold the quote
    UNSUPPORTED_CLAIM = "unsupported_claim"  # one more sentence, which the cited passage does not hold
    REFUSES_ANSWERABLE = "refuses_answerable"  # a refusal, where the passages answer
    ANSWERS_UNANSWERABLE = "answers_unanswerable"  # a true quote, where no passage answers
    SWAPPED_ENTITY = "swapped_entity"  # another name in the quote
    TRUNCATED = "truncated"  # cut within the quote


_ABOUT_LENGTH = frozenset({Degradation.REFUSES_ANSWERABLE, Degradation.ANSWERS_UNANSWERABLE, Degradation.TRUNCATED})


def is_comparable(better: str, worse: str, *, degradation: str) -> bool:
    """Whether the answers of a pair are of like length, where length is not what was degraded."""
    shorter, longer = sorted((len(better), len(worse)))
    is_like = longer <= MOST_LENGTH_RATIO * shorter or longer - shorter <= _SMALL_DIFFERENCE_CHARS
    return is_like or degradation in _ABOUT_LENGTH


def degrade(example: Example, *, chunks: Sequence[Chunk], seed: int, only: Degradation | None = None) -> Example | None:
    """Return the example as a preference pair, with its answer as the better one.

    Args:
        example: A good example; the answer that its messages end with, or else `answer`, cites
            as `format_citation` writes it, or refuses.
        chunks: The chunks shown, in their order.
        seed: Seed of the choice among the degradations that apply, and within them.
        only: The degradation to try; by default all, in an order drawn for the example.

    Returns:
        The pair, or None where the answer is not good, or nothing makes it worse in a way that
        can be proved.
    """
    answer = _read(example, chunks)
    if answer is None:
        return None
    kinds = [only] if only else list(Degradation)
    rng = random.Random(f"{seed}:{example.id}")
    rng.shuffle(kinds)
    for kind in kinds:
        worse = _MAKERS[kind](answer, rng)
        if worse and worse != answer.text and is_comparable(answer.text, worse, degradation=kind):
            return _pair(example, answer.text, worse, kind)
    return None


@dataclass(frozen=True, kw_only=True)
class _Citation:
    quote: Quote
    number: int
    written: str


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """A good answer: either it refuses, or all its citations are true."""

    text: str
    question: str
    language: Language
    chunks: Sequence[Chunk]
    citations: Sequence[_Citation]

    def rewritten(self, change: Callable[[str], str]) -> str:
        """Return the text with `change` made to its prose and its quotes, not to their numbers."""
        result, rest = "", self.text
        for each in self.citations:
            prose, _, rest = rest.partition(each.written)
            result += change(prose) + format_citation(change(fold_space(each.quote.quote)), each.number)
        return result + change(rest)


def _read(example: Example, chunks: Sequence[Chunk]) -> _Answer | None:
    text = example.messages[-1].content if example.messages else example.answer
    checked = check_answer(text, chunks)
    citations = []
    for quote in checked.quotes:
        found = _citation(quote, text, chunks)
        if found is None:
            return None
        citations.append(found)
    if checked.unproved or is_refusal(text) == bool(citations) or not chunks:
        return None
    citations.sort(key=lambda each: text.index(each.written))
    return _Answer(text=text, question=example.question, language=example.language, chunks=chunks, citations=citations)


def _citation(quote: Quote, text: str, chunks: Sequence[Chunk]) -> _Citation | None:
    """Return how the text cites the quote; None if not in due form, or by a wrong number."""
    for number, chunk in enumerate(chunks, start=1):
        written = format_citation(quote.quote, number)
        if text.count(written) == 1 and locate(quote.quote, chunk) is not None:
            return _Citation(quote=quote, number=number, written=written)
    return None


def _pair(example: Example, better: str, worse: str, kind: Degradation) -> Example:
    messages = (*example.messages[:-1], Message(role="assistant", content=better)) if example.messages else ()
    return example.model_copy(
        update={
            "id": content_id(example.id, kind, worse),
            "kind": ExampleKind.PREFERENCE,
            "answer": better,
            "messages": messages,
            "rejected": worse,
            "degradation": kind.value,
            "parents": (example.id,),
        }
    )


def _drop_citation(answer: _Answer, rng: random.Random) -> str:
    del rng
    worse = answer.text
    for each in answer.citations:
        worse = worse.replace(each.written, fold_space(each.quote.quote))
    # A quote that stands alone is recognised without its marks, and so would be no worse.
    return "" if check_answer(worse, answer.chunks).quotes else worse


def _wrong_number(answer: _Answer, rng: random.Random) -> str:
    changes = [change for each in answer.citations for change in number_changes(fold_space(each.quote.quote), rng)]
    return _misquoted(answer, changes, rng)


def _swapped_entity(answer: _Answer, rng: random.Random) -> str:
    others = [fold_space(chunk.text) for chunk in answer.chunks]
    changes = [change for each in answer.citations for change in name_changes(fold_space(each.quote.quote), others)]
    return _misquoted(answer, changes, rng)


def _misquoted(answer: _Answer, changes: Sequence[Change], rng: random.Random) -> str:
    """Return the answer with one of the changes, after which a quote stands in no passage."""
    for change in rng.sample(changes, len(changes)):
        altered = [change.apply(fold_space(each.quote.quote)) for each in answer.citations]
        # To the letter: a citation that is nearly true is put right when it is shown, and yet is wrong.
        if any(all(locate(quote, chunk) is None for chunk in answer.chunks) for quote in altered):
            return answer.rewritten(change.apply)
    return ""


def _wrong_source(answer: _Answer, rng: random.Random) -> str:
    wrong = [
        (each, number)
        for each in answer.citations
        for number, chunk in enumerate(answer.chunks, start=1)
        if not check_answer(format_citation(each.quote.quote, 1), [chunk]).quotes
    ]
    if not wrong:
        return ""
    cited, number = rng.choice(wrong)
    return answer.text.replace(cited.written, format_citation(cited.quote.quote, number))


def _unsupported_claim(answer: _Answer, rng: random.Random) -> str:
    if not answer.citations:
        return ""
    cited = [answer.chunks[each.number - 1] for each in answer.citations]
    gap = "" if answer.language == "zh" else " "
    claims = []
    for _number, sentence in _sentences(answer.chunks):
        worse = f"{answer.text}{gap}{sentence}"
        if (
            len(sentence) >= _SHORTEST_CLAIM[answer.language]
            and sentence.endswith(_SENTENCE_ENDS)
            and is_comparable(answer.text, worse, degradation=Degradation.UNSUPPORTED_CLAIM)
            and not check_answer(format_citation(sentence, 1), cited).quotes
        ):
            claims.append(worse)
    return rng.choice(claims) if claims else ""


def _refuses_answerable(answer: _Answer, rng: random.Random) -> str:
    del rng
    return refusal(answer.language) if answer.citations else ""


def _answers_unanswerable(answer: _Answer, rng: random.Random) -> str:
    """Return a citation of one of the sentences nearest to the question by its words."""
    if answer.citations:
        return ""
    asked = set(search_terms(answer.question))
    citations = [
        (len(asked.intersection(search_terms(sentence))), format_citation(sentence, number))
        for number, sentence in _sentences(answer.chunks)
        if len(sentence) >= _SHORTEST_CLAIM[answer.language] and sentence.endswith(_SENTENCE_ENDS)
    ]
    nearest = [written for _shared, written in sorted(citations, key=lambda each: -each[0])]
    provable = [written for written in nearest if check_answer(written, answer.chunks).quotes]
    return rng.choice(provable[:_NEAREST]) if provable else ""


def _truncated(answer: _Answer, rng: random.Random) -> str:
    if not answer.citations:
        return ""
    last = answer.citations[-1]
    quote = fold_space(last.quote.quote)
    if len(quote) < _SHORTEST_QUOTE[answer.language]:
        return ""
    before = answer.text[: answer.text.index(last.written)]
    kept = quote[: round(len(quote) * rng.uniform(*_CUT_SHARES))].rstrip(" .。!！?？,，")
    worse = f'{before}"{kept}'
    return "" if last.quote in check_answer(worse, answer.chunks).quotes else worse


def _sentences(chunks: Sequence[Chunk]) -> list[tuple[int, str]]:
    """Return the sentences of the chunks, each with the number of its chunk."""
    return [
        (number, fold_space(chunk.text[start:end]))
        for number, chunk in enumerate(chunks, start=1)
        for start, end in sentence_spans(chunk.text)
    ]


_MAKERS: Mapping[Degradation, Callable[[_Answer, random.Random], str]] = {
    Degradation.DROP_CITATION: _drop_citation,
    Degradation.WRONG_NUMBER: _wrong_number,
    Degradation.WRONG_SOURCE: _wrong_source,
    Degradation.UNSUPPORTED_CLAIM: _unsupported_claim,
    Degradation.REFUSES_ANSWERABLE: _refuses_answerable,
    Degradation.ANSWERS_UNANSWERABLE: _answers_unanswerable,
    Degradation.SWAPPED_ENTITY: _swapped_entity,
    Degradation.TRUNCATED: _truncated,
}
