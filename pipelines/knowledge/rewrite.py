"""What is searched for a question: itself, completed from the conversation, or in other words.

A model only adds queries. The person's own words are always searched too, results are fused
by rank, and where the model fails or is slow they are all that is searched. What it writes
is data: it is searched and shown, and goes nowhere else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, Field

from pipelines.errors import LLMError, SettingsError
from pipelines.knowledge.fusion import reciprocal_ranks
from pipelines.lazy import lazy_import
from pipelines.operation import Context
from pipelines.prompting import inside, to_messages
from pipelines.records import Language, Message, Passage, Record
from pipelines.text import clean_text, fold_space, language_of, words
from prompts import Prompt, load_prompt

if TYPE_CHECKING:
    from pipelines.models import teacher
else:
    teacher = lazy_import("pipelines.models.teacher", extra="teacher")

# A question that leans on the one before it: short, or with a word that points back.
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|that|those|this|these|he|she|him|her|there|one|ones|same|else)\b"
    r"|^(?:and|but|or|what about|how about|why|when|where|who|really)\b.{0,24}$"
    r"|[它她这那]|(?<![其吉])他|^(?:还有|为什么|什么时候)|呢[？?]?$",
    re.IGNORECASE,
)
_SHORT_WORDS = 4
# What somebody who waits for an answer can bear; then the cheap way is taken.
_PATIENCE_S = 8.0
# What is said of the conversation: the last messages, each up to so many characters.
_TURNS = 6
_TURN_CHARS = 600
_QUERY_CHARS = 400
# How far down each query's result counts when results are fused.
_DEPTH = 20
_REWRITING: dict[Language, str] = {"en": "rewrite_question", "zh": "rewrite_question_zh"}
_REWORDING: dict[Language, str] = {"en": "write_queries", "zh": "write_queries_zh"}


class CompleteQuestion(Record):
    """What a model is asked to return for a question that leans on a conversation."""

    question: str = Field(min_length=1, description="The question, understood without the conversation.")


class OtherQueries(Record):
    """What a model is asked to return for a query."""

    queries: tuple[str, ...] = Field(min_length=1, max_length=20, description="Other queries, no two alike.")


class Searcher(Protocol):
    """Whatever finds passages for a query."""

    def search(self, query: str, *, top_k: int, among: Sequence[str] | None = None) -> list[Passage]:
        """Return the passages for `query`, best first, among all chunks or those of these ids."""


def standalone(question: str, previous: str) -> str:
    """Return the question with the one before it, where it cannot be understood alone."""
    question = fold_space(question)
    return f"{fold_space(previous)} {question}" if previous and leans(question) else question


def leans(question: str) -> bool:
    """Whether a question seems to need the one before it to be understood."""
    question = fold_space(question)
    return len(words(question)) <= _SHORT_WORDS or bool(_POINTS_BACK.search(question))


def queries_of(question: str, history: Sequence[Message] = (), writer: QueryWriter | None = None) -> list[str]:
    """Return what to search for a question in a conversation; the first is what to answer.

    A model is only asked about a question that leans on what was said before.

    Args:
        question: What the person asks.
        history: The conversation before, oldest first.
        writer: The model; without it, or where it fails, the question before goes along.
    """
    before = [message.content for message in history if message.role == "user"]
    own = standalone(question, before[-1] if before else "")
    if writer is None or not before or not leans(question):
        return [own]
    complete = writer.complete(question, history)
    return list(dict.fromkeys([complete, own])) if complete else [own]


def search_fused(
    searcher: Searcher, queries: Sequence[str], *, top_k: int, among: Sequence[str] | None = None
) -> list[Passage]:
    """Find the passages for several wordings of one question, best first.

    With one query this is its search. With several a passage's score is its reciprocal rank
    summed over the queries, and its cosine that to the first query which found it.

    Source:
        Rackauckas 2024, RAG-Fusion, section 2, arXiv:2402.03367.
    """
    distinct = list(dict.fromkeys(queries))
    if len(distinct) == 1:
        return searcher.search(distinct[0], top_k=top_k, among=among)
    found = [searcher.search(query, top_k=max(top_k, _DEPTH), among=among) for query in distinct]
    scores = reciprocal_ranks([[passage.chunk.id for passage in passages] for passages in found])
    passages = {passage.chunk.id: passage for ranking in reversed(found) for passage in ranking}
    best = sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))[:top_k]
    return [passages[chunk_id].model_copy(update={"score": scores[chunk_id]}) for chunk_id in best]


class QueryWriter:
    """A model behind an endpoint that writes queries; it is given up once it cannot be reached."""

    def __init__(self, model: teacher.Teacher, *, notice: Callable[[str], None]) -> None:
        self._model = model
        self._notice = notice
        self._is_reachable = True

    def complete(self, question: str, history: Sequence[Message]) -> str:
        """Return a question as it is understood without the conversation; empty if that fails."""
        prompt = load_prompt(_REWRITING[language_of(question)])
        turns = [
            inside(f"{turn.role}: {_short(turn.content, _TURN_CHARS)}", "conversation") for turn in history[-_TURNS:]
        ]
        said = self._ask(
            prompt, CompleteQuestion, turns=turns, question=inside(_short(question, _QUERY_CHARS), "question")
        )
        return _short(said.question, _QUERY_CHARS) if isinstance(said, CompleteQuestion) else ""

    def reword(self, query: str, *, count: int) -> list[str]:
        """Return up to `count` other queries for what a query is to find; none if that fails."""
        prompt = load_prompt(_REWORDING[language_of(query)])
        said = self._ask(prompt, OtherQueries, query=inside(_short(query, _QUERY_CHARS), "query"), count=count)
        if not isinstance(said, OtherQueries):
            return []
        folded = dict.fromkeys(_short(each, _QUERY_CHARS) for each in said.queries)
        return [each for each in folded if each and each != fold_space(query)][:count]

    def _ask(self, prompt: Prompt, schema: type[BaseModel], **inputs: object) -> BaseModel | None:
        """Ask for a record; say why there is none."""
        if not self._is_reachable:
            return None
        request = teacher.Request(
            tag=prompt.id,
            messages=to_messages(prompt, **inputs),
            schema=schema,
            temperature=prompt.defaults["temperature"],
            max_tokens=prompt.defaults["max_tokens"],
        )

        async def in_time(ask: teacher.Ask) -> AsyncIterator[teacher.Reply]:
            yield await asyncio.wait_for(ask(request), _PATIENCE_S)

        try:
            [reply] = self._model.run(in_time)
        except TimeoutError:
            self._give_up(f"{self._model.name} did not answer within {_PATIENCE_S:g} s")
        except LLMError as error:
            self._give_up(str(error))
        else:
            if reply.record is None:
                self._notice(f"{self._model.name} wrote no query that can be read, so only your words are searched")
            return reply.record
        return None

    def _give_up(self, reason: str) -> None:
        self._is_reachable = False
        self._notice(f"{reason}, so only your own words are searched from now on")


def open_query_writer(context: Context) -> QueryWriter:
    """Return the model that writes queries: the agent's, or else the teacher's.

    Raises:
        SettingsError: None is set.
        MissingExtraError: The libraries to reach it are not installed.
    """
    endpoint = context.settings.agent()
    if endpoint is None:
        raise SettingsError(
            "writing queries needs a model, and none is set",
            hint="Set ASSISTANT_AGENT_URL and ASSISTANT_AGENT_MODEL to an OpenAI-compatible endpoint.",
        )
    model = teacher.Teacher(
        endpoint,
        context.models.ledger,
        masker=context.models.masker,
        concurrency=1,
        timeout_s=_PATIENCE_S,
        retries=0,
        patience_s=_PATIENCE_S,
    )
    return QueryWriter(model, notice=context.notice)


def _short(text: str, longest: int) -> str:
    return fold_space(clean_text(text))[:longest]
