"""The agent: a model's words and tool calls, and the operations behind them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from assistant.agent import agent
from assistant.agent.agent import Agent, AgentEvent, Said, ToolReturned, ToolUsed, TurnError
from assistant.agent.tools import Stopped, tools_of
from assistant.cli.app import APP
from assistant.cli.entries import operations_of
from pipelines.chatbot.bots import Bot, save_bot
from pipelines.errors import (
    AssistantError,
    LLMConnectionError,
    LLMError,
    LLMOutputError,
    LLMStatusError,
    RateLimitError,
)
from pipelines.operation import Context, Event, Operation
from pipelines.settings import Endpoint
from tests.conftest import Recorder
from tests.fake_openai import FakeOpenAI, Reply, ToolCall, refused

OPERATIONS: list[Operation[Any, Any]] = list(operations_of(APP))
KEY = "sk-tests-only-7f3a"


@pytest.fixture
def context(context: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A context as the agent has it: in the workspace, and confined to it."""
    monkeypatch.chdir(context.workspace.root)
    return dataclasses.replace(context, confine=True)


def agent_at(
    server: FakeOpenAI,
    context: Context,
    *,
    operations: list[Operation[Any, Any]] = OPERATIONS,
    stop: threading.Event | None = None,
) -> Agent:
    """Return an agent that talks with the fake server."""
    endpoint = Endpoint(url=server.url, model="fake-model", key=SecretStr(KEY))
    return Agent(endpoint, operations, context, stop=stop or threading.Event())


def using(name: str, /, **arguments: object) -> Reply:
    """Return a reply that calls one tool."""
    return Reply(tool_calls=(ToolCall(name=name, arguments=arguments),))


def words(events: list[AgentEvent]) -> str:
    """Return all that was said."""
    return "".join(event.text for event in events if isinstance(event, Said))


def results(events: list[AgentEvent]) -> list[str]:
    """Return what the tools returned."""
    return [event.result for event in events if isinstance(event, ToolReturned)]


def result_of(server: FakeOpenAI, context: Context, name: str, /, **arguments: object) -> str:
    """Let the agent call one tool; return the tool's result, which the model saw too."""
    server.replies += [using(name, **arguments), "I see."]
    events = list(agent_at(server, context).turn("please"))
    [result] = results(events)
    assert server.requests[-1].json["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call-0",
        "content": result,
    }
    return result


# ---- tools


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_a_tool(context: Context, operation: Operation[Any, Any]) -> None:
    """Each operation is a tool under its function's name, described by its docstring's first line."""
    [tool] = [tool for tool in tools_of(OPERATIONS, context) if tool.name == operation.run.__name__]
    assert tool.description == (inspect.getdoc(operation.run) or "").splitlines()[0]
    assert set(tool.args) == set(operation.params.model_fields)


def test_tools_are_offered_on_the_wire(fake_openai: FakeOpenAI, context: Context) -> None:
    """The model is offered every operation, with the descriptions of its parameters."""
    fake_openai.replies.append("Hello.")
    list(agent_at(fake_openai, context).turn("hi"))
    offered = {tool["function"]["name"]: tool["function"] for tool in fake_openai.requests[0].json["tools"]}
    assert set(offered) == {operation.name for operation in OPERATIONS}
    field = offered["generate_dataset"]["parameters"]["properties"]["examples"]
    assert field["description"] == "How many examples to write."


# ---- talking


def test_plain_answer(fake_openai: FakeOpenAI, context: Context) -> None:
    """A plain answer arrives in pieces, as the model writes them."""
    fake_openai.replies.append("You have no bots yet.")
    events = list(agent_at(fake_openai, context).turn("list my bots"))
    assert events == [Said(text=text) for text in ("You", " have", " no", " bots", " yet.")]
    assert fake_openai.requests[0].json["stream"] is True


def test_request_on_the_wire(fake_openai: FakeOpenAI, context: Context) -> None:
    """The model is told what the workspace holds, what the person said, and gets its own key."""
    save_bot(context.workspace.bot("shop"), a_bot("shop"))
    fake_openai.replies.append("Hello.")
    list(agent_at(fake_openai, context).turn("Good morning"))
    [sent] = fake_openai.requests
    system, person = sent.json["messages"]
    assert system["role"] == "system"
    assert "- chatbots: shop" in system["content"]
    assert person == {"role": "user", "content": "Good morning"}
    assert (sent.json["model"], sent.json["temperature"]) == ("fake-model", 0.0)
    assert sent.headers["authorization"] == f"Bearer {KEY}"


def test_tool_call_then_answer(fake_openai: FakeOpenAI, context: Context) -> None:
    """A tool call runs the operation; its report goes back to the model, which then answers."""
    save_bot(context.workspace.bot("shop"), a_bot("shop"))
    fake_openai.replies += [using("list_bots"), "One bot: shop."]
    used, returned, *said = agent_at(fake_openai, context).turn("list my bots")
    assert used == ToolUsed(id="call-0", name="list_bots", arguments={})
    assert isinstance(returned, ToolReturned)
    assert (returned.id, returned.name) == ("call-0", "list_bots")
    assert [bot["name"] for bot in json.loads(returned.result)["bots"]] == ["shop"]
    assert words(said) == "One bot: shop."
    assert fake_openai.requests[1].json["messages"][-1]["content"] == returned.result


def test_conversation_is_remembered(fake_openai: FakeOpenAI, context: Context) -> None:
    """A later turn shows the model what was said and done before."""
    fake_openai.replies += [using("list_bots"), "None.", "As I said."]
    talker = agent_at(fake_openai, context)
    list(talker.turn("first"))
    list(talker.turn("second"))
    roles = [message["role"] for message in fake_openai.requests[-1].json["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_failed_turn_is_forgotten(fake_openai: FakeOpenAI, context: Context) -> None:
    """A turn that failed leaves no trace in the conversation."""
    fake_openai.replies += [refused(401), "Hello."]
    talker = agent_at(fake_openai, context)
    with pytest.raises(LLMStatusError):
        list(talker.turn("first"))
    list(talker.turn("second"))
    assert [message["content"] for message in fake_openai.requests[-1].json["messages"][1:]] == ["second"]


def a_bot(name: str) -> Bot:
    """Return the record of a chatbot."""
    return Bot(name=name, collection=name, base="smollm2-135m-instruct", adapter=None, served="base")


# ---- tools that fail


@pytest.mark.parametrize(
    ("name", "arguments", "failure"),
    [
        ("answer_question", {"bot": "shop", "question": "When?"}, "FAILED DataError: there is no chatbot 'shop'"),
        ("search_documents", {"query": "bees"}, "FAILED DataError: there is no collection"),
        ("curate_dataset", {"dataset": "bees"}, "FAILED DataError: "),
        ("add_documents", {"folder": "missing"}, "FAILED DataError: there is no file or folder"),
        ("build_bot", {"name": "shop"}, "FAILED SettingsError: a chatbot is built from documents or from a topic"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.islower() else "",
)
def test_failure_is_text(
    fake_openai: FakeOpenAI, context: Context, name: str, arguments: dict[str, object], failure: str
) -> None:
    """An operation that fails tells the model what failed and what to do, and the turn goes on."""
    assert result_of(fake_openai, context, name, **arguments).startswith(failure)


def test_hint_reaches_the_model(fake_openai: FakeOpenAI, context: Context) -> None:
    """The hint of a failure is part of what the model reads."""
    result = result_of(fake_openai, context, "answer_question", bot="shop", question="When?")
    assert result.endswith("Make it with: assistant bot build shop --documents FOLDER")


def test_unexpected_failure_is_text(fake_openai: FakeOpenAI, context: Context) -> None:
    """Also a failure that nobody foresaw is text for the model, and not the end of the turn."""
    (context.workspace.root / "notes.txt").touch()
    assert result_of(fake_openai, context, "make_workspace", folder="notes.txt").startswith("FAILED FileExistsError")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (ToolCall(name="answer_question", arguments={"bot": "shop"}), "question"),
        (ToolCall(name="answer_question", arguments={"bot": "../x", "question": "When?"}), "bot"),
        (ToolCall(name="build_bot", arguments={"name": "shop", "topic": "bees", "examples": "many"}), "examples"),
        (ToolCall(name="make_coffee", arguments={}), "make_coffee"),
    ],
    ids=["missing argument", "path for a name", "wrong type", "unknown tool"],
)
def test_malformed_call_is_text(fake_openai: FakeOpenAI, context: Context, call: ToolCall, named: str) -> None:
    """A call that is not possible is answered with what was wrong."""
    fake_openai.replies += [Reply(tool_calls=(call,)), "I see."]
    [result] = results(list(agent_at(fake_openai, context).turn("please")))
    assert named in result


@pytest.mark.parametrize(
    "reply",
    [
        Reply(tool_calls=(ToolCall(name="list_bots", arguments="shop, please"),)),
        Reply(),
        Reply(body='data: {"hello": 1}\n\ndata: [DONE]\n\n', content_type="text/event-stream"),
    ],
    ids=["arguments that are no JSON", "no words", "other events"],
)
def test_turn_never_ends_in_silence(fake_openai: FakeOpenAI, context: Context, reply: Reply) -> None:
    """A model that neither says anything nor calls a tool rightly is asked again, or the turn fails."""
    fake_openai.replies.append(reply)
    fake_openai.respond = lambda _: "I see."
    with contextlib.suppress(AssistantError):
        assert list(agent_at(fake_openai, context).turn("please"))


def test_long_report_is_cut(fake_openai: FakeOpenAI, context: Context) -> None:
    """A report too long for a model is cut, and says so."""
    for number in range(60):
        save_bot(context.workspace.bot(f"bot-{number}"), a_bot(f"bot-{number}"))
    result = result_of(fake_openai, context, "list_bots")
    assert 6_000 < len(result) < 6_100
    assert "(cut here, " in result


# ---- approval


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        # Were they started all the same, they would fail at once instead of working for minutes.
        ("build_bot", {"name": "bees", "documents": "missing"}),
        ("generate_dataset", {"dataset": "bees", "collection": "missing"}),
    ],
    ids=["build_bot", "generate_dataset"],
)
def test_costly_operation_needs_approval(
    fake_openai: FakeOpenAI, context: Context, recorder: Recorder, name: str, arguments: dict[str, object]
) -> None:
    """What costs something shows its plan; not approved, it does nothing and tells the model."""
    recorder.agrees = False
    assert result_of(fake_openai, context, name, **arguments).startswith("FAILED ApprovalRequired: ")
    assert len(recorder.plans) == 1
    assert not context.workspace.names("datasets")


# ---- paths


@pytest.fixture
def outside(context: Context, tmp_path: Path) -> Path:
    """A folder of documents beside the workspace, and a link to it inside."""
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "diary.md").write_text("# Diary\n\nNobody may read what is written in here.\n", encoding="utf-8")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (context.workspace.root / "link").symlink_to(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("add_documents", {"folder": "{outside}"}),
        ("add_documents", {"folder": "../private"}),
        ("add_documents", {"folder": "link"}),
        ("add_documents", {"folder": "~"}),
        ("make_workspace", {"folder": "{outside}"}),
        ("build_bot", {"name": "diary", "documents": "{outside}"}),
        ("generate_dataset", {"dataset": "diary", "topic": "diaries", "base": "{outside}"}),
    ],
    ids=["absolute", "relative", "link", "home", "init", "build", "model"],
)
def test_path_outside_the_workspace(
    fake_openai: FakeOpenAI, context: Context, outside: Path, name: str, arguments: dict[str, str]
) -> None:
    """A path that the model chose outside the workspace is refused, approved or not."""
    filled = {key: value.format(outside=outside) for key, value in arguments.items()}
    result = result_of(fake_openai, context, name, **filled)
    assert result.startswith("FAILED SettingsError: ")
    assert "lies outside the workspace" in result
    assert not (outside / "assistant.toml").exists()


# ---- turns that come to no answer


def test_going_in_circles(fake_openai: FakeOpenAI, context: Context) -> None:
    """A model that only calls tools is stopped after twenty rounds."""
    fake_openai.respond = lambda _: using("list_bots")
    with pytest.raises(TurnError, match="20 times") as caught:
        list(agent_at(fake_openai, context).turn("please"))
    assert len(fake_openai.requests) == 20
    assert caught.value.hint


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(401, "wrong key"), LLMStatusError),
        (refused(404, "no such model"), LLMStatusError),
        (refused(429, "slow down", x_should_retry="false"), RateLimitError),
        (refused(500, "broken", x_should_retry="false"), LLMStatusError),
        (Reply(text="I have been cut off here", is_cut=True), LLMConnectionError),
        (Reply(body="<html>Welcome</html>", content_type="text/html"), LLMOutputError),
        (Reply(body='{"hello": 1}'), LLMOutputError),
        (Reply(body="data: <html>\n\n", content_type="text/event-stream"), LLMOutputError),
        (
            Reply(body='data: {"error": {"message": "overloaded"}}\n\n', content_type="text/event-stream"),
            LLMError,
        ),
    ],
    ids=[
        "401",
        "404",
        "429",
        "500",
        "cut stream",
        "html",
        "other json",
        "html as events",
        "error as event",
    ],
)
def test_endpoint_that_fails(fake_openai: FakeOpenAI, context: Context, reply: Reply, kind: type[LLMError]) -> None:
    """Whatever goes wrong at the endpoint is an error of the endpoint, with a hint."""
    fake_openai.replies.append(reply)
    with pytest.raises(kind) as caught:
        list(agent_at(fake_openai, context).turn("please"))
    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert KEY not in f"{caught.value} {caught.value.hint}"


def test_wrong_key_names_the_setting(fake_openai: FakeOpenAI, context: Context) -> None:
    """A refused key is explained with the agent's own settings."""
    fake_openai.replies.append(refused(401, "wrong key"))
    with pytest.raises(LLMStatusError) as caught:
        list(agent_at(fake_openai, context).turn("please"))
    assert "ASSISTANT_AGENT_KEY" in caught.value.hint
    assert caught.value.status_code == 401


def test_passing_failure_is_retried(fake_openai: FakeOpenAI, context: Context) -> None:
    """A failure that passes is retried after the pause the server asks for."""
    fake_openai.replies += [refused(429, retry_after_ms="1"), refused(503, retry_after_ms="1"), "Hello."]
    assert words(list(agent_at(fake_openai, context).turn("hi"))) == "Hello."


def test_rate_limit_for_ever(fake_openai: FakeOpenAI, context: Context) -> None:
    """A rate limit that does not pass counts the attempts."""
    fake_openai.replies += [refused(429, "slow down", retry_after_ms="1")] * 3
    with pytest.raises(RateLimitError, match="after 3 attempts"):
        list(agent_at(fake_openai, context).turn("hi"))


def test_no_answer_in_time(fake_openai: FakeOpenAI, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is too slow is a connection error, and its hint is not about the teacher."""
    monkeypatch.setattr(agent, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(agent, "_RETRIES", 0)
    fake_openai.replies.append(Reply(text="Hello.", delay_s=5))
    with pytest.raises(LLMConnectionError, match=r"within 0\.1 s") as caught:
        list(agent_at(fake_openai, context).turn("hi"))
    assert "TEACHER" not in caught.value.hint


# ---- one at a time, and stopping


class NoParams(BaseModel):
    """Nothing to choose."""


class NoReport(BaseModel):
    """Nothing to say."""


def test_tools_run_one_after_the_other(fake_openai: FakeOpenAI, context: Context) -> None:
    """Two calls at once run one after the other, and both are answered."""
    seen: list[str] = []

    def work_slowly(params: NoParams, context: Context) -> NoReport:
        """Work for a while."""
        seen.append("begins")
        time.sleep(0.05)
        seen.append("ends")
        return NoReport()

    operation = Operation(params=NoParams, report=NoReport, run=work_slowly)
    calls = tuple(ToolCall(name="work_slowly", id=f"call-{number}") for number in range(2))
    fake_openai.replies += [Reply(tool_calls=calls), "Done."]
    events = list(agent_at(fake_openai, context, operations=[operation]).turn("please"))
    assert seen == ["begins", "ends"] * 2
    assert [event.id for event in events if isinstance(event, ToolUsed)] == ["call-0", "call-1"]
    assert sorted(event.id for event in events if isinstance(event, ToolReturned)) == ["call-0", "call-1"]


@pytest.fixture
def stop() -> threading.Event:
    """Set when the person wants the turn to end."""
    return threading.Event()


@pytest.fixture
def stoppable(context: Context, stop: threading.Event) -> Context:
    """A context whose events raise `Stopped` once the person wants that."""

    def emit(event: Event) -> None:
        if stop.is_set():
            raise Stopped

    return dataclasses.replace(context, emit=emit)


def stopped_at(done: list[int], stop: threading.Event) -> Operation[NoParams, NoReport]:
    """Return an operation of ten parts that the person stops in the third."""

    def work_in_parts(params: NoParams, context: Context) -> NoReport:
        """Work in ten parts."""
        for part in range(1, 11):
            context.progress("working", part, 10)
            done.append(part)
            if part == 3:
                stop.set()
        return NoReport()

    return Operation(params=NoParams, report=NoReport, run=work_in_parts)


def test_stopped_tool_says_so(stoppable: Context, stop: threading.Event) -> None:
    """A tool that is stopped ends at its next sign of life, and says that it was stopped."""
    done: list[int] = []
    [tool] = tools_of([stopped_at(done, stop)], stoppable)
    assert tool.invoke({}).startswith("STOPPED")
    assert done == [1, 2, 3]


def test_stopped_turn_leaves_no_trace(fake_openai: FakeOpenAI, stoppable: Context, stop: threading.Event) -> None:
    """A turn that was stopped asks the model nothing more, and is forgotten."""
    done: list[int] = []
    fake_openai.replies += [using("work_in_parts"), "Hello again."]
    talker = agent_at(fake_openai, stoppable, operations=[stopped_at(done, stop)], stop=stop)
    assert words(list(talker.turn("first"))) == ""
    assert len(fake_openai.requests) == 1
    stop.clear()
    assert words(list(talker.turn("second"))) == "Hello again."
    assert [message["content"] for message in fake_openai.requests[-1].json["messages"][1:]] == ["second"]


def test_stopped_answer_ends_in_the_middle(fake_openai: FakeOpenAI, context: Context, stop: threading.Event) -> None:
    """An answer that is being written ends where the person stopped it."""
    fake_openai.replies.append("one two three four five")
    pieces: Iterator[AgentEvent] = agent_at(fake_openai, context, stop=stop).turn("count")
    next(pieces)
    stop.set()
    assert list(pieces) == []


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_environment_is_not_sent(
    fake_openai: FakeOpenAI, context: Context, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An endpoint without a key of its own gets none of the openai library's variables."""
    monkeypatch.setenv(name, "someone-elses")
    fake_openai.replies.append("Hello.")
    endpoint = Endpoint(url=fake_openai.url, model="fake-model")
    list(Agent(endpoint, OPERATIONS, context, stop=threading.Event()).turn("hi"))
    assert "someone-elses" not in json.dumps(fake_openai.requests[0].headers)
