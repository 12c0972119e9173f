"""The teacher's client on the wire: what is sent, what comes back, and everything that goes wrong."""

from __future__ import annotations

import itertools
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, SecretStr

from pipelines.errors import (
    AssistantError,
    BudgetError,
    DataError,
    LLMConnectionError,
    LLMError,
    LLMOutputError,
    LLMStatusError,
    RateLimitError,
    SettingsError,
)
from pipelines.models import sender
from pipelines.models.budget import Budget
from pipelines.models.ledger import Ledger
from pipelines.models.provider import Models
from pipelines.models.structured import Mode
from pipelines.models.teacher import Ask, Request, Teacher
from pipelines.models.teacher import Reply as AskedReply
from pipelines.privacy.mask import Masker
from pipelines.records import Message, Record, Subtopics
from pipelines.settings import Endpoint, load_settings
from tests.fake_openai import PROBED, FakeOpenAI, Recorded, Reply, ToolCall, refused

KEY = "sk-tests-only-7f3a"
GOOD = '{"subtopics": ["Hives", "Honey"]}'
SOON = {"retry_after_ms": "1"}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are short."""
    monkeypatch.setattr(sender, "_FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(sender, "_LONGEST_PAUSE_S", 0.02)


def request(tag: str = "bees", *, sample: int = 0) -> Request:
    """Return something to ask."""
    messages = (Message(role="user", content=f"Divide: {tag}"),)
    return Request(tag=tag, messages=messages, schema=Subtopics, sample=sample)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    opened = Ledger(tmp_path / "calls.sqlite")
    yield opened
    opened.close()


def teacher_at(
    url: str,
    ledger: Ledger,
    *,
    key: str = KEY,
    mode: Mode | None = Mode.SCHEMA,
    concurrency: int = 1,
    retries: int = 0,
    timeout_s: float = 5.0,
    patience_s: float = 1.5,
    **more: Any,
) -> Teacher:
    """Return a teacher at an address, which asks one thing at a time; without a mode it probes."""
    endpoint = Endpoint(url=url, model="fake-model", key=SecretStr(key), **more.pop("prices", {}))
    teacher = Teacher(
        endpoint,
        ledger,
        concurrency=concurrency,
        retries=retries,
        timeout_s=timeout_s,
        patience_s=patience_s,
        **more,
    )
    teacher.mode = mode
    return teacher


def stored_bytes(folder: Path) -> bytes:
    """Return all that the ledger has written."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("calls.sqlite*")))


def no_thread_is_left() -> bool:
    """Whether the threads of all runs have ended."""
    return not [thread for thread in threading.enumerate() if thread.name == "calls"]


def said(error: BaseException) -> str:
    """Return everything that an error could show."""
    return " ".join([str(error), repr(error), *(str(value) for value in vars(error).values())])


# ---- a good answer


def test_answer_is_a_record(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A good answer comes back as the record that was asked for, with its tag."""
    fake_openai.replies.append(GOOD)
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert reply.record == Subtopics(subtopics=("Hives", "Honey"))
    assert (reply.request.tag, reply.problem, reply.raw) == ("bees", "", GOOD)


def test_request_on_the_wire(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """The model, the messages, the sampling and the record's schema are sent."""
    fake_openai.replies.append(GOOD)
    list(teacher_at(fake_openai.url, ledger).ask([request()]))
    [sent] = fake_openai.requests
    assert sent.json == {
        "model": "fake-model",
        "messages": [{"role": "user", "content": "Divide: bees"}],
        "temperature": 0.7,
        "max_tokens": 1024,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "Subtopics", "schema": Subtopics.model_json_schema()},
        },
    }
    assert sent.headers["authorization"] == f"Bearer {KEY}"


def test_calls_and_tokens_are_counted(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Calls, tokens and replies that are no record are counted."""
    fake_openai.replies += [GOOD, *(Reply(text=f"no {number}", tokens_in=7, tokens_out=3) for number in range(4))]
    teacher = teacher_at(fake_openai.url, ledger)
    list(teacher.ask([request("a"), request("b")]))
    counts = teacher.calls
    assert (counts.sent, counts.cached, counts.corrected, counts.failed) == (5, 0, 2, 1)
    assert (counts.tokens_in, counts.tokens_out) == (128, 32)
    assert (counts.cost_usd, counts.unpriced) == (0, 0)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}])
def test_missing_usage(fake_openai: FakeOpenAI, ledger: Ledger, usage: object) -> None:
    """A server that does not say how many tokens it took is believed otherwise."""
    choice = {"index": 0, "message": {"role": "assistant", "content": GOOD}, "finish_reason": "stop"}
    fake_openai.replies.append(Reply(body=json.dumps({"id": "1", "choices": [choice], "usage": usage})))
    teacher = teacher_at(fake_openai.url, ledger)
    [reply] = teacher.ask([request()])
    assert reply.record is not None
    assert (teacher.calls.tokens_in, teacher.calls.tokens_out) == (0, 0)


def test_requests_are_drawn_as_places_become_free(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Who stops reading replies has paid for little more than it used."""
    fake_openai.respond = lambda _: GOOD
    replies = teacher_at(fake_openai.url, ledger).ask(request(str(number)) for number in range(10_000))
    next(replies)
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    assert len(fake_openai.requests) < 100
    assert no_thread_is_left()


def test_what_is_under_way_at_the_end_is_kept(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Who stops reading has the answers to what was sent stored all the same; nothing new is sent."""
    second_came = threading.Event()

    def respond(sent: Recorded) -> Reply:
        if "first" in json.dumps(sent.json):
            second_came.wait(5)
            return Reply(text=GOOD)
        second_came.set()
        return Reply(text=GOOD, delay_s=0.7)

    fake_openai.respond = respond
    teacher = teacher_at(fake_openai.url, ledger, concurrency=2)
    replies = teacher.ask([request("first"), request("second"), *(request(str(number)) for number in range(50))])
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    answered = len(fake_openai.requests)
    assert 2 <= answered <= 4
    assert ledger.usage()[0].calls == answered
    assert no_thread_is_left()


def test_replies_come_in_the_order_of_the_requests(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Whichever answer arrives first."""
    chance = random.Random(0)

    def respond(sent: Recorded) -> Reply:
        tag = sent.json["messages"][0]["content"]
        return Reply(text=json.dumps({"subtopics": [tag]}), delay_s=chance.uniform(0, 0.03))

    fake_openai.respond = respond
    tags = [str(number) for number in range(60)]
    replies = list(teacher_at(fake_openai.url, ledger, concurrency=16).ask(map(request, tags)))
    assert [reply.request.tag for reply in replies] == tags
    assert [reply.record for reply in replies] == [Subtopics(subtopics=(f"Divide: {tag}",)) for tag in tags]


# ---- the ledger


def test_repeated_request_is_not_sent(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """What was answered once is answered from the ledger, also for another client."""
    fake_openai.replies.append(GOOD)
    [first] = teacher_at(fake_openai.url, ledger).ask([request()])
    again = teacher_at(fake_openai.url, ledger)
    [second] = again.ask([request()])
    assert second.record == first.record
    assert (again.calls.sent, again.calls.cached, again.calls.tokens_in) == (0, 1, 0)


@pytest.mark.parametrize("other", [request("wasps"), request(sample=1)], ids=["message", "sample"])
def test_other_request_is_sent(fake_openai: FakeOpenAI, ledger: Ledger, other: Request) -> None:
    """Another message, or another sample of the same one, is another call."""
    fake_openai.replies += [GOOD, GOOD]
    list(teacher_at(fake_openai.url, ledger).ask([request(), other]))
    assert len(fake_openai.requests) == 2


def test_unusable_answer_is_stored(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An answer is stored before it is read, so nonsense is paid for once only."""
    fake_openai.replies += [f"I would rather not, {number}." for number in range(4)]
    teacher = teacher_at(fake_openai.url, ledger)
    [first], [second] = (list(teacher.ask([request()])) for _ in range(2))
    assert first == second
    assert (first.record, first.raw, len(first.calls)) == (None, "I would rather not, 3.", 4)
    assert (teacher.calls.sent, teacher.calls.cached) == (4, 4)


def test_a_model_that_answers_the_same_is_not_corrected_twice(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """The same words again, with the same errors, are the same call; only a fresh sample is left to pay for."""
    fake_openai.replies += ["no", "no", GOOD]
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert reply.record is not None


def test_a_second_run_is_the_same_and_sends_nothing(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Good, corrected, cut and useless answers all come out of the ledger as they did the first time."""
    answers = itertools.cycle([GOOD, "no idea", '{"subtopics": ["Hives", "Ho', Reply(text="{", is_too_long=True)])
    fake_openai.respond = lambda _: next(answers)
    requests = [request(str(number)) for number in range(30)]
    first = list(teacher_at(fake_openai.url, ledger, mode=None, concurrency=8).ask(requests, dataset="bees"))
    sent = len(fake_openai.requests)
    again = teacher_at(fake_openai.url, ledger, mode=None, concurrency=8)
    assert list(again.ask(requests)) == first
    assert (again.calls.sent, len(fake_openai.requests)) == (0, sent)
    assert {usage.dataset for usage in ledger.usage()} == {"bees"}
    found = ledger.find([key for reply in first for key in reply.calls])
    assert all(json.loads(call.request)["messages"] for call in found.values())


# ---- statuses


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failure_is_retried(fake_openai: FakeOpenAI, ledger: Ledger, status: int) -> None:
    """A failure that passes is retried after the pause the server asks for."""
    fake_openai.replies += [refused(status, **SOON), refused(status, **SOON), GOOD]
    [reply] = teacher_at(fake_openai.url, ledger, retries=2).ask([request()])
    assert reply.record is not None
    assert len(fake_openai.requests) == 3


def test_rate_limit_for_ever(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A rate limit that does not pass is a RateLimitError that counts the attempts."""
    fake_openai.replies += [refused(429, "slow down", **SOON)] * 3
    with pytest.raises(RateLimitError, match=r"answered 429: slow down \(after 3 attempts\)") as caught:
        list(teacher_at(fake_openai.url, ledger, retries=2).ask([request()]))
    assert caught.value.status_code == 429
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "ASSISTANT_TEACHER_KEY"),
        (403, "not allowed"),
        (404, "ASSISTANT_TEACHER_MODEL"),
        (500, "Try again later"),
        (503, "Try again later"),
    ],
)
def test_status_says_what_to_do(fake_openai: FakeOpenAI, ledger: Ledger, status: int, hint: str) -> None:
    """An error status names the endpoint, and its hint says what to do."""
    fake_openai.replies.append(refused(status, "the server's words"))
    with pytest.raises(LLMStatusError, match="the server's words") as caught:
        list(teacher_at(fake_openai.url, ledger).ask([request()]))
    error = caught.value
    assert (error.status_code, error.endpoint, error.model) == (status, fake_openai.url, "fake-model")
    assert hint in error.hint
    assert "attempts" not in str(error)


def test_address_without_v1(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An address that lacks its /v1 is a 404 whose hint says so."""
    with pytest.raises(LLMStatusError) as caught:
        list(teacher_at(fake_openai.url.removesuffix("/v1"), ledger).ask([request()]))
    assert "/v1" in caught.value.hint
    assert "ASSISTANT_TEACHER_URL" in caught.value.hint


# ---- keys


@pytest.mark.parametrize("message", ["wrong key", f"Incorrect API key provided: {KEY}"], ids=["silent", "echoing"])
def test_key_is_never_shown(fake_openai: FakeOpenAI, ledger: Ledger, tmp_path: Path, message: str) -> None:
    """The key is neither in the error nor in the ledger, even if the server repeats it."""
    fake_openai.replies += [GOOD, refused(401, message)]
    with pytest.raises(LLMStatusError) as caught:
        list(teacher_at(fake_openai.url, ledger).ask([request("a"), request("b")]))
    assert KEY not in said(caught.value)
    assert KEY.encode() not in stored_bytes(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "someone-elses"),
        ("OPENAI_ADMIN_KEY", "someone-elses"),
        ("OPENAI_ORG_ID", "someone-elses"),
        ("OPENAI_PROJECT_ID", "someone-elses"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/someone-elses"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: someone-elses"),
    ],
)
@pytest.mark.parametrize("key", ["", KEY], ids=["without key", "with key"])
def test_environment_is_not_sent(
    fake_openai: FakeOpenAI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str
) -> None:
    """The client takes nothing from the variables of the openai library."""
    monkeypatch.setenv(name, value)
    fake_openai.replies.append(GOOD)
    list(teacher_at(fake_openai.url, ledger, key=key).ask([request()]))
    [sent] = fake_openai.requests
    assert "someone-elses" not in json.dumps(sent.headers)


def test_redirect_takes_no_key_along(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An endpoint that redirects to another server sends neither the key nor the texts there."""
    other = FakeOpenAI()
    try:
        headers = {"Location": f"{other.url}/chat/completions"}
        fake_openai.replies.append(Reply(status=307, headers=headers, body="{}"))
        with pytest.raises(LLMStatusError, match="answered 307") as caught:
            list(teacher_at(fake_openai.url, ledger).ask([request()]))
        assert "ASSISTANT_TEACHER_URL" in caught.value.hint
        assert not other.requests
    finally:
        other.close()
    other.check()


def test_netrc_is_not_read(
    fake_openai: FakeOpenAI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A password that some file holds for the host is not sent in place of the key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password someone-elses\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    fake_openai.replies.append(GOOD)
    list(teacher_at(fake_openai.url, ledger, key="").ask([request()]))
    assert "authorization" not in fake_openai.requests[0].headers


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_teacher_on_this_machine_is_asked_directly(
    fake_openai: FakeOpenAI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """What stays on this machine does not go through a proxy."""
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    fake_openai.replies.append(GOOD)
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert reply.record is not None


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_used_for_a_remote_teacher(
    fake_openai: FakeOpenAI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The proxy that the environment names is asked for what is elsewhere, unless it is excepted."""
    monkeypatch.setenv("http_proxy", f"{scheme}{fake_openai.url.removeprefix('http://').removesuffix('/v1')}")
    with pytest.raises(LLMStatusError, match=r"no such path: http://models\.example/v1"):
        list(teacher_at("http://models.example/v1", ledger).ask([request()]))


def test_a_proxy_of_another_kind_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is an error of the settings, and not left out."""
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(SettingsError, match="not one for HTTP") as caught:
        list(teacher_at("http://models.example/v1", ledger).ask([request()]))
    assert "http_proxy" in caught.value.hint


# ---- settings of the endpoint


def write_settings(folder: Path, text: str) -> Path:
    """Write a workspace's settings; return the folder."""
    (folder / "assistant.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("role", ["teacher", "agent"])
def test_key_without_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    """A key from the environment is not given to an address from the file."""
    folder = write_settings(tmp_path, f'{role}_url = "http://127.0.0.1:9/v1"\n{role}_model = "m"\n')
    monkeypatch.setenv(f"ASSISTANT_{role.upper()}_KEY", KEY)
    settings = load_settings(folder)
    with pytest.raises(SettingsError) as caught:
        settings.teacher() if role == "teacher" else settings.agent()
    assert f"ASSISTANT_{role.upper()}_URL" in caught.value.hint
    assert KEY not in said(caught.value)


@pytest.mark.parametrize("role", ["teacher", "agent"])
def test_key_in_the_file(tmp_path: Path, role: str) -> None:
    """A key in the workspace's file is refused, and is not shown."""
    folder = write_settings(tmp_path, f'{role}_key = "{KEY}"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(folder)
    assert f"ASSISTANT_{role.upper()}_KEY" in caught.value.hint
    assert KEY not in said(caught.value)


def test_key_next_to_its_address(tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is sent to the address that stands beside it in the environment, whatever the file says."""
    folder = write_settings(tmp_path, 'teacher_url = "http://127.0.0.1:9/v1"\nteacher_model = "of-the-file"\n')
    monkeypatch.setenv("ASSISTANT_TEACHER_URL", fake_openai.url)
    monkeypatch.setenv("ASSISTANT_TEACHER_KEY", KEY)
    fake_openai.replies.append(GOOD)
    teacher = Models(load_settings(folder), calls=tmp_path / "calls.sqlite").open_teacher()
    assert teacher is not None
    list(teacher.ask([request()]))
    [sent] = fake_openai.requests
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json["model"] == "of-the-file"


def ask_with_key(key: str, tmp_path: Path, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask one thing with the settings of the environment."""
    monkeypatch.setenv("ASSISTANT_TEACHER_URL", server.url)
    monkeypatch.setenv("ASSISTANT_TEACHER_MODEL", "fake-model")
    monkeypatch.setenv("ASSISTANT_TEACHER_KEY", key)
    monkeypatch.setenv("ASSISTANT_TEACHER_RETRIES", "0")
    teacher = Models(load_settings(tmp_path), calls=tmp_path / "calls.sqlite").open_teacher()
    assert teacher is not None
    list(teacher.ask([request()]))


@pytest.mark.parametrize("space", ["\n", "\r\n", " "], ids=["newline", "return", "space"])
def test_space_around_a_key(
    tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    """White space around a key, as a file or a paste brings along, is not part of it."""
    fake_openai.respond = lambda _: GOOD
    ask_with_key(f"{KEY}{space}", tmp_path, fake_openai, monkeypatch)
    assert fake_openai.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("middle", ["\n", "密"], ids=["newline", "chinese"])
def test_unusable_key(tmp_path: Path, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, middle: str) -> None:
    """A key that no header can hold is an error one can act on, and is not shown."""
    with pytest.raises(AssistantError) as caught:
        ask_with_key(f"{KEY}{middle}{KEY}", tmp_path, fake_openai, monkeypatch)
    assert KEY not in said(caught.value)
    assert "ASSISTANT_TEACHER_KEY" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('teacher_url = "example.org/v1"\nteacher_model = "m"\n', "http"),
        ('teacher_url = "http://127.0.0.1:9/v1"\n', "teacher_model"),
        ('teacher_url = "http://127.0.0.1:port/v1"\nteacher_model = "m"\n', "port"),
    ],
    ids=["scheme", "model", "port"],
)
def test_unusable_address(tmp_path: Path, text: str, wrong: str) -> None:
    """An address that cannot be used is an error of the settings."""
    settings = load_settings(write_settings(tmp_path, text))
    with pytest.raises(SettingsError, match=wrong):
        Models(settings, calls=tmp_path / "calls.sqlite").open_teacher()


# ---- connections


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_nobody_listens(ledger: Ledger) -> None:
    """An address where nobody listens is a connection error that names the setting."""
    with pytest.raises(LLMConnectionError, match="cannot reach") as caught:
        list(teacher_at(f"http://127.0.0.1:{closed_port()}/v1", ledger).ask([request()]))
    assert "ASSISTANT_TEACHER_URL" in caught.value.hint


def test_no_answer_in_time(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A server that is too slow is a connection error that says how long was waited."""
    fake_openai.replies.append(Reply(text=GOOD, delay_s=5))
    with pytest.raises(LLMConnectionError, match=r"within 0\.1 s") as caught:
        list(teacher_at(fake_openai.url, ledger, timeout_s=0.1).ask([request()]))
    assert "ASSISTANT_TEACHER_TIMEOUT_S" in caught.value.hint


def test_connection_closed_half_way(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A connection that closes in the middle of an answer is a connection error, and nothing is stored."""
    fake_openai.replies += [Reply(text=GOOD, is_cut=True), GOOD]
    teacher = teacher_at(fake_openai.url, ledger)
    with pytest.raises(LLMConnectionError):
        list(teacher.ask([request()]))
    [reply] = teacher.ask([request()])
    assert reply.record is not None
    assert teacher.calls.sent == 1


# ---- answers that are none


def body_of(**choice: object) -> str:
    """Return a completion with one choice."""
    return json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<html>Welcome</html>", "text/html"),
        ("<html>Welcome</html>", "application/json"),
        ('{"hello": 1}', "application/json"),
        ('{"choices": []}', "application/json"),
        ('{"error": {"message": "no such model", "code": 502}}', "application/json"),
        ("[]", "application/json"),
        ("null", "application/json"),
        ("", "application/json"),
        (body_of(index=0), "application/json"),
        (body_of(index=0, message=None), "application/json"),
        (body_of(index=0, message="hello"), "application/json"),
        (body_of(index=0, message={"role": "assistant", "content": {"a": 1}}), "application/json"),
    ],
    ids=[
        "html",
        "html as json",
        "other object",
        "no choices",
        "error",
        "list",
        "null",
        "nothing",
        "no message",
        "null message",
        "text message",
        "object content",
    ],
)
def test_no_chat_completion(fake_openai: FakeOpenAI, ledger: Ledger, body: str, content_type: str) -> None:
    """An answer that is no chat completion is an LLMOutputError, and is not stored."""
    fake_openai.replies.append(Reply(body=body, content_type=content_type))
    teacher = teacher_at(fake_openai.url, ledger)
    with pytest.raises(LLMOutputError) as caught:
        list(teacher.ask([request()]))
    assert "/v1" in caught.value.hint
    assert teacher.calls.sent == 0


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", '{"error": {"message": "no", "code": 502}}'])
def test_no_chat_completion_after_good_answers(fake_openai: FakeOpenAI, ledger: Ledger, body: str) -> None:
    """An endpoint that has answered before is asked again: some report in this way that they are overloaded."""
    fake_openai.replies += [GOOD, Reply(body=body), Reply(body=body), GOOD]
    replies = list(teacher_at(fake_openai.url, ledger).ask([request("a"), request("b")]))
    assert all(reply.record is not None for reply in replies)


def test_an_answer_that_is_never_one_is_given_up(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A request that always gets something else costs itself, and not the run, also if it is the last."""

    async def work(ask: Ask) -> AsyncIterator[AskedReply]:
        for tag in ("good", "bad"):
            yield await ask(request(tag))

    fake_openai.respond = lambda sent: Reply(body="[]") if "bad" in json.dumps(sent.json) else GOOD
    good, bad = teacher_at(fake_openai.url, ledger, patience_s=60).run(work)
    assert (good.record is None, bad.record is None) == (False, True)
    assert "not with a chat completion" in bad.problem


def test_the_key_in_something_else_is_not_shown(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A server that repeats what it was sent does not get the key into an error."""
    fake_openai.respond = lambda sent: Reply(body=sent.headers["authorization"])
    with pytest.raises(LLMOutputError) as caught:
        list(teacher_at(fake_openai.url, ledger).ask([request()]))
    assert KEY not in said(caught.value)


@pytest.mark.parametrize("content", ["", "no idea", '{"subtopics": [', '{"subtopics": "Hives"}', "\ud800"])
def test_wrong_content(fake_openai: FakeOpenAI, ledger: Ledger, content: str) -> None:
    """A completion whose content is not the record is a reply with the problem, not an error."""
    fake_openai.respond = lambda _: content
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert reply.record is None
    assert reply.problem.startswith("expected Subtopics: ")


def test_failure_keeps_what_was_answered(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """What was answered before the endpoint failed is in the ledger, and is not asked again."""
    fake_openai.replies += [GOOD, refused(401), GOOD]
    requests = [request("a"), request("b")]
    with pytest.raises(LLMError):
        list(teacher_at(fake_openai.url, ledger).ask(requests))
    again = teacher_at(fake_openai.url, ledger)
    assert all(reply.record is not None for reply in again.ask(requests))
    assert (again.calls.sent, again.calls.cached) == (1, 1)


# ---- the form in which an endpoint can be asked


def form_of(sent: Recorded) -> Mode:
    """Return the form in which a record was asked for."""
    if "tools" in sent.json:
        return Mode.TOOL
    return Mode(sent.json.get("response_format", {}).get("type", "plain"))


def is_probe(sent: Recorded) -> bool:
    """Whether a call asks what the endpoint can do."""
    return "ready" in sent.json["messages"][-1]["content"]


def answer(sent: Recorded, text: str = GOOD) -> Reply:
    """Return a good answer in the form that was asked for."""
    text = PROBED if is_probe(sent) else text
    if form_of(sent) is Mode.TOOL:
        name = sent.json["tools"][0]["function"]["name"]
        return Reply(text="I am going to call it.", tool_calls=(ToolCall(name=name, arguments=text),))
    return Reply(text=text)


NOT_SUPPORTED = refused(400, "response_format is not supported")


@pytest.mark.parametrize("bad", [NOT_SUPPORTED, refused(422, "tools"), Reply(text="no"), Reply(text="{")])
@pytest.mark.parametrize("can", [*Mode])
def test_the_most_exact_form_is_found(fake_openai: FakeOpenAI, ledger: Ledger, can: Mode, bad: Reply) -> None:
    """One probe of each form that does not work, and all requests in the first that does."""
    fake_openai.answers_probes = False
    fake_openai.respond = lambda sent: answer(sent) if form_of(sent) is can else bad
    teacher = teacher_at(fake_openai.url, ledger, mode=None, concurrency=4)
    replies = list(teacher.ask(map(request, "abcdef")))
    assert all(reply.record is not None for reply in replies)
    assert teacher.mode is can
    asked = [form_of(sent) for sent in fake_openai.requests if is_probe(sent)]
    probed = [mode for mode in (Mode.SCHEMA, Mode.OBJECT, Mode.TOOL) if list(Mode).index(mode) <= list(Mode).index(can)]
    assert asked == probed
    assert {form_of(sent) for sent in fake_openai.requests if not is_probe(sent)} == {can}


def test_a_probe_is_kept(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """What was found out is in the ledger, and counts for this endpoint alone."""
    fake_openai.answers_probes = False
    fake_openai.respond = lambda sent: answer(sent) if form_of(sent) is Mode.OBJECT else Reply(text="no")
    for tag in "ab":
        teacher = teacher_at(fake_openai.url, ledger, mode=None)
        list(teacher.ask([request(tag)]))
        assert teacher.mode is Mode.OBJECT
    assert [is_probe(sent) for sent in fake_openai.requests] == [True, True, False, False]
    other_url = fake_openai.url.replace("127.0.0.1", "localhost")
    list(teacher_at(other_url, ledger, mode=None).ask([request("c")]))
    assert len(fake_openai.requests) == 7


def test_an_endpoint_that_takes_nothing(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A server that refuses every form, and has answered nothing, is an error of status 400."""
    fake_openai.answers_probes = False
    fake_openai.respond = lambda _: refused(400, "the server's words")
    with pytest.raises(LLMStatusError, match="the server's words") as caught:
        list(teacher_at(fake_openai.url, ledger, mode=None).ask([request()]))
    assert caught.value.status_code == 400


def test_a_schema_that_is_refused_is_asked_for_less_exactly(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An endpoint may take the probe's schema and not another one; that is remembered for that one."""
    fake_openai.respond = lambda sent: NOT_SUPPORTED if form_of(sent) in (Mode.SCHEMA, Mode.OBJECT) else answer(sent)
    teacher = teacher_at(fake_openai.url, ledger)
    for tag in "abc":
        [reply] = teacher.ask([request(tag)])
        assert reply.record is not None
    assert [form_of(sent) for sent in fake_openai.requests] == [Mode.SCHEMA, Mode.OBJECT, *[Mode.TOOL] * 3]
    assert (teacher.mode, teacher.modes) == (Mode.SCHEMA, {"Subtopics": Mode.TOOL})


def test_a_schema_that_is_refused_to_many_at_once(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Requests that were under way when the first was refused are asked again as well."""
    all_came = threading.Barrier(4)

    def respond(sent: Recorded) -> Reply:
        if form_of(sent) is Mode.SCHEMA:
            all_came.wait(10)
            return NOT_SUPPORTED
        return answer(sent)

    fake_openai.respond = respond
    replies = list(teacher_at(fake_openai.url, ledger, concurrency=4).ask(map(request, "abcd")))
    assert all(reply.record is not None for reply in replies)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_one_request_that_is_refused_costs_itself(fake_openai: FakeOpenAI, ledger: Ledger, at: int) -> None:
    """A request that is too long, say, has a problem; the others are asked for as exactly as before."""
    fake_openai.respond = lambda sent: refused(400, "too long") if "long" in json.dumps(sent.json) else answer(sent)
    tags = [*"abc"]
    tags.insert(at, "long")
    teacher = teacher_at(fake_openai.url, ledger, mode=None)
    replies = list(teacher.ask(map(request, tags)))
    assert [reply.record is None for reply in replies] == [tag == "long" for tag in tags]
    assert "too long" in replies[at].problem
    assert {form_of(sent) for sent in fake_openai.requests if "long" not in json.dumps(sent.json)} == {Mode.SCHEMA}


QUIRKS = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support 0.7 with this model.",
}


@pytest.mark.parametrize("refuses", [["max_tokens"], ["temperature"], ["max_tokens", "temperature"]])
@pytest.mark.parametrize("is_probed", [False, True])
def test_parameters_that_an_endpoint_does_not_take(
    fake_openai: FakeOpenAI, ledger: Ledger, refuses: list[str], is_probed: bool
) -> None:
    """They are said otherwise or left out, also where many are refused at once; the form stays exact."""
    together = threading.Barrier(8)

    def respond(sent: Recorded) -> Reply:
        bad = next((name for name in refuses if name in sent.json), None)
        if is_probed and "max_tokens" in sent.json and "temperature" in sent.json:
            together.wait(10)
        return answer(sent) if bad is None else refused(400, QUIRKS[bad])

    fake_openai.answers_probes = False
    fake_openai.respond = respond
    mode = Mode.SCHEMA if is_probed else None
    teacher = teacher_at(fake_openai.url, ledger, mode=mode, concurrency=8)
    replies = list(teacher.ask(map(request, "abcdefgh")))
    assert all(reply.record is not None for reply in replies)
    last = fake_openai.requests[-1].json
    assert last.get("max_completion_tokens") == (1024 if "max_tokens" in refuses else None)
    assert ("temperature" in last) == ("temperature" not in refuses)
    assert {form_of(sent) for sent in fake_openai.requests} == {Mode.SCHEMA}


# ---- corrections


def said_in(sent: Recorded) -> list[tuple[str, str]]:
    """Return the conversation of a call."""
    return [(message["role"], message["content"]) for message in sent.json["messages"]]


def test_a_correction_names_the_errors(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """The model is shown what it said, what is wrong with it, and the schema."""
    fake_openai.replies += ['{"subtopics": "Hives"}', GOOD]
    teacher = teacher_at(fake_openai.url, ledger)
    [reply] = teacher.ask([request()])
    first, second = map(said_in, fake_openai.requests)
    assert second[:2] == [*first, ("assistant", '{"subtopics": "Hives"}')]
    [(role, words)] = second[2:]
    assert role == "user"
    assert "expected Subtopics: subtopics: Input should be a valid array" in words
    assert json.dumps(Subtopics.model_json_schema()) in words
    assert reply.record is not None
    assert (teacher.calls.corrected, len(reply.calls)) == (1, 2)


def test_after_two_corrections_there_is_a_fresh_sample(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Each correction is about the last answer; then the request is asked as if for the first time."""
    fake_openai.replies += ["one", "two", "three", GOOD]
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    conversations = [said_in(sent) for sent in fake_openai.requests]
    assert [len(conversation) for conversation in conversations] == [1, 3, 3, 1]
    assert [conversation[1][1] for conversation in conversations[1:3]] == ["one", "two"]
    assert conversations[3] == conversations[0]
    assert reply.record is not None
    assert len(set(reply.calls)) == 4


def test_a_long_answer_is_shown_back_in_part(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A correction does not cost as much as the mistake."""
    fake_openai.replies += ["words " * 5_000, GOOD]
    list(teacher_at(fake_openai.url, ledger).ask([request()]))
    assert len(said_in(fake_openai.requests[1])[1][1]) == 2_000


def test_a_cut_answer_is_asked_again_with_more_room(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """What was cut is no mistake: it is not corrected, but given room."""
    fake_openai.replies += [Reply(text='{"subtopics": ["Hiv', is_too_long=True)] * 2 + [GOOD]
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert [sent.json["max_tokens"] for sent in fake_openai.requests] == [1024, 2048, 4096]
    assert all(said_in(sent) == said_in(fake_openai.requests[0]) for sent in fake_openai.requests)
    assert reply.record is not None


def test_what_is_whole_of_a_cut_answer_is_enough(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Whole items of a list are used, and not paid for again."""
    fake_openai.replies += [Reply(text='{"subtopics": ["Hives", "Honey", "Wa', is_too_long=True)]
    [reply] = teacher_at(fake_openai.url, ledger).ask([request()])
    assert reply.record == Subtopics(subtopics=("Hives", "Honey"))


# ---- private data

ADDRESS = "berta.bienenstock.honey-and-wax@example.org"


class Contact(Record):
    """A record with texts in every place, and a limit that the address is longer than."""

    name: Annotated[str, Field(max_length=24)]
    lines: tuple[str, ...]
    more: dict[str, list[str]]
    kind: Mode = Mode.PLAIN
    inner: Subtopics | None = None


def contact_request() -> Request:
    """Return a request with personal data in it."""
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=f"Who is {ADDRESS}?"))
    return Request(tag="who", messages=messages, schema=Contact)


def test_private_data_stays_here(fake_openai: FakeOpenAI, ledger: Ledger, tmp_path: Path) -> None:
    """Placeholders go out and are stored; in the record stands what they stand for, in every place."""

    def respond(sent: Recorded) -> str:
        [placeholder] = re.findall(r"\[EMAIL-[0-9A-F]{6}\]", sent.json["messages"][1]["content"])
        texts = [f"Write to {placeholder.lower()}."]
        record = {"name": placeholder, "lines": texts, "more": {"a": texts}, "inner": {"subtopics": texts}}
        return json.dumps(record) if len(sent.json["messages"]) > 2 else f"It is {placeholder}."

    fake_openai.respond = respond
    masker = Masker(b"salt" * 8)
    [reply] = teacher_at(fake_openai.url, ledger, masker=masker).ask([contact_request()])
    line = f"Write to {ADDRESS}."
    inner = Subtopics(subtopics=(line,))
    assert reply.record == Contact.model_construct(name=ADDRESS, lines=(line,), more={"a": [line]}, inner=inner)
    assert reply.request == contact_request()
    assert len(fake_openai.requests) == 2  # with a correction
    assert "bienenstock" not in json.dumps([sent.json for sent in fake_openai.requests])
    assert b"bienenstock" not in stored_bytes(tmp_path)
    again = teacher_at(fake_openai.url, ledger, masker=Masker(b"salt" * 8))
    assert [found.record for found in again.ask([contact_request()])] == [reply.record]
    assert again.calls.sent == 0


# ---- storms, and endpoints that die


def test_a_storm_is_weathered(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Rate limits, failures, cut bodies and things that are no answers: all is answered, once, in order."""
    chance = random.Random(1)
    teacher = teacher_at(fake_openai.url, ledger, concurrency=24, retries=9)
    limits: list[int] = []
    answered: list[str] = []

    def respond(sent: Recorded) -> Reply:
        limits.append(teacher.pacer.limit)
        draw = chance.random()
        if len(limits) < 120 and draw < 0.3:
            return refused(429, **SOON)
        if draw < 0.35:
            return refused(500)
        if draw < 0.40:
            return Reply(text=GOOD, is_cut=True)
        if draw < 0.42:
            return Reply(body='{"error": "overloaded"}')
        answered.append(sent.json["messages"][0]["content"])
        return Reply(text=GOOD, delay_s=0.002)

    fake_openai.respond = respond
    tags = [str(number) for number in range(250)]
    replies = list(teacher.ask(map(request, tags)))
    assert [reply.request.tag for reply in replies] == tags
    assert all(reply.record is not None for reply in replies)
    assert len(answered) == len(set(answered)) == len(tags)
    least = min(limits)
    assert least < limits[0]
    assert max(limits[limits.index(least) :]) > least


def test_a_dead_endpoint_is_given_up_soon(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """One that has never answered gets one attempt and its retries."""
    fake_openai.respond = lambda _: refused(500)
    with pytest.raises(LLMStatusError, match=r"after 4 attempts"):
        list(teacher_at(fake_openai.url, ledger, retries=3, patience_s=999).ask(map(request, "abc")))
    assert len(fake_openai.requests) <= 12


def test_an_endpoint_that_dies_is_waited_for(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """One that has answered is given its time; then there is an error, and what was answered is kept."""
    fake_openai.replies += [GOOD, GOOD]
    fake_openai.respond = lambda _: refused(503)
    teacher = teacher_at(fake_openai.url, ledger, patience_s=0.3)
    replies = teacher.ask(map(request, "abcd"))
    assert [next(replies).record is not None for _ in range(2)] == [True, True]
    began = time.monotonic()
    with pytest.raises(LLMStatusError, match=r"answered 503.*after \d+ attempts") as caught:
        next(replies)
    assert 0.1 < time.monotonic() - began < 10
    assert "kept" in caught.value.hint
    fake_openai.respond = lambda _: GOOD
    assert len(list(teacher.ask(map(request, "abcd")))) == 4
    assert teacher.calls.cached == 2


def test_an_endpoint_that_comes_back_is_used_again(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """More failures in a row than there are retries lose nothing once an answer has come."""
    fake_openai.replies += [GOOD, *[refused(503)] * 15, *[GOOD] * 2]
    replies = list(teacher_at(fake_openai.url, ledger, patience_s=60).ask(map(request, "abc")))
    assert all(reply.record is not None for reply in replies)


def test_a_slow_endpoint_is_not_kept_too_busy(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """One that works on one call at a time is given no more than it can answer before the time is over."""
    one_at_a_time = threading.Lock()

    def respond(_: Recorded) -> Reply:
        with one_at_a_time:
            fake_openai.closing.wait(0.02)
        return Reply(text=GOOD)

    fake_openai.respond = respond
    teacher = teacher_at(fake_openai.url, ledger, concurrency=64, retries=20, timeout_s=0.2, patience_s=60)
    replies = list(teacher.ask(map(request, map(str, range(50)))))
    assert all(reply.record is not None for reply in replies)
    assert teacher.pacer.limit < 16


def test_one_request_that_always_fails_is_given_up(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A request that breaks the server costs itself, and not the run."""
    fake_openai.respond = lambda sent: refused(500, "poison") if "bad" in json.dumps(sent.json) else GOOD
    tags = ["bad", *map(str, range(100))]
    replies = list(teacher_at(fake_openai.url, ledger, concurrency=2, mode=None).ask(map(request, tags)))
    assert [reply.record is None for reply in replies] == [True, *[False] * 100]
    assert "poison" in replies[0].problem


@pytest.mark.parametrize("told", ["retry-after", "retry-after-ms"])
def test_a_wait_that_is_told_is_kept(fake_openai: FakeOpenAI, ledger: Ledger, told: str) -> None:
    """The next call goes out no earlier than the endpoint allows."""
    came: list[float] = []
    replies = iter([refused(429, **{told.replace("-", "_"): "0.15" if told == "retry-after" else "150"}), GOOD, GOOD])

    def respond(_: Recorded) -> Reply | str:
        came.append(time.monotonic())
        return next(replies)

    fake_openai.respond = respond
    list(teacher_at(fake_openai.url, ledger, retries=1).ask(map(request, "ab")))
    assert came[1] - came[0] >= 0.149


@pytest.mark.parametrize(
    "value",
    ["Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 -0000", "soon", "-1", "nan", "inf", ""],
)
def test_an_odd_wait_is_no_failure(fake_openai: FakeOpenAI, ledger: Ledger, value: str) -> None:
    """A date in the past, or something that is no time at all, is not waited for."""
    headers = {"Retry-After": value, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    fake_openai.replies += [Reply(status=429, body="{}", headers=headers), GOOD]
    [reply] = teacher_at(fake_openai.url, ledger, retries=1).ask([request()])
    assert reply.record is not None


def test_come_back_at_once_is_not_taken_literally(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An endpoint that refuses and allows in one breath is not called in a tight loop."""
    fake_openai.replies.append(GOOD)
    fake_openai.respond = lambda _: refused(429, retry_after="0")
    with pytest.raises(RateLimitError):
        list(teacher_at(fake_openai.url, ledger, patience_s=0.3).ask(map(request, "ab")))
    assert len(fake_openai.requests) < 300


def test_rates_that_are_told_are_kept(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """The headers of an answer set the pace of those that follow."""
    fake_openai.respond = lambda _: Reply(text=GOOD, headers={"x-ratelimit-limit-requests": "1200"})
    began = time.monotonic()
    list(teacher_at(fake_openai.url, ledger).ask(map(request, map(str, range(70)))))
    assert time.monotonic() - began > 0.3  # sixty at once are allowed, and then twenty a second


# ---- budgets


@pytest.mark.parametrize("fails", [False, True])
def test_the_cap_on_calls_is_never_passed(fake_openai: FakeOpenAI, ledger: Ledger, fails: bool) -> None:
    """With many under way at once, just so many are answered; what failed does not count."""
    chance = random.Random(2)
    fake_openai.respond = lambda _: refused(500) if fails and chance.random() < 0.2 else GOOD
    teacher = teacher_at(fake_openai.url, ledger, concurrency=32, retries=20)
    with pytest.raises(BudgetError, match="cap of 40 calls") as caught:
        list(teacher.ask(map(request, map(str, range(500))), budget=Budget(max_calls=40)))
    assert "Run the same command with a higher cap" in caught.value.hint
    assert ledger.usage()[0].calls == teacher.calls.sent <= 40
    assert fails or teacher.calls.sent == len(fake_openai.requests) == 40


def test_the_cap_on_cost_is_never_passed(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """With many under way at once, money is set aside for each; what is left over at the end is small."""
    fake_openai.respond = lambda _: Reply(text=GOOD, tokens_in=100, tokens_out=400, delay_s=0.005)
    prices = {"input_price": 1.0, "output_price": 10.0}  # an answer costs 0.0041, and 0.0104 at most
    teacher = teacher_at(fake_openai.url, ledger, concurrency=32, prices=prices)
    with pytest.raises(BudgetError, match=r"could pass the cap of \$0.20"):
        list(teacher.ask(map(request, map(str, range(500))), budget=Budget(max_cost_usd=0.2)))
    assert 0.2 - 0.0125 < ledger.usage()[0].cost_usd <= 0.2
    assert teacher.calls.cost_usd == pytest.approx(ledger.usage()[0].cost_usd)


def test_what_is_set_aside_does_not_end_a_run_that_can_be_paid(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Where the cap allows few at their highest price, others wait for what those really cost."""
    fake_openai.respond = lambda _: Reply(text=GOOD, tokens_in=10, tokens_out=10)
    prices = {"input_price": 0.0, "output_price": 10.0}  # 0.0001, and 0.01 at most
    teacher = teacher_at(fake_openai.url, ledger, concurrency=32, prices=prices)
    replies = list(teacher.ask(map(request, map(str, range(100))), budget=Budget(max_cost_usd=0.03)))
    assert len(replies) == 100
    assert teacher.calls.cost_usd == pytest.approx(0.01)


@pytest.mark.parametrize("answering", [Reply(text=GOOD, delay_s=0.02), refused(429, retry_after="100")])
def test_the_cap_on_time_ends_a_run(
    fake_openai: FakeOpenAI, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, answering: Reply
) -> None:
    """Also while the endpoint wants to be left alone for longer than there is time."""
    fake_openai.replies.append(GOOD)
    fake_openai.respond = lambda _: answering
    monkeypatch.setattr(sender, "_LONGEST_PAUSE_S", 60.0)
    teacher = teacher_at(fake_openai.url, ledger, concurrency=4, patience_s=999)
    budget = Budget(max_minutes=0.5 / 60)
    began = time.monotonic()
    with pytest.raises(BudgetError, match="minutes is reached"):
        list(teacher.ask(map(request, map(str, range(9_999))), budget=budget))
    assert time.monotonic() - began < 5
    assert ledger.usage()[0].calls == teacher.calls.sent > 0


def test_an_unknown_price_meets_a_cap_on_cost(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Nothing is sent to a model of which nobody knows what it costs, if that is capped."""
    teacher = teacher_at(fake_openai.url, ledger, mode=None)
    teacher.price = None
    fake_openai.answers_probes = False
    with pytest.raises(BudgetError, match="price of this model is not known") as caught:
        list(teacher.ask([request()], budget=Budget(max_cost_usd=9.0)))
    assert "--max-calls" in caught.value.hint
    assert not fake_openai.requests


def test_a_call_without_a_price_is_counted(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Where no price is known, no cost is invented."""
    teacher = teacher_at(fake_openai.url, ledger)
    teacher.price = None
    fake_openai.replies.append(GOOD)
    list(teacher.ask([request()]))
    assert (teacher.calls.cost_usd, teacher.calls.unpriced) == (0, 1)
    assert ledger.usage()[0].unpriced == 1


def test_a_capped_run_goes_on_where_it_ended(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """The same requests with a higher cap send only what is missing."""
    fake_openai.respond = lambda _: GOOD
    requests = [request(str(number)) for number in range(60)]
    with pytest.raises(BudgetError):
        list(teacher_at(fake_openai.url, ledger, concurrency=8).ask(requests, budget=Budget(max_calls=25)))
    again = teacher_at(fake_openai.url, ledger, concurrency=8)
    replies = list(again.ask(requests, budget=Budget(max_calls=35)))
    assert (len(replies), again.calls.sent, again.calls.cached) == (60, 35, 25)
    assert len(fake_openai.requests) == 60


# ---- ends that nobody planned


def test_a_full_disk_ends_the_run(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """An answer that cannot be stored ends the run with what to do; what was stored is kept."""
    fake_openai.replies.append(GOOD)
    list(teacher_at(fake_openai.url, ledger).ask([request("before")]))
    [pages] = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    fake_openai.respond = lambda _: json.dumps({"subtopics": ["x" * 50_000]})
    with pytest.raises(DataError, match="cannot be stored") as caught:
        list(teacher_at(fake_openai.url, ledger, concurrency=4).ask(map(request, map(str, range(40)))))
    assert "disk space" in caught.value.hint
    assert no_thread_is_left()
    again = teacher_at(fake_openai.url, ledger)
    assert [reply.record for reply in again.ask([request("before")])] == [Subtopics(subtopics=("Hives", "Honey"))]
    assert again.calls.cached == 1


def test_an_error_among_the_requests_is_raised_as_it_is(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """What goes wrong while requests are made comes out once, after the replies to those before."""
    fake_openai.respond = lambda _: GOOD

    def requests() -> Iterator[Request]:
        yield request("a")
        raise ZeroDivisionError("in the source")

    replies = teacher_at(fake_openai.url, ledger).ask(requests())
    assert next(replies).record is not None
    with pytest.raises(ZeroDivisionError, match="in the source"):
        next(replies)
    assert no_thread_is_left()


MANY = 200
CHILD = f"""
import sys
from pathlib import Path
from pipelines.models.ledger import Ledger
from pipelines.models.teacher import Request, Teacher
from pipelines.records import Message, Subtopics
from pipelines.settings import Endpoint

def request(number):
    messages = (Message(role="user", content=f"Divide: {{number}}"),)
    return Request(tag=str(number), messages=messages, schema=Subtopics)

teacher = Teacher(Endpoint(url=sys.argv[1], model="fake-model"), Ledger(Path(sys.argv[2])), concurrency=16)
list(teacher.ask(map(request, range({MANY}))))
"""


@pytest.mark.parametrize("moment", [20, 150])
def test_a_killed_run_loses_nothing(fake_openai: FakeOpenAI, tmp_path: Path, moment: int) -> None:
    """After kill -9 in the middle, what was stored is not sent again, and the rest is."""
    it_is_time = threading.Event()
    came: dict[str, list[str]] = {"child": [], "second run": []}

    def respond(sent: Recorded) -> Reply:
        tag = sent.json["messages"][0]["content"]
        came["second run" if "authorization" in sent.headers else "child"].append(tag)
        if len(came["child"]) == moment:
            it_is_time.set()
        return Reply(text=json.dumps({"subtopics": [tag]}), delay_s=0.01)

    fake_openai.respond = respond
    path = tmp_path / "calls.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, fake_openai.url, str(path)], cwd=Path(__file__).parent.parent
    )
    try:
        assert it_is_time.wait(60)
    finally:
        child.kill()
        child.wait()
    ledger = Ledger(path)
    rows = ledger._connection.execute("SELECT request FROM calls WHERE request LIKE '%Divide%'")
    stored = {json.loads(row[0])["messages"][0]["content"] for row in rows}
    assert len(stored) < MANY
    replies = list(teacher_at(fake_openai.url, ledger, concurrency=16).ask(map(request, map(str, range(MANY)))))
    assert sorted([*stored, *came["second run"]]) == sorted(f"Divide: {number}" for number in range(MANY))
    assert len(came["child"]) - len(stored) <= 16  # only what was under way is lost
    assert [reply.record for reply in replies] == [
        Subtopics(subtopics=(f"Divide: {number}",)) for number in range(MANY)
    ]
    ledger.close()
