"""From a question to an answer with citations, or to saying that there is none."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.models.engine import Engine, Sampling
from pipelines.prompting import answer_messages, answer_prompt, is_refusal, refusal
from pipelines.quotes import check_answer, format_citation, locate
from pipelines.records import Language, Passage, Quote
from pipelines.text import fold_space, language_of, words

if TYPE_CHECKING:
    from pipelines.knowledge.retrieve import Retriever
    from pipelines.models.nearest import NearestFinder

# A question that leans on the one before it: short, or with a word that points back.
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|that|those|this|these|he|she|him|her|there|one|ones|same|else)\b"
    r"|^(?:and|but|or|what about|how about|why|when|where|who|really)\b.{0,24}$"
    r"|[它她这那]|(?<![其吉])他|^(?:还有|为什么|什么时候)|呢[？?]?$",
    re.IGNORECASE,
)
_SHORT_WORDS = 4


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the chatbot says."""

    text: str
    refused: bool
    citations: tuple[Quote, ...]
    closest: Quote | None  # where it refused: the sentence nearest to the question
    passages: tuple[Passage, ...]
    first_token_seconds: float
    seconds: float


class Answerer:
    """Answers questions from one collection with one model."""

    def __init__(self, retriever: Retriever, engine: Engine, nearest: NearestFinder, *, passages: int) -> None:
        self._retriever = retriever
        self._nearest = nearest
        self._engine = engine
        self._passages = passages

    def answer(self, question: str, *, previous: str = "", on_text: Callable[[str], None] | None = None) -> Answer:
        """Answer a question.

        Nothing is claimed without proof: if no citation stands in the documents, the
        answer is that they do not answer.

        Args:
            question: What the person asks.
            previous: The question before, for one that leans on it.
            on_text: Told each piece of the model's words as it is written.
        """
        started = time.monotonic()
        asked = standalone(question, previous)
        language = language_of(question)
        passages = tuple(self._retriever.search(asked, top_k=self._passages))
        chunks = [passage.chunk for passage in passages]
        nearest = self._nearest.find(asked, chunks)
        said, first = "", 0.0
        # Where not even the nearest sentence is about the question, a small student is not
        # asked: it would quote all the same.
        if nearest is not None and nearest.is_near:
            prompt = answer_messages(asked, chunks, closest=format_citation(nearest.text, nearest.number))
            for piece in self._engine.stream(prompt, _sampling(language)):
                first = first or time.monotonic() - started
                said += piece
                if on_text is not None:
                    on_text(piece)
        checked = check_answer(said, chunks)
        refused = not checked.quotes or is_refusal(said)
        text = refusal(language) if refused else checked.prose or " ".join(fold_space(q.quote) for q in checked.quotes)
        return Answer(
            text=text,
            refused=refused,
            citations=() if refused else checked.quotes,
            closest=locate(nearest.text, chunks[nearest.number - 1]) if refused and nearest else None,
            passages=passages,
            first_token_seconds=first,
            seconds=time.monotonic() - started,
        )


def _sampling(language: Language) -> Sampling:
    defaults = answer_prompt(language).defaults
    return Sampling(max_tokens=defaults["max_tokens"], temperature=defaults["temperature"])


def standalone(question: str, previous: str) -> str:
    """Return the question with the one before it, where it cannot be understood alone."""
    question = fold_space(question)
    leans = len(words(question)) <= _SHORT_WORDS or bool(_POINTS_BACK.search(question))
    return f"{fold_space(previous)} {question}" if previous and leans else question
