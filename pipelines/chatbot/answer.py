"""From a question to an answer with citations, or to saying that there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.knowledge.passages import Budget, LeftOut, drop_duplicates, select_passages
from pipelines.knowledge.rewrite import QueryWriter, queries_of, search_fused
from pipelines.models.engine import Engine, Sampling
from pipelines.prompting import answer_messages, answer_prompt, is_refusal, refusal
from pipelines.quotes import check_answer, format_citation, locate
from pipelines.records import Chunk, Language, Message, Passage, Quote
from pipelines.text import fold_space, language_of

if TYPE_CHECKING:
    from pipelines.knowledge.retrieve import Retriever
    from pipelines.models.nearest import NearestFinder, NearestSentence


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the chatbot says."""

    text: str
    refused: bool
    citations: tuple[Quote, ...]
    closest: Quote | None  # where it refused: the sentence nearest to the question
    passages: tuple[Passage, ...]
    left_out: LeftOut  # what was found and did not fit the model's context
    queries: tuple[str, ...]  # what was searched; the first is what was answered
    first_token_seconds: float
    seconds: float


class Answerer:
    """Answers questions from one collection with one model."""

    def __init__(
        self,
        retriever: Retriever,
        engine: Engine,
        nearest: NearestFinder,
        *,
        passages: int,
        writer: QueryWriter | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            retriever: Finds passages.
            engine: Answers.
            nearest: Finds the sentence that is told with the question.
            passages: How many to show.
            writer: Completes questions from the conversation, if there is a model for that.
        """
        self._retriever = retriever
        self._nearest = nearest
        self._engine = engine
        self._passages = passages
        self._writer = writer

    def answer(
        self, question: str, *, history: Sequence[Message] = (), on_text: Callable[[str], None] | None = None
    ) -> Answer:
        """Answer a question.

        Nothing is claimed without proof: if no citation stands in the documents, the
        answer is that they do not answer.

        Args:
            question: What the person asks.
            history: The conversation before, for a question that leans on it.
            on_text: Told each piece of the model's words as it is written.
        """
        started = time.monotonic()
        queries = queries_of(question, history, self._writer)
        asked, language = queries[0], language_of(question)
        passages, left_out = self._find(asked, queries, _sampling(language))
        chunks = [passage.chunk for passage in passages]
        nearest = self._nearest.find(asked, chunks)
        said, first = "", 0.0
        # Where not even the nearest sentence is about the question, a small student is not
        # asked: it would quote all the same.
        if nearest is not None and nearest.is_near:
            for piece in self._engine.stream(_prompt(asked, chunks, nearest), _sampling(language)):
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
            left_out=left_out,
            queries=tuple(queries),
            first_token_seconds=first,
            seconds=time.monotonic() - started,
        )

    def _find(self, asked: str, queries: Sequence[str], sampling: Sampling) -> tuple[tuple[Passage, ...], LeftOut]:
        """Return the passages to show, and which of them the model's context does not hold.

        Neighbours stay apart: a small student was trained on single chunks.
        """
        found = search_fused(self._retriever, queries, top_k=2 * self._passages)
        best = drop_duplicates(found)[: self._passages]
        budget = Budget(
            max_tokens=self._engine.context_tokens - sampling.max_tokens,
            count=lambda chunks: self._engine.count_tokens(_prompt(asked, chunks, self._nearest.find(asked, chunks))),
        )
        selected = select_passages(best, budget=budget)
        # Where not even one fits, the engine says so: that is no reason to refuse.
        return selected.passages or tuple(best[:1]), selected.left_out


def _prompt(asked: str, chunks: Sequence[Chunk], nearest: NearestSentence | None) -> tuple[Message, ...]:
    closest = "" if nearest is None else format_citation(nearest.text, nearest.number)
    return answer_messages(asked, chunks, closest=closest)


def _sampling(language: Language) -> Sampling:
    defaults = answer_prompt(language).defaults
    return Sampling(max_tokens=defaults["max_tokens"], temperature=defaults["temperature"])
