"""`bot ask`: one question, one answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.chatbot.bots import Bot, load_bot
from pipelines.errors import SettingsError
from pipelines.knowledge.collection import opened_retriever
from pipelines.knowledge.passages import LeftOut
from pipelines.knowledge.rewrite import QueryWriter, open_query_writer
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Delta, Operation, Positional
from pipelines.records import Name, Quote
from pipelines.settings import is_local

if TYPE_CHECKING:
    from pipelines.chatbot import answer
    from pipelines.models import nearest
else:
    answer = lazy_import("pipelines.chatbot.answer", extra="docs")
    nearest = lazy_import("pipelines.models.nearest", extra="docs")


class AskParams(BaseModel):
    """Whom to ask what."""

    bot: Annotated[Name, Positional()] = Field(description="Name of the chatbot.")
    question: Annotated[str, Positional()] = Field(
        min_length=1, max_length=4_000, description="The question, in English or Chinese."
    )


class AskReport(BaseModel):
    """The answer; the offsets of a citation point into the text that docs show prints."""

    answer: str
    refused: bool
    citations: list[Quote]
    closest: Quote | None = Field(None, description="Where it refused: the sentence nearest to the question.")
    left_out: LeftOut = Field(LeftOut(), description="What was found and did not fit the model's context.")
    model: str
    first_token_seconds: float
    seconds: float


def answer_question(params: AskParams, context: Context) -> AskReport:
    """Ask a chatbot one question; it answers from its documents, with citations."""
    bot = load_bot(context, params.bot)
    with opened_answerer(bot, context) as answerer:
        given = answerer.answer(params.question, on_text=lambda text: context.emit(Delta(text=text)))
    return report_of(given, bot)


ANSWER_QUESTION = Operation(params=AskParams, report=AskReport, run=answer_question, is_reading=True)


@contextmanager
def opened_answerer(bot: Bot, context: Context, *, rewrites: bool | None = False) -> Iterator[answer.Answerer]:
    """Open what a chatbot needs to answer.

    Args:
        bot: The chatbot.
        context: Where it lives.
        rewrites: Whether the agent's or the teacher's model completes questions that lean on
            the conversation, which it is sent for that. None lets a model on this machine do it.

    Raises:
        SettingsError: A model is to do it, and none is set.
    """
    writer = _query_writer(context, rewrites=rewrites)
    adapter = context.workspace.adapter(bot.adapter) if bot.adapter and bot.served == "tuned" else None
    with opened_retriever(context, bot.collection) as retriever:
        engine = context.models.open_engine(bot.base, adapter=adapter)
        finder = nearest.NearestFinder(context.models.embedder_of, retriever.texts())
        yield answer.Answerer(retriever, engine, finder, passages=bot.passages, writer=writer)


def _query_writer(context: Context, *, rewrites: bool | None) -> QueryWriter | None:
    """Return the model that completes questions, if one is to; private words go nowhere unasked."""
    if rewrites is not None:
        return open_query_writer(context) if rewrites else None
    try:
        endpoint = context.settings.agent()
        return open_query_writer(context) if endpoint is not None and is_local(endpoint) else None
    except SettingsError as error:
        context.notice(f"questions are not completed by a model: {error}")
        return None


def report_of(given: answer.Answer, bot: Bot) -> AskReport:
    """Return an answer as the report that people and programs see."""
    return AskReport(
        answer=given.text,
        refused=given.refused,
        citations=list(given.citations),
        closest=given.closest,
        left_out=given.left_out,
        model=f"{bot.base}+{bot.adapter}" if bot.served == "tuned" else bot.base,
        first_token_seconds=round(given.first_token_seconds, 3),
        seconds=round(given.seconds, 3),
    )
