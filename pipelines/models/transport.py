"""One call to an OpenAI-compatible endpoint: sent, and its outcome told apart.

The key goes to the endpoint it was given for and nowhere else: redirects are not followed,
and nothing is taken from the environment but a proxy.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from pipelines.errors import LLMConnectionError, LLMError, LLMOutputError, SettingsError
from pipelines.models.endpoint_errors import Role, of_status, without_key
from pipelines.settings import PREFIX, Endpoint, is_local

_THROTTLED = (429, 503, 529)
_PASSING = (408, 409, 425, 500, 502, 504, *_THROTTLED)
_CONNECT_S = 30.0
_LONGEST_ERROR, _SHOWN = 4_000, 120


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said."""

    text: str
    tokens_in: int
    tokens_out: int
    is_cut: bool  # it reached the longest answer that was allowed


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there is no answer.

    Attributes:
        error: What a person should see if this is the end.
        is_passing: It may be gone when tried again.
        is_throttled: The endpoint asks for fewer calls.
        is_late: No answer came in time, perhaps because too many calls wait at the endpoint.
        retry_after_s: How long the endpoint wants to be left alone; None if it does not say.
        status: HTTP status; 0 where none came.
    """

    error: LLMError
    is_passing: bool = False
    is_throttled: bool = False
    is_late: bool = False
    retry_after_s: float | None = None
    status: int = 0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rates that an endpoint tells in its headers."""

    requests_per_minute: float | None
    tokens_per_minute: float | None


class Transport:
    """Open connections to one endpoint, for one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float,
        connections: int,
        role: Role = "teacher",
        route: str = "chat/completions",
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._role: Role = role
        self._url = f"{endpoint.url}/{route}"
        key = endpoint.key.get_secret_value()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=30),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_S, timeout_s)),
            proxy=_proxy(endpoint),
        )
        self.limits: Limits | None = None

    async def __aenter__(self) -> Transport:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, body: Mapping[str, Any]) -> Answer | Failure:
        """Ask for one chat completion; whatever happens comes back as its outcome."""
        said = await self.send(body)
        return said if isinstance(said, Failure) else self._read(said)

    async def send(self, body: Mapping[str, Any]) -> bytes | Failure:
        """Send one call; return what came back, or why nothing did."""
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as response:
                text = await response.read()
                if response.status != 200:
                    return self._refused(response.status, response.headers, text)
                self._learn(response.headers)
        except TimeoutError:
            return self._lost(f"{self._endpoint.url} did not answer within {self._timeout_s:g} s", is_slow=True)
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return self._lost(f"cannot reach {self._endpoint.url}: {error or type(error).__name__}", is_slow=False)
        except RuntimeError as error:
            if "connection closed" not in str(error).lower():  # aiohttp's, where it closes while a call is written
                raise
            return self._lost(f"cannot reach {self._endpoint.url}: {error}", is_slow=False)
        return text

    def _read(self, data: bytes) -> Answer | Failure:
        try:
            completion = json.loads(data)
            choice = completion["choices"][0]
            message = choice["message"]
            said = _tool_arguments(message) or message.get("content") or ""
            usage = completion.get("usage") or {}
            if not isinstance(said, str):
                raise TypeError("the content is no text")
            return Answer(
                # Half of a character that a server cut in two can neither be stored nor be parsed.
                text=said.encode("utf-8", "replace").decode(),
                tokens_in=int(usage.get("prompt_tokens") or 0),
                tokens_out=int(usage.get("completion_tokens") or 0),
                is_cut=choice.get("finish_reason") == "length",
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            shown = without_key(data[:_SHOWN].decode("utf-8", "replace"), self._endpoint)
            return Failure(
                error=LLMOutputError(
                    f"{self._endpoint.url} answered, but not with a chat completion: {shown!r}",
                    raw=shown,
                    endpoint=self._endpoint.url,
                    model=self._endpoint.model,
                    hint="Is this the base URL of an OpenAI-compatible API? It usually ends in /v1.",
                ),
                is_passing=True,  # some say so that a server behind them failed
                status=200,
            )

    def _refused(self, status: int, headers: Mapping[str, str], data: bytes) -> Failure:
        body = data[:_LONGEST_ERROR].decode("utf-8", "replace")
        return Failure(
            error=of_status(status, _message(body), self._endpoint, role=self._role, body=body),
            is_passing=status in _PASSING,
            is_throttled=status in _THROTTLED,
            retry_after_s=_retry_after_s(headers),
            status=status,
        )

    def _lost(self, message: str, *, is_slow: bool) -> Failure:
        hint = (
            "Choose a faster model, or set a longer wait (ASSISTANT_TEACHER_TIMEOUT_S)."
            if is_slow
            else f"Is the server running? Check {PREFIX}{self._role.upper()}_URL."
        )
        error = LLMConnectionError(message, endpoint=self._endpoint.url, model=self._endpoint.model, hint=hint)
        return Failure(error=error, is_passing=True, is_late=is_slow)

    def _learn(self, headers: Mapping[str, str]) -> None:
        if self.limits is None:
            self.limits = Limits(
                requests_per_minute=_number(headers.get("x-ratelimit-limit-requests")),
                tokens_per_minute=_number(headers.get("x-ratelimit-limit-tokens")),
            )


def _proxy(endpoint: Endpoint) -> str | None:
    """Return the proxy that the environment names for an address, once and not for every call.

    What goes to a model on this machine does not leave it.
    """
    parts = urlsplit(endpoint.url)
    if is_local(endpoint) or urllib.request.proxy_bypass(parts.netloc):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is None or proxy.startswith(("http://", "https://")):
        return proxy
    if "://" not in proxy:
        return f"http://{proxy}"
    raise SettingsError(
        f"the proxy for {endpoint.url} is not one for HTTP",
        hint=f"Set {parts.scheme}_proxy to an address that starts with http://, or name the endpoint in no_proxy.",
    )


def _tool_arguments(message: Mapping[str, Any]) -> object:
    calls = message.get("tool_calls") or []
    return calls[0]["function"]["arguments"] if calls else None


def _message(body: str) -> str:
    """Return what an endpoint says in the body of a refusal."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return body.strip()[:200]


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that a refusal asks for, in seconds or as a date (RFC 9110, section 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None
