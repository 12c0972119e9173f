"""`assistant` and `assistant -p`: talking to the agent, with a model and without one."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from assistant.agent.offline import EXAMPLES, Command, find_command
from assistant.cli.app import APP, run
from assistant.cli.entries import LazyGroup, load_command
from pipelines.chatbot.bots import Bot, save_bot
from pipelines.workspace import Workspace
from tests.fake_openai import FakeOpenAI, Recorded, Reply, Responder, ToolCall, refused

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test: a workspace with one chatbot; nobody types anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    workspace = Workspace(tmp_path)
    workspace.make()
    bot = Bot(name="shop", collection="shop", base="smollm2-135m-instruct", adapter=None, served="base")
    save_bot(workspace.bot("shop"), bot)
    return tmp_path


@pytest.fixture
def model(fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> FakeOpenAI:
    """The fake endpoint, set as the agent's."""
    monkeypatch.setenv("ASSISTANT_AGENT_URL", fake_openai.url)
    monkeypatch.setenv("ASSISTANT_AGENT_MODEL", "fake-model")
    return fake_openai


def typing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the person type, or pipe in, a text."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def lines_of(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of an output, one a line."""
    return [json.loads(line) for line in text.splitlines()]


def calling(name: str, /, **arguments: object) -> Reply:
    """Return a reply that calls one tool."""
    return Reply(tool_calls=(ToolCall(name=name, arguments=arguments),))


def understood(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return what the command line understands: the command, and the values of its parameters."""
    command: click.Command = APP
    left = list(arguments)
    path = ["assistant"]
    while isinstance(command, LazyGroup):
        path.append(left.pop(0))
        command = load_command(path[-1], command.entries[path[-1]])
    with command.make_context(path[-1], left) as context:
        return " ".join(path), context.params


# ---- one turn with a model


def test_text(model: FakeOpenAI, capsys: Capture) -> None:
    """The answer stands on standard output, and the tools on standard error."""
    model.replies += [calling("list_bots"), "You have one bot: shop."]
    assert run(["-p", "list my bots"]) == 0
    out, err = capsys.readouterr()
    assert out == "You have one bot: shop.\n"
    assert "uses the tool list_bots {}" in err


def test_long_line_is_not_broken(model: FakeOpenAI, capsys: Capture) -> None:
    """An answer longer than the terminal is wide keeps its lines."""
    answer = "a sentence of some words " * 20 + "ends."
    model.replies.append(answer)
    assert run(["-p", "talk"]) == 0
    assert capsys.readouterr().out == f"{answer}\n"


def test_answer_is_text(model: FakeOpenAI, capsys: Capture) -> None:
    """Markup and control characters of a model reach the terminal as plain text or not at all."""
    model.replies.append("[bold red]now[/bold red] \x1b[31mred\x07 \u202eleft")
    assert run(["-p", "talk"]) == 0
    assert capsys.readouterr().out == "[bold red]now[/bold red] [31mred left\n"


def test_json(model: FakeOpenAI, capsys: Capture) -> None:
    """With -o json the whole turn is one object: the answer after the last tool, and the tools with their results."""
    first = Reply(text="Let me look.", tool_calls=(ToolCall(name="list_bots", id="call-7"),))
    model.replies += [first, "You have one bot: shop."]
    assert run(["-p", "list my bots", "-o", "json"]) == 0
    [result] = lines_of(capsys.readouterr().out)
    assert result.pop("seconds") >= 0
    [tool] = result.pop("tools")
    assert (tool["name"], tool["arguments"]) == ("list_bots", {})
    assert json.loads(tool["result"])["bots"][0]["name"] == "shop"
    assert result == {"answer": "You have one bot: shop.", "stopped": False, "model": "fake-model"}


def test_stream_json(model: FakeOpenAI, capsys: Capture) -> None:
    """With -o stream-json every event is an object of its own, and the last one sums up."""
    model.replies += [calling("list_bots"), "One bot."]
    assert run(["-p", "list my bots", "-o", "stream-json"]) == 0
    used, returned, *texts, done = lines_of(capsys.readouterr().out)
    assert used == {"type": "tool_call", "id": "call-0", "name": "list_bots", "arguments": {}}
    assert (returned["type"], returned["id"], returned["name"]) == ("tool_result", "call-0", "list_bots")
    assert texts == [{"type": "text", "text": "One"}, {"type": "text", "text": " bot."}]
    assert (done["type"], done["answer"], done["stopped"]) == ("done", "One bot.", False)


def test_prompt_from_standard_input(model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-p -` reads what to say from standard input."""
    typing(monkeypatch, "什么是蜂箱？\nAnd why?\n")
    model.replies.append("A hive.")
    assert run(["-p", "-"]) == 0
    assert model.requests[0].json["messages"][-1]["content"] == "什么是蜂箱？\nAnd why?"


def test_teacher_answers_where_no_agent_is_set(
    fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Without an endpoint of its own the agent uses the teacher's, with the teacher's key."""
    for name, value in {"URL": fake_openai.url, "MODEL": "the-teacher", "KEY": "sk-tests-only-7f3a"}.items():
        monkeypatch.setenv(f"ASSISTANT_TEACHER_{name}", value)
    monkeypatch.setenv("ASSISTANT_AGENT_MODEL", "another")
    fake_openai.replies.append("Hello.")
    assert run(["-p", "hi", "-o", "json"]) == 0
    assert fake_openai.requests[0].json["model"] == "another"
    assert fake_openai.requests[0].headers["authorization"] == "Bearer sk-tests-only-7f3a"


def test_foreign_credentials_are_dropped(model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the openai library's own variables reaches the agent's endpoint."""
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "someone-elses")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: someone-elses")
    model.replies.append("Hello.")
    assert run(["-p", "hi"]) == 0
    assert "someone-elses" not in json.dumps(model.requests[0].headers)


# ---- approval


def test_end_of_input_is_a_no(model: FakeOpenAI, here: Path, capsys: Capture) -> None:
    """Where nobody can be asked, a costly tool is not approved, and the model is told."""
    model.replies += [calling("build_bot", name="bees", documents="missing"), "You did not approve."]
    assert run(["-p", "make a bot about bees"]) == 0
    assert "FAILED ApprovalRequired" in model.requests[1].json["messages"][-1]["content"]
    err = capsys.readouterr().err
    assert "Build the chatbot bees from missing" in err
    assert "Go ahead?" in err
    assert not (here / "datasets").exists()


@pytest.mark.parametrize(("reply", "agreed"), [("y", True), ("是", True), ("n", False), ("", False), ("yep", False)])
def test_only_a_yes_is_a_yes(model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, reply: str, agreed: bool) -> None:
    """What the person types decides, and anything but a yes is a no."""
    typing(monkeypatch, f"{reply}\n")
    model.replies += [calling("build_bot", name="bees", documents="missing"), "I see."]
    assert run(["-p", "make a bot"]) == 0
    failure = "FAILED DataError" if agreed else "FAILED ApprovalRequired"
    assert failure in model.requests[1].json["messages"][-1]["content"]


def test_yes_agrees_beforehand(model: FakeOpenAI, capsys: Capture) -> None:
    """With --yes the plan is shown, and nobody is asked."""
    model.replies += [calling("build_bot", name="bees", documents="missing"), "There is no such folder."]
    assert run(["--yes", "-p", "make a bot"]) == 0
    assert "FAILED DataError" in model.requests[1].json["messages"][-1]["content"]
    err = capsys.readouterr().err
    assert "Build the chatbot bees" in err
    assert "Go ahead?" not in err


def test_agent_is_confined_to_the_workspace(model: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model cannot read documents outside the workspace, agreed beforehand or not."""
    outside = tmp_path_factory.mktemp("private")
    model.replies += [calling("add_documents", folder=str(outside)), "I may not."]
    assert run(["--yes", "-p", "read my diary"]) == 0
    assert "lies outside the workspace" in model.requests[1].json["messages"][-1]["content"]


# ---- failures and interruptions


@pytest.mark.parametrize("output", ["text", "json", "stream-json"])
def test_refused_key(model: FakeOpenAI, capsys: Capture, output: str) -> None:
    """A refused key ends with exit code 4; a program gets the error as an object, a person in words."""
    model.replies.append(refused(401, "wrong key"))
    assert run(["-p", "hi", "-o", output]) == 4
    out, err = capsys.readouterr()
    if output == "text":
        assert out == ""
        assert "ASSISTANT_AGENT_KEY" in err
    else:
        [error] = lines_of(out)
        assert error["error"]["type"] == "LLMStatusError"
        assert "ASSISTANT_AGENT_KEY" in error["error"]["hint"]


def interrupting(times: int) -> Responder:
    """Return a responder during whose work the person types Ctrl-C."""

    def respond(sent: Recorded) -> Reply:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        return calling("list_bots")

    return respond


@pytest.mark.parametrize("output", ["text", "json", "stream-json"])
def test_interrupted_answer(model: FakeOpenAI, capsys: Capture, output: str) -> None:
    """Ctrl-C lets a turn end in order: it says that it was stopped, and asks the model nothing more."""
    model.replies.append(interrupting(1))
    before = signal.getsignal(signal.SIGINT)
    run(["-p", "list my bots", "-o", output])
    out, err = capsys.readouterr()
    if output == "text":
        assert "The answer was stopped." in err
    else:
        assert lines_of(out)[-1]["stopped"] is True
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_twice(model: FakeOpenAI, capsys: Capture) -> None:
    """A second Ctrl-C ends the program with exit code 130."""
    model.replies.append(interrupting(2))
    assert run(["-p", "list my bots"]) == 130
    assert "Stopped." in capsys.readouterr().err


def test_output_without_prompt(capsys: Capture) -> None:
    """An output for programs without -p is a mistake of usage."""
    assert run(["-o", "json"]) == 2
    assert "-p TEXT" in "".join(capsys.readouterr())


# ---- a conversation


def test_conversation(model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Each line is a turn of one conversation, until the person leaves; empty lines are passed over."""
    typing(monkeypatch, "first\n\nsecond\n/quit\nthird\n")
    model.replies += ["One.", "Two."]
    assert run([]) == 0
    out, err = capsys.readouterr()
    assert out == "One.\nTwo.\n"
    assert "Talking with fake-model" in err
    assert "Good-bye." in err
    contents = [message["content"] for message in model.requests[1].json["messages"][1:]]
    assert contents == ["first", "One.", "second"]


def test_conversation_survives_a_failure(model: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A turn that fails is told, and the conversation goes on to the end of the input."""
    typing(monkeypatch, "first\nsecond\n")
    model.replies += [refused(401), "Two."]
    assert run([]) == 0
    out, err = capsys.readouterr()
    assert out == "Two.\n"
    assert "answered 401" in err


def test_offline_conversation(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without a model, lines become commands, and what is not understood or fails does not end the talk."""
    typing(monkeypatch, "list my bots\nsing a song\nask nobody: when?\nmake a bot about bees\n")
    assert run([]) == 0
    out, err = capsys.readouterr()
    assert "No model is set for the agent" in err
    assert "shop" in out
    assert "I did not understand that." in err
    assert "there is no chatbot 'nobody'" in err
    assert "Not approved; nothing was done." in err
    assert err.rstrip().endswith("Good-bye.")


@pytest.mark.parametrize("word", ["/help", "help", "帮助"])
def test_help_in_a_conversation(monkeypatch: pytest.MonkeyPatch, capsys: Capture, word: str) -> None:
    """Help is the list of commands."""
    typing(monkeypatch, f"{word}\n")
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


# ---- without a model


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ("build a chatbot called shop from ./documents", "bot build shop --documents ./documents"),
        ("Build me a bot named helper of the files in ./my-docs.", "bot build helper --documents ./my-docs"),
        ("make a bot from documents", "bot build documents --documents documents"),
        ("train a chat bot on ~/notes/bees", "bot build bees --documents ~/notes/bees"),
        ('create an assistant from "./docs"', "bot build docs --documents ./docs"),
        ("用 ./documents 做一个机器人", "bot build documents --documents ./documents"),
        ("根据 ./资料 构建聊天机器人，叫小店", "bot build 小店 --documents ./资料"),
        ("make a bot about keeping bees", "bot build keeping-bees --topic 'keeping bees'"),
        ("做一个关于养蜂的机器人", "bot build 养蜂 --topic 养蜂"),
        (
            "generate 100 examples about sourdough bread",
            "data generate sourdough-bread --topic 'sourdough bread' --examples 100",
        ),
        ("write questions about tea", "data generate tea --topic tea --examples 200"),
        ("生成 50 条关于茶叶的问答", "data generate 茶叶 --topic 茶叶 --examples 50"),
        ("add the documents in ./docs", "docs add ./docs"),
        ("Add the files in ../docs.", "docs add ../docs"),
        ("add the folder ..", "docs add .."),
        ("添加 ./docs", "docs add ./docs"),
        ("chat with shop", "bot chat shop"),
        ("和 shop 聊天", "bot chat shop"),
        ("ask shop: when do you open on Sundays?", "bot ask shop 'when do you open on Sundays?'"),
        ("Ask the bot shop when it opens", "bot ask shop 'when it opens'"),
        ("问 shop：星期天几点开门？", "bot ask shop 星期天几点开门？"),
        ("search shop for opening hours", "docs search 'opening hours' --collection shop"),
        ("在 shop 里搜索 营业时间", "docs search 营业时间 --collection shop"),
        ("evaluate the adapter shop", "evaluate shop"),
        ("评测 shop", "evaluate shop"),
        ("fine-tune a model on the dataset shop", "train start shop"),
        ("训练 shop", "train start shop"),
        ("list my bots", "bot list"),
        ("which chatbots do I have?", "bot list"),
        ("有哪些机器人？", "bot list"),
        ("show the datasets", "data list"),
        ("列出数据集", "data list"),
        ("what adapters are there", "train list"),
        ("显示适配器", "train list"),
        ("list models", "models list"),
        ("查看模型", "models list"),
        ("check my machine", "doctor"),
        ("检查一下", "doctor"),
    ],
)
def test_plain_request_is_a_command(request_: str, line: str) -> None:
    """A plain request, in English or Chinese, is the command that does it."""
    found = find_command(request_)
    assert found is not None
    assert understood(found.arguments) == understood(shlex.split(line))


@pytest.mark.parametrize("request_", ["help", "What can you do?", "帮助", "你能做什么？"])
def test_request_for_help(request_: str) -> None:
    """A request for help is the list of commands."""
    assert find_command(request_) == Command(arguments=("--help",), is_reading=True)


@pytest.mark.parametrize("request_", ["", "   ", "sing a song", "唱首歌", "bees", "why?", "the list"])
def test_other_request_is_none(request_: str) -> None:
    """What is no request for a command is not made into one."""
    assert find_command(request_) is None


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_understood(example: str, capsys: Capture) -> None:
    """Each example that the offline agent names is a request it understands."""
    assert run(["-p", example, "-o", "json"]) == 0
    [found] = lines_of(capsys.readouterr().out)
    assert found["type"] == "command"


@pytest.mark.parametrize(
    ("request_", "is_reading"),
    [
        ("list my bots", True),
        ("ask shop: when?", True),
        ("help", True),
        ("make a bot about bees", False),
        ("add the documents in ./docs", False),
        ("训练 shop", False),
    ],
)
def test_only_reading_runs_unasked(request_: str, is_reading: bool) -> None:
    """Commands that change or cost something are not harmless."""
    found = find_command(request_)
    assert isinstance(found, Command)
    assert found.is_reading is is_reading


def test_offline_text(capsys: Capture) -> None:
    """A harmless request is run at once, and the command is named."""
    assert run(["-p", "list my bots"]) == 0
    out, err = capsys.readouterr()
    assert "assistant bot list" in err
    assert "shop" in out


@pytest.mark.parametrize("output", ["json", "stream-json"])
@pytest.mark.parametrize("request_", ["make a bot about keeping bees", "做一个关于养蜂的机器人"])
def test_offline_json_names_the_command(capsys: Capture, here: Path, output: str, request_: str) -> None:
    """A program is told the command and runs it itself; nothing is done."""
    assert run(["-p", request_, "-o", output]) == 0
    [found] = lines_of(capsys.readouterr().out)
    assert found["type"] == "command"
    assert found["arguments"][:2] == ["bot", "build"]
    assert not (here / "datasets").exists()


def test_offline_json_of_nothing_understood(capsys: Capture) -> None:
    """A program is told that nothing was understood, with examples."""
    assert run(["-p", "sing a song", "-o", "json"]) == 0
    [found] = lines_of(capsys.readouterr().out)
    assert (found["type"], found["command"]) == ("unknown", None)
    assert found["examples"]


@pytest.mark.parametrize(
    "request_", ["make a bot about keeping bees", "做一个关于养蜂的机器人", "add the documents in ./docs"]
)
def test_offline_end_of_input_is_a_no(capsys: Capture, here: Path, request_: str) -> None:
    """Where nobody agrees, nothing is done: exit code 6, and the command to run oneself."""
    assert run(["-p", request_]) == 6
    assert "Run it yourself: assistant " in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["assistant.toml", "bots"]


@pytest.mark.parametrize(
    "request_",
    ["make a bot called bees from ./missing", "add the documents in ./missing"],
    ids=["costly", "not costly"],
)
def test_offline_yes(capsys: Capture, request_: str) -> None:
    """With --yes the command is run unasked, whether or not it has such an option itself."""
    assert run(["--yes", "-p", request_]) == 7
    err = capsys.readouterr().err
    assert "Run it?" not in err
    assert "Go ahead?" not in err
    assert "there is no file or folder" in err


def test_offline_prompt_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """`-p -` reads the request from standard input, and what it asks is a no."""
    typing(monkeypatch, "make a bot about bees\n")
    assert run(["-p", "-"]) == 6
    assert "Run it?" in capsys.readouterr().err


def test_workspace_is_passed_on(tmp_path_factory: pytest.TempPathFactory, capsys: Capture) -> None:
    """A request is run in the workspace that was named."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert run(["-w", str(elsewhere), "-p", "ask shop: when?"]) == 7
    assert "there is no chatbot 'shop'; known: none" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("question", ["--help", "-1 degrees, is that cold?", "--json"])
def test_question_is_never_an_option(capsys: Capture, question: str) -> None:
    """What a person asks a chatbot is never taken for an option of the command."""
    assert run(["-p", f"ask nobody: {question}"]) == 7
    assert "there is no chatbot 'nobody'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("zh", "我没有听懂"), ("en", "I did not understand")],
)
def test_interface_language(capsys: Capture, monkeypatch: pytest.MonkeyPatch, setting: str, expected: str) -> None:
    """The interface speaks the language that is set."""
    monkeypatch.setenv("ASSISTANT_INTERFACE_LANGUAGE", setting)
    assert run(["-p", "sing a song"]) == 0
    assert expected in capsys.readouterr().err
