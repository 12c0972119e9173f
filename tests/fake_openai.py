"""An OpenAI-compatible server in this process: it says what a test scripts, and records what it is asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_MODELS = ("fake-model",)
_PROBE = "Reply with this JSON object and nothing else"
PROBED = '{"ready": true, "colour": "blue"}'
_UNSCRIPTED = {"x-should-retry": "false"}  # the client gives up at once, and the test soon fails


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool that the fake model wants called."""

    name: str
    arguments: Mapping[str, object] | str = field(default_factory=dict)  # as text: sent as it stands
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server does with one call: by default it answers it well."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tokens_in: int = 100
    tokens_out: int = 20
    delay_s: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None  # sent in place of a chat completion
    content_type: str = "application/json"
    is_cut: bool = False  # the connection is closed half-way
    is_too_long: bool = False  # the model was stopped at the longest answer that was allowed


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One call as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    json: dict[str, Any]


Responder = Callable[[Recorded], Reply | str]


def refused(status: int, message: str = "no", **headers: str) -> Reply:
    """Return the reply of a server that refuses; a header's hyphens are written as underscores."""
    return Reply(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=json.dumps({"error": {"message": message, "type": "fake", "code": status}}),
    )


class FakeOpenAI:
    """Serves `/v1/chat/completions`, plain and streamed, `/v1/models`, and `/v1/embeddings` by replies with a body.

    A call takes the next of `replies`: a text, a `Reply`, or a function of the call. When
    they are used up, `respond` answers, if it is set; any other call is unscripted.
    """

    def __init__(self) -> None:
        self.replies: deque[Reply | str | Responder] = deque()
        self.respond: Responder | None = None
        self.answers_probes = True  # by itself, and without recording them
        self.requests: list[Recorded] = []
        self.unscripted: list[Recorded] = []
        self.faults: list[BaseException] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="fake-openai", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Base URL to give to a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def take(self, request: Recorded) -> Reply:
        """Record a call and return what to do with it."""
        if self.answers_probes and _PROBE in json.dumps(request.json.get("messages", "")):
            return Reply(text=PROBED, tokens_in=0, tokens_out=0)
        with self._lock:
            self.requests.append(request)
            scripted = self.replies.popleft() if self.replies else self.respond
        if scripted is None:
            self.unscripted.append(request)
            return refused(501, "this call was not scripted", **_UNSCRIPTED)
        given = scripted(request) if callable(scripted) else scripted
        return Reply(text=given) if isinstance(given, str) else given

    def close(self) -> None:
        """Stop serving; a slow reply is not waited for."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def check(self) -> None:
        """Fail where the script and the calls did not match."""
        assert not self.faults, f"the fake server itself failed: {self.faults}"
        assert not self.unscripted, f"{len(self.unscripted)} calls were not scripted: {self.unscripted}"
        assert not self.replies, f"{len(self.replies)} replies were not used: {list(self.replies)}"


@pytest.fixture
def fake_openai() -> Iterator[FakeOpenAI]:
    """A fake endpoint whose script must come true to the letter."""
    server = FakeOpenAI()
    yield server
    server.close()
    server.check()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # many clients connect at once

    def __init__(self, fake: FakeOpenAI) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a client that has gone away: some tests are about that."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for an acknowledgement
    server: _Server

    def do_GET(self) -> None:
        """List the models."""
        if self.path == "/v1/models":
            models = [{"id": name, "object": "model", "owned_by": "tests"} for name in _MODELS]
            self._send(Reply(body=json.dumps({"object": "list", "data": models})))
        else:
            self._send(refused(404, f"no such path: {self.path}"))

    def do_POST(self) -> None:
        """Answer a chat completion as scripted."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path not in ("/v1/chat/completions", "/v1/embeddings"):
            self._send(refused(404, f"no such path: {self.path}"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Recorded(path=self.path, headers=headers, json=json.loads(body))
        try:
            reply = self.server.fake.take(request)
        except Exception as error:
            self.server.fake.faults.append(error)
            raise
        self.server.fake.closing.wait(reply.delay_s)
        if reply.body is None and request.json.get("stream"):
            self._stream(reply)
        else:
            self._send(reply)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _send(self, reply: Reply) -> None:
        data = (json.dumps(_completion(reply)) if reply.body is None else reply.body).encode()
        self._head(reply, {"Content-Type": reply.content_type, "Content-Length": str(len(data))})
        self.wfile.write(data[: len(data) // 2] if reply.is_cut else data)
        self.close_connection = self.close_connection or reply.is_cut

    def _stream(self, reply: Reply) -> None:
        self._head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        events = [json.dumps(event) for event in _stream_events(reply)]
        for event in events[: len(events) // 2] if reply.is_cut else [*events, "[DONE]"]:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        if not reply.is_cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.close_connection or reply.is_cut

    def _head(self, reply: Reply, headers: Mapping[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _completion(reply: Reply) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = [_call(number, call) for number, call in enumerate(reply.tool_calls)]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": _MODELS[0],
        "choices": [{"index": 0, "message": message, "finish_reason": _reason(reply)}],
        "usage": _usage(reply),
    }


def _stream_events(reply: Reply) -> Iterator[dict[str, object]]:
    """Yield the events of a streamed completion: the text word by word, then each tool call in two pieces."""
    yield _event({"role": "assistant", "content": ""})
    for number, word in enumerate(reply.text.split(" ") if reply.text else ()):
        yield _event({"content": word if number == 0 else f" {word}"})
    for number, call in enumerate(reply.tool_calls):
        whole = _call(number, call)
        arguments = whole["function"]["arguments"]
        half = len(arguments) // 2
        whole["function"]["arguments"] = arguments[:half]
        yield _event({"tool_calls": [{"index": number, **whole}]})
        yield _event({"tool_calls": [{"index": number, "function": {"arguments": arguments[half:]}}]})
    yield _event({}, finish_reason=_reason(reply))
    yield {**_event({}), "choices": [], "usage": _usage(reply)}


def _event(delta: dict[str, object], *, finish_reason: str | None = None) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": _MODELS[0],
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _call(number: int, call: ToolCall) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return {
        "id": call.id or f"call-{number}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def _reason(reply: Reply) -> str:
    if reply.is_too_long:
        return "length"
    return "tool_calls" if reply.tool_calls else "stop"


def _usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.tokens_in,
        "completion_tokens": reply.tokens_out,
        "total_tokens": reply.tokens_in + reply.tokens_out,
    }
