"""A teacher behind an OpenAI-compatible endpoint, asked many things at once.

Every answer is stored in the ledger before it is parsed. The key goes to the endpoint it
was given for and nowhere else: the client takes nothing from the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from pydantic import BaseModel, ValidationError

from pipelines.errors import LLMError, LLMOutputError
from pipelines.lazy import silence_libraries
from pipelines.models.endpoint_errors import wrap_endpoint_error
from pipelines.models.ledger import Call, CallCounts, Ledger, call_key
from pipelines.records import Message
from pipelines.settings import Endpoint

_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One thing to ask: a conversation, and the record that the answer must be."""

    tag: str  # of the caller's choice; comes back with the reply
    messages: tuple[Message, ...]
    schema: type[BaseModel]
    temperature: float = 0.7
    max_tokens: int = 1024
    sample: int = 0  # another number asks for another answer to the same request


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for a request: a record, or the reason why there is none."""

    request: Request
    record: BaseModel | None
    problem: str = ""
    raw: str = ""


@dataclass
class Teacher:
    """A remote model that fills in records."""

    endpoint: Endpoint
    ledger: Ledger
    concurrency: int = 4
    timeout_s: float = 600.0
    retries: int = 4
    calls: CallCounts = field(default_factory=CallCounts)

    def __post_init__(self) -> None:
        silence_libraries()
        self._client = openai.OpenAI(
            base_url=self.endpoint.url,
            api_key=self.endpoint.key.get_secret_value() or "none",
            organization="",
            project="",
            timeout=self.timeout_s,
            max_retries=self.retries,
        )
        self._plain = False  # set once the endpoint has refused a schema

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.endpoint.model

    def ask(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Ask everything, a few at a time, and yield the replies as they arrive.

        Requests are drawn one by one as places become free, so a caller that stops
        iterating has paid for little more than it used.

        Raises:
            LLMError: The endpoint cannot be used; what had been answered is stored.
        """
        source = iter(requests)
        under_way: set[Future[Reply]] = set()
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    while len(under_way) < self.concurrency and (request := next(source, None)):
                        under_way.add(pool.submit(self._answer, request))
                    if not under_way:
                        return
                    done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, request: Request) -> Reply:
        key = call_key(f"{self.endpoint.url} {self.name}", _canonical(request))
        stored = self.ledger.find([key]).get(key)
        if stored is None:
            stored = self._call(request, key)
            self.ledger.store([stored])
            self.calls.sent += 1
            self.calls.tokens_in += stored.tokens_in
            self.calls.tokens_out += stored.tokens_out
        else:
            self.calls.cached += 1
        try:
            return Reply(request=request, record=parse_reply(stored.response, request.schema), raw=stored.response)
        except LLMOutputError as error:
            self.calls.failed += 1
            return Reply(request=request, record=None, problem=str(error), raw=stored.response)

    def _call(self, request: Request, key: str) -> Call:
        completion = self._send(request)
        content = _content(completion)
        if content is None:
            raise LLMOutputError(
                f"{self.endpoint.url} answered, but not with a chat completion: {str(completion)[:120]!r}",
                raw=str(completion),
                endpoint=self.endpoint.url,
                model=self.name,
                hint="Is this the base URL of an OpenAI-compatible API? It usually ends in /v1.",
            )
        usage = getattr(completion, "usage", None)
        return Call(
            key=key,
            model=self.name,
            response=content,
            tokens_in=getattr(usage, "prompt_tokens", None) or 0,
            tokens_out=getattr(usage, "completion_tokens", None) or 0,
        )

    def _send(self, request: Request) -> object:
        arguments: dict[str, Any] = {
            "model": self.name,
            "messages": [message.model_dump() for message in request.messages],
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
        }
        is_plain = self._plain  # as it is now: another thread may find out meanwhile
        if not is_plain:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": request.schema.__name__, "schema": request.schema.model_json_schema()},
            }
        try:
            return self._client.chat.completions.create(**arguments)
        except openai.BadRequestError as error:
            if is_plain:
                raise self._wrap(error) from error
            # Some servers know no schemas; the prompt describes the form as well.
            self._plain = True
            return self._send(request)
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise self._wrap(error) from error

    def _wrap(self, error: Exception) -> LLMError:
        return wrap_endpoint_error(error, self.endpoint, role="teacher", timeout_s=self.timeout_s, retries=self.retries)


def _content(completion: object) -> str | None:
    """Return what a chat completion says; None where it is none."""
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        return None
    message = getattr(completion.choices[0], "message", None)
    if not isinstance(message, ChatCompletionMessage):
        return None
    content = message.content or ""
    # Half of a character that a server cut in two can neither be stored nor be parsed.
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else None


def parse_reply(raw: str, schema: type[BaseModel]) -> BaseModel:
    """Read the record out of a model's reply.

    Thinking blocks, fences and words around the JSON object are passed over.

    Raises:
        LLMOutputError: There is no such record in it.
    """
    text = _THINKING.sub("", raw)
    start, end = text.find("{"), text.rfind("}")
    try:
        return schema.model_validate_json(text[start : end + 1] if start >= 0 else text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the reply"
        raise LLMOutputError(f"expected {schema.__name__}: {where}: {problem['msg']}", raw=raw) from error


def _canonical(request: Request) -> object:
    return [
        [message.model_dump() for message in request.messages],
        request.schema.model_json_schema(),
        request.temperature,
        request.max_tokens,
        request.sample,
    ]
