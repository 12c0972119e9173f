"""A teacher behind an OpenAI-compatible endpoint, asked many things at once.

Every answer is stored in the ledger before it is read, and what the ledger holds is not asked
again. Personal data is masked in whatever is sent, and put back in what is read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from pipelines.errors import LLMOutputError
from pipelines.lazy import silence_libraries
from pipelines.models.budget import Budget
from pipelines.models.ledger import Call, CallCounts, Ledger, call_key
from pipelines.models.ordered import closing, each, iterate, ordered
from pipelines.models.pacing import Pacer
from pipelines.models.prices import find_price
from pipelines.models.sender import REFUSED, Sender
from pipelines.models.structured import Mode, json_schema, parse_reply, request_form
from pipelines.models.transport import Failure, Transport
from pipelines.privacy.mask import Masker
from pipelines.prompting import to_messages
from pipelines.records import Message, Record
from pipelines.settings import Endpoint
from prompts import load_prompt

ResultT = TypeVar("ResultT")

_CORRECTIONS = 2
# A sample that takes the place of one that could not be corrected.
_FRESH = 1_000_000
_SHOWN_BACK = 2_000
# Calls begun ahead of the oldest that is not answered yet, for each that may be under way.
_AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing to ask: a conversation, and the record that the answer must be."""

    tag: str  # of the caller's choice; comes back with the reply
    messages: tuple[Message, ...]
    schema: type[BaseModel]
    temperature: float = 0.7
    max_tokens: int = 1024
    sample: int = 0  # another number asks for another answer to the same request
    before_sending: Callable[[], Awaitable[None]] | None = None  # awaited unless the ledger has the answer


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for a request: a record, or the reason why there is none."""

    request: Request
    record: BaseModel | None
    problem: str = ""
    raw: str = ""
    calls: tuple[str, ...] = ()  # keys in the ledger, in order


Ask = Callable[[Request], Awaitable[Reply]]


class _Ready(Record):
    ready: bool
    colour: str


@dataclass
class Teacher:
    """A remote model that fills in records."""

    endpoint: Endpoint
    ledger: Ledger
    concurrency: int = 64
    timeout_s: float = 600.0
    retries: int = 4
    patience_s: float = 1_800.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    masker: Masker | None = None
    calls: CallCounts = field(default_factory=CallCounts)

    def __post_init__(self) -> None:
        silence_libraries()
        self.price = find_price(self.endpoint)
        self.mode: Mode | None = None  # known once the endpoint was probed
        self.modes: dict[str, Mode] = {}  # by schema: the most exact form in which a record came
        self.quirks: set[str] = set()  # parameters that the endpoint does not take
        self.pacer = Pacer(
            most=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.endpoint.model

    @property
    def ahead(self) -> int:
        """How many pieces of work may be begun at once."""
        return _AHEAD * self.concurrency

    def run(
        self, work: Callable[[Ask], AsyncIterator[ResultT]], *, dataset: str = "", budget: Budget | None = None
    ) -> Iterator[ResultT]:
        """Let `work` ask, and yield what it yields.

        Args:
            work: An asynchronous iterator over whatever it makes of the replies.
            dataset: What the calls are for; the ledger keeps it.
            budget: What may be spent; no cap if not given.

        Raises:
            LLMError: The endpoint cannot be used; what had been answered is stored.
            BudgetError: A cap is reached; likewise.
        """

        async def main() -> AsyncIterator[ResultT]:
            async with Transport(self.endpoint, timeout_s=self.timeout_s, connections=self.concurrency) as transport:
                sender = self._sender(transport, dataset, budget or Budget())
                try:
                    async with closing(work(_Run(self, sender).ask)) as results:
                        async for result in results:
                            yield result
                finally:
                    await sender.finish()

        return iterate(main)

    def ask(self, requests: Iterable[Request], *, dataset: str = "", budget: Budget | None = None) -> Iterator[Reply]:
        """Ask everything, many at a time, and yield the replies in the order of the requests.

        Requests are drawn as places become free, so a caller that stops iterating has paid
        for little more than it used.

        Raises:
            LLMError: The endpoint cannot be used; what had been answered is stored.
            BudgetError: A cap is reached; likewise.
        """
        return self.run(
            lambda ask: ordered(each(requests), ask, ahead=self.ahead),
            dataset=dataset,
            budget=budget,
        )

    def _sender(self, transport: Transport, dataset: str, budget: Budget) -> Sender:
        return Sender(
            transport=transport,
            ledger=self.ledger,
            pacer=self.pacer,
            budget=budget,
            counts=self.calls,
            price=self.price,
            model=self.name,
            dataset=dataset,
            retries=self.retries,
            patience_s=self.patience_s,
        )


class _Run:
    """What is asked in one run: the form of requests, and corrections."""

    def __init__(self, teacher: Teacher, sender: Sender) -> None:
        self._teacher = teacher
        self._sender = sender
        self._probing = asyncio.Lock()

    async def ask(self, request: Request) -> Reply:
        """Ask until there is a record: as it comes, corrected twice at most, then afresh."""
        if self._teacher.mode is None:
            async with self._probing:
                if self._teacher.mode is None:
                    self._teacher.mode = await self._probe()
        masker = self._teacher.masker
        masked = tuple(
            message if masker is None else message.model_copy(update={"content": masker.mask(message.content)})
            for message in request.messages
        )
        sent = dataclasses.replace(request, messages=masked)
        keys: list[str] = []
        for sample, corrections in ((request.sample, _CORRECTIONS), (request.sample + _FRESH, 0)):
            reply = await self._ask_once(sent, sample, corrections, keys)
            if reply.record is not None or not keys:
                break
        self._teacher.calls.failed += reply.record is None
        record = reply.record
        if record is not None and masker is not None:
            # From all messages at once: what a placeholder stands for may be a placeholder itself.
            sources = [message.content for message in request.messages]
            record = _restored(record, functools.partial(masker.restore, source=sources))
        return Reply(request=request, record=record, problem=reply.problem, raw=reply.raw, calls=tuple(keys))

    async def _ask_once(self, request: Request, sample: int, corrections: int, keys: list[str]) -> Reply:
        messages, max_tokens = request.messages, request.max_tokens
        for correction in range(corrections + 1):
            call = await self._call(messages, request, sample, max_tokens)
            if isinstance(call, Failure):
                return Reply(request=request, record=None, problem=str(call.error))
            keys.append(call.key)
            self._teacher.calls.corrected += correction > 0
            try:
                return Reply(request=request, record=parse_reply(call.response, request.schema), raw=call.response)
            except LLMOutputError as error:
                reply = Reply(request=request, record=None, problem=str(error), raw=call.response)
            if call.finish == "length":
                max_tokens *= 2  # it was cut: the same again, with more room
            else:
                messages = (*request.messages, *_correction(call.response, reply.problem, request.schema))
        return reply

    async def _call(
        self, messages: tuple[Message, ...], request: Request, sample: int, max_tokens: int
    ) -> Call | Failure:
        said = [message.model_dump() for message in messages]
        key = call_key(self._teacher.name, [said, json_schema(request.schema), request.temperature, max_tokens, sample])
        stored = self._teacher.ledger.find([key]).get(key)
        if stored is not None:
            self._teacher.calls.cached += 1
            return stored
        if request.before_sending is not None:
            await request.before_sending()
        name = request.schema.__name__
        mode = self._teacher.modes.get(name, self._teacher.mode or Mode.PLAIN)
        while True:
            parameters = self._parameters(request.temperature, max_tokens)
            body = {"model": self._teacher.name, "messages": said, **parameters, **request_form(mode, request.schema)}
            outcome = await self._sender.send(body, key, max_tokens)
            if isinstance(outcome, Call):
                self._teacher.modes[name] = min(mode, self._teacher.modes.get(name, mode), key=list(Mode).index)
                return outcome
            if outcome.status not in REFUSED:
                return outcome
            self._learn_quirk(outcome)
            if parameters != self._parameters(request.temperature, max_tokens):
                continue  # what was refused is known by now, from this refusal or from another
            if mode is Mode.PLAIN or self._teacher.modes.get(name) is mode:  # not the form is refused
                if not self._sender.last_success:
                    raise outcome.error
                return outcome
            mode = _next_mode(mode)  # it takes the probe's schema in this form, but not this one

    async def _probe(self) -> Mode:
        """Return the most exact form in which the endpoint gives a record."""
        prompt = load_prompt("probe")
        said = [message.model_dump() for message in to_messages(prompt)]
        max_tokens = prompt.defaults["max_tokens"]
        for mode in (Mode.SCHEMA, Mode.OBJECT, Mode.TOOL):
            key = call_key(self._teacher.name, ["probe", mode, said, self._teacher.endpoint.url])
            call: Call | Failure | None = self._teacher.ledger.find([key]).get(key)
            while call is None:
                parameters = self._parameters(prompt.defaults["temperature"], max_tokens)
                body = {"model": self._teacher.name, "messages": said, **parameters, **request_form(mode, _Ready)}
                call = await self._sender.send(body, key, max_tokens)
                if isinstance(call, Failure) and self._learn_quirk(call):
                    call = None
            if isinstance(call, Call) and _is_ready(call.response):
                return mode
        return Mode.PLAIN

    def _parameters(self, temperature: float, max_tokens: int) -> dict[str, Any]:
        """Return the sampling parameters in the names that the endpoint knows."""
        longest = "max_completion_tokens" if "max_tokens" in self._teacher.quirks else "max_tokens"
        return {longest: max_tokens} | ({} if "temperature" in self._teacher.quirks else {"temperature": temperature})

    def _learn_quirk(self, failure: Failure) -> bool:
        """Whether an endpoint refused a parameter that can be said otherwise, or left out."""
        message = str(failure.error)
        for name, sign in (("max_tokens", "max_completion_tokens"), ("temperature", "temperature")):
            if failure.status in REFUSED and sign in message and name not in self._teacher.quirks:
                self._teacher.quirks.add(name)
                return True
        return False


def _next_mode(mode: Mode) -> Mode:
    modes = list(Mode)
    return modes[min(modes.index(mode) + 1, len(modes) - 1)]


def _is_ready(response: str) -> bool:
    try:
        parse_reply(response, _Ready)
    except LLMOutputError:
        return False
    return True


def _correction(said: str, problem: str, schema: type[BaseModel]) -> tuple[Message, ...]:
    wanted = json.dumps(json_schema(schema), ensure_ascii=False)
    asked = to_messages(load_prompt("correct_json"), errors=problem, schema=wanted)
    return (Message(role="assistant", content=said[:_SHOWN_BACK]), *asked)


def _restored(record: BaseModel, restore: Callable[[str], str]) -> BaseModel:
    """Return the record with `restore` applied to every text in it.

    It is not validated again: what was private may be longer than what stood for it, and the
    limits on lengths are there for the model.
    """

    def through(value: object) -> object:
        if type(value) is str:
            return restore(value)
        if isinstance(value, BaseModel):
            return _restored(value, restore)
        if isinstance(value, dict):
            return {name: through(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(through, value))
        return value

    return record.model_copy(update={name: through(value) for name, value in record})
