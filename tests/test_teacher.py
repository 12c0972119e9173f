"""The teacher's client on the wire: what is sent, what comes back, and everything that goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipelines.errors import (
    AssistantError,
    LLMConnectionError,
    LLMError,
    LLMOutputError,
    LLMStatusError,
    RateLimitError,
    SettingsError,
)
from pipelines.models.ledger import Ledger
from pipelines.models.provider import Models
from pipelines.models.teacher import Request, Teacher, parse_reply
from pipelines.records import Message, Subtopics
from pipelines.settings import Endpoint, load_settings
from tests.fake_openai import FakeOpenAI, Recorded, Reply, refused

KEY = "sk-tests-only-7f3a"
GOOD = '{"subtopics": ["Hives", "Honey"]}'
SOON = {"retry_after_ms": "1"}


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


def teacher_at(url: str, ledger: Ledger, *, key: str = KEY, retries: int = 0, timeout_s: float = 5.0) -> Teacher:
    """Return a teacher at an address, which asks one thing at a time."""
    endpoint = Endpoint(url=url, model="fake-model", key=SecretStr(key))
    return Teacher(endpoint, ledger, concurrency=1, retries=retries, timeout_s=timeout_s)


def stored_bytes(folder: Path) -> bytes:
    """Return all that the ledger has written."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("calls.sqlite*")))


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
    fake_openai.replies += [GOOD, Reply(text="no idea", tokens_in=7, tokens_out=3)]
    teacher = teacher_at(fake_openai.url, ledger)
    list(teacher.ask([request("a"), request("b")]))
    counts = teacher.calls
    assert (counts.sent, counts.cached, counts.failed) == (2, 0, 1)
    assert (counts.tokens_in, counts.tokens_out) == (107, 23)


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
    """Who stops reading replies has not paid for the requests that were left."""
    fake_openai.replies += [GOOD, GOOD]
    replies = teacher_at(fake_openai.url, ledger).ask(request(str(number)) for number in range(100))
    next(replies)
    next(replies)
    replies.close()  # type: ignore[attr-defined]
    assert len(fake_openai.requests) == 2


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
    fake_openai.replies.append("I would rather not.")
    teacher = teacher_at(fake_openai.url, ledger)
    for _ in range(2):
        [reply] = teacher.ask([request()])
        assert reply.record is None
        assert reply.raw == "I would rather not."
    assert teacher.calls.sent == 1


# ---- servers that know no schemas


def test_refused_schema(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A server that refuses the schema is asked without one, and the refusal is remembered."""
    fake_openai.replies += [refused(400, "response_format is not supported"), GOOD, GOOD]
    replies = list(teacher_at(fake_openai.url, ledger).ask([request("a"), request("b")]))
    assert all(reply.record is not None for reply in replies)
    assert ["response_format" in sent.json for sent in fake_openai.requests] == [True, False, False]


def test_schema_refused_to_many_at_once(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """Requests that were under way when the first schema was refused are asked again as well."""
    plain_came = threading.Event()
    schemas = iter([False, True])

    def respond(sent: Recorded) -> Reply | str:
        if "response_format" not in sent.json:
            plain_came.set()
            return GOOD
        if next(schemas):  # held back until the other request's refusal was understood
            plain_came.wait(2)
        return refused(400, "response_format is not supported")

    fake_openai.respond = respond
    endpoint = Endpoint(url=fake_openai.url, model="fake-model", key=SecretStr(KEY))
    teacher = Teacher(endpoint, ledger, concurrency=2, retries=0, timeout_s=5)
    replies = list(teacher.ask([request("a"), request("b")]))
    assert [reply.record is not None for reply in replies] == [True, True]


def test_refused_without_schema(fake_openai: FakeOpenAI, ledger: Ledger) -> None:
    """A server that refuses the request also without a schema is an error of status 400."""
    fake_openai.replies += [refused(400, "context too long"), refused(400, "context too long")]
    with pytest.raises(LLMStatusError, match="context too long") as caught:
        list(teacher_at(fake_openai.url, ledger).ask([request()]))
    assert caught.value.status_code == 400


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
    with pytest.raises(RateLimitError, match=r"429 after 3 attempts.*slow down") as caught:
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
    """An endpoint that redirects to another server does not send the key there."""
    other = FakeOpenAI()
    try:
        other.replies.append(GOOD)
        headers = {"Location": f"{other.url}/chat/completions"}
        fake_openai.replies.append(Reply(status=307, headers=headers, body="{}"))
        list(teacher_at(fake_openai.url, ledger).ask([request()]))
        assert KEY in json.dumps(fake_openai.requests[0].headers)
        assert KEY not in json.dumps([sent.headers for sent in other.requests])
    finally:
        other.close()
    other.check()


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


@pytest.mark.parametrize("content", ["", "no idea", '{"subtopics": [', '{"subtopics": "Hives"}', "\ud800"])
def test_wrong_content(fake_openai: FakeOpenAI, ledger: Ledger, content: str) -> None:
    """A completion whose content is not the record is a reply with the problem, not an error."""
    fake_openai.replies.append(content)
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


# ---- reading a reply


@pytest.mark.parametrize(
    "raw",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"<think>They want JSON, as in {{this}}.</think>\n{GOOD}",
        f'<think>\nfirst {{"subtopics": ["Wrong"]}}\n</think><think>more</think>{GOOD}',
        f"Here it is:\n\n{GOOD}\n\nAnything else?",
        f" \n{GOOD}\n ",
    ],
    ids=["bare", "fence", "thinking", "two thoughts", "words", "space"],
)
def test_what_stands_around_a_record(raw: str) -> None:
    """Thinking blocks, fences and words around the JSON object are passed over."""
    assert parse_reply(raw, Subtopics) == Subtopics(subtopics=("Hives", "Honey"))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("", "the reply"),
        ("no idea", "the reply"),
        ('{"subtopics": ["Hives"', "the reply"),
        ('{"subtopics": []}', "subtopics"),
        ('{"subtopics": ["a"], "more": 1}', "more"),
        (f"<think>{GOOD}</think> I cannot.", "the reply"),
    ],
)
def test_no_record(raw: str, problem: str) -> None:
    """A reply without the record names what is wrong, and keeps what was said."""
    with pytest.raises(LLMOutputError, match=f"expected Subtopics: {problem}: ") as caught:
        parse_reply(raw, Subtopics)
    assert caught.value.raw == raw
