"""An OpenAI-compatible endpoint on loopback that answers at once, and fails on demand.

`python -m benchmarks.mock_endpoint --latency-ms 500` prints its port. What it answers depends
on the messages and the schema alone, and which calls fail on the body and on how often it
has come, so that a run can be repeated. It ends with whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from http import HTTPStatus
from pathlib import Path

from benchmarks.mock_answers import content_for

_MODEL = "mock"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the endpoint treats its callers."""

    latency_ms: float = 0.0  # from the arrival of a call to its answer
    failing_share: float = 0.0  # answered with 500
    limited_share: float = 0.0  # answered with 429
    cut_share: float = 0.0  # cut off in the middle of the answer
    broken_share: float = 0.0  # half of the JSON that was asked for, in a whole answer
    retry_after_s: float = -1.0  # told with each 429; not told below zero
    rate_limit: float = 0.0  # calls/s beyond which it answers 429; 0 is none
    max_in_flight: int = 0  # calls under way beyond which it answers 429; 0 is none
    slots: int = 0  # calls worked on at a time, while the others wait; 0 is all
    stall_at: int = 0  # number of the call with which it falls silent, once
    stall_s: float = 0.0  # for how long; what was under way waits too


class Endpoint:
    """The state of the endpoint: what has come, what is under way, and what comes next."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.in_flight = 0
        self._counts: Counter[str] = Counter()
        self._came: Counter[bytes] = Counter()
        self._answered: set[bytes] = set()
        self._free_at = [0.0] * behaviour.slots  # when each slot is free, soonest first after sorting
        self._tokens = 1.0  # of the bucket that holds the rate limit
        self._filled_at = 0.0
        self._silent_until = 0.0
        self._most_in_flight = 0

    def stats(self) -> dict[str, int | float]:
        """Return what was counted since the start.

        `bodies` are the different ones that were let in, `repeated` those let in before, and
        `repeated_after_answer` those answered before, which nobody should pay for again.
        """
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "calls": 0,
            "answered": 0,
            **self._counts,
            "most_in_flight": self._most_in_flight,
            "bodies": len(self._came),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        }

    def take(self, body: bytes, *, now: float) -> tuple[bytes, float, bool]:
        """Take a call; return its answer, when it is due, and whether the connection is cut."""
        key = hashlib.blake2b(body, digest_size=16).digest()
        self._counts["calls"] += 1
        if self._counts["calls"] == self.behaviour.stall_at:
            self._silent_until = now + self.behaviour.stall_s
        if not self._admits(now):
            return self._refusal(), now, False
        self._count(key)
        due = self._due(now)
        fate = self._fate(key)
        if fate in ("failing", "limited", "cut"):
            return self._spoilt(fate, body), due, fate == "cut"
        self._answered.add(key)
        self._counts["answered"] += 1
        self._counts["broken"] += fate == "broken"
        return self._completion(body, broken=fate == "broken"), due, False

    def silent_for(self, now: float) -> float:
        """Return for how many seconds nothing may leave."""
        return self._silent_until - now

    def _fate(self, key: bytes) -> str:
        """Return what goes wrong with a call, drawn by its body and by how often that has come."""
        drawn = random.Random(key + self._came[key].to_bytes(4)).random()
        for name in ("failing", "limited", "cut", "broken"):
            drawn -= getattr(self.behaviour, f"{name}_share")
            if drawn < 0:
                return name
        return ""

    def _count(self, key: bytes) -> None:
        self._counts["repeated"] += key in self._came
        self._counts["repeated_after_answer"] += key in self._answered
        self._came[key] += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight + 1)

    def _admits(self, now: float) -> bool:
        limit, rate = self.behaviour.max_in_flight, self.behaviour.rate_limit
        if limit and self.in_flight >= limit:
            return False
        if rate:
            # A bucket of a tenth of a second: a burst that the average allows is no storm.
            self._tokens = min(max(1.0, rate / 10), self._tokens + (now - self._filled_at) * rate)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        return True

    def _due(self, now: float) -> float:
        latency_s = self.behaviour.latency_ms / 1000
        if not self._free_at:
            return now + latency_s
        self._free_at.sort()
        self._free_at[0] = max(now, self._free_at[0]) + latency_s
        return self._free_at[0]

    def _spoilt(self, name: str, body: bytes) -> bytes:
        if name == "limited":
            return self._refusal()
        self._counts[name] += 1
        if name == "failing":
            return _response(500, {"error": {"message": "the mock fails as it was told", "type": "server_error"}})
        return self._completion(body)[:-40]

    def _refusal(self) -> bytes:
        self._counts["limited"] += 1
        wait = self.behaviour.retry_after_s
        headers = f"retry-after: {wait:g}\r\n" if wait >= 0 else ""
        return _response(429, {"error": {"message": "Rate limit reached", "type": "rate_limit_error"}}, headers)

    def _completion(self, body: bytes, *, broken: bool = False) -> bytes:
        try:
            asked = json.loads(body)
            content = content_for(asked)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            return _response(400, {"error": {"message": f"not understood: {error!r}", "type": "invalid_request_error"}})
        content = content[: len(content) // 2] if broken else content
        sent, made = max(1, len(body) // 4), max(1, len(content) // 4)
        return _response(
            200,
            {
                "id": f"chatcmpl-{self._counts['calls']}",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": asked.get("model", _MODEL),
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made},
            },
        )


def _response(status: int, value: object, headers: str = "") -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection that is kept alive: requests in, answers out."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Read as many whole requests as there are."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            size = _body_size(head)
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if method == b"POST" and path.endswith(b"/chat/completions"):
            self._call(body)
        elif path.endswith(b"/models"):
            self._transport.write(_response(200, {"object": "list", "data": [{"id": _MODEL, "object": "model"}]}))
        elif path == b"/stats":
            self._transport.write(_response(200, self._endpoint.stats()))
        else:
            self._transport.write(_response(404, {"error": {"message": "no such path"}}))

    def _call(self, body: bytes) -> None:
        now = self._loop.time()
        answer, due, is_cut = self._endpoint.take(body, now=now)
        if due <= now and self._endpoint.silent_for(now) <= 0:
            self._send(answer, is_cut)
            return
        self._endpoint.in_flight += 1
        self._loop.call_at(due, self._finish, answer, is_cut)

    def _finish(self, answer: bytes, is_cut: bool) -> None:
        silent_s = self._endpoint.silent_for(self._loop.time())
        if silent_s > 0:
            self._loop.call_later(silent_s, self._finish, answer, is_cut)
            return
        self._endpoint.in_flight -= 1
        self._send(answer, is_cut)

    def _send(self, answer: bytes, is_cut: bool) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        if is_cut:
            self._transport.close()


def _body_size(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(behaviour: Behaviour, *, port: int) -> None:
    """Serve on loopback and print the port, until the process that started this is gone."""
    parent = os.getppid()
    endpoint = Endpoint(behaviour)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(endpoint), "127.0.0.1", port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    while os.getppid() == parent:
        await asyncio.sleep(1)


@dataclass(frozen=True)
class Mock:
    """An endpoint that runs in a process of its own."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Base URL, ending in /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, float]:
        """Return what it has counted."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            counted: dict[str, float] = json.load(answer)
        return counted


@contextmanager
def running_mock(behaviour: Behaviour, *, port: int = 0) -> Iterator[Mock]:
    """Run an endpoint in a child process; it ends with the block."""
    told = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(behaviour).items()]
    command = [sys.executable, "-m", "benchmarks.mock_endpoint", f"--port={port}", *told]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as child:
        try:
            assert child.stdout is not None
            yield Mock(int(child.stdout.readline()), child.pid)
        finally:
            child.terminate()


def main(arguments: list[str]) -> None:
    """Read the behaviour from the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    for each in fields(Behaviour):
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=type(each.default), default=each.default)
    chosen = vars(parser.parse_args(arguments))
    port = chosen.pop("port")
    asyncio.run(serve(Behaviour(**chosen), port=port))


if __name__ == "__main__":
    main(sys.argv[1:])
