"""The command line: its commands, its exit codes, its JSON, and what it loads."""

from __future__ import annotations

import ast
import importlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from assistant import __version__
from assistant.cli.app import APP, run
from assistant.cli.entries import Entry, LazyGroup, load_command, operations_of
from pipelines.operation import Operation
from pipelines.workspace import Workspace
from tests.fake_openai import FakeOpenAI, refused

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parent.parent


def entries_of(group: LazyGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Entry, click.Command]]:
    """Yield every command below a group: its words, its entry and itself."""
    for name, entry in group.entries.items():
        command = load_command(name, entry)
        yield (*path, name), entry, command
        if isinstance(command, LazyGroup):
            yield from entries_of(command, (*path, name))


def imported(name: str) -> object:
    """Return what an entry names."""
    module, _colon, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


COMMANDS = list(entries_of(APP))
OPERATIONS: list[Operation[Any, Any]] = list(operations_of(APP))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test: an empty one, and nobody types anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return tmp_path


def printed(capsys: Capture) -> tuple[str, str]:
    """Return standard output and standard error, each on one line."""
    out, err = capsys.readouterr()
    return " ".join(out.split()), " ".join(err.split())


def words(value: object) -> str:
    """Return the id of a parameter: what would be typed."""
    return " ".join(value) if isinstance(value, list | tuple) else ""


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# ---- commands and operations


def test_every_operation_has_a_command() -> None:
    """Each operation that is written in `pipelines` can be started from the command line."""
    written = {
        f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}:{target.id}"
        for path in (ROOT / "pipelines").rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Name) and node.value.func.id == "Operation"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert len(written) > 15
    assert written <= {entry.operation or entry.target for _path, entry, _command in COMMANDS}


@pytest.mark.parametrize(
    ("entry", "command"), [pytest.param(entry, command, id=" ".join(path)) for path, entry, command in COMMANDS]
)
def test_summary_is_written_once(entry: Entry, command: click.Command) -> None:
    """What a list of commands says of one is what the command says of itself."""
    assert entry.summary == (command.help or "").partition("\n")[0]
    if not isinstance(command, LazyGroup):
        assert entry.summary == command.short_help


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_command_takes_what_the_operation_takes(operation: Operation[Any, Any]) -> None:
    """The parameters of a command are those of its operation, --json, and approval where it costs something."""
    [(entry, command)] = [
        (entry, each) for _path, entry, each in COMMANDS if imported(entry.operation or entry.target) is operation
    ]
    common = {"json_output"} | ({"yes", "dry_run"} if operation.plan is not None else set())
    taken = {parameter.name for parameter in command.params}
    assert taken >= set(operation.params.model_fields) | common
    if not entry.operation:
        assert taken == set(operation.params.model_fields) | common


@pytest.mark.parametrize("path", [(), *(path for path, _entry, _command in COMMANDS)], ids=words)
def test_help(path: tuple[str, ...], capsys: Capture) -> None:
    """Every command explains itself, its options and its arguments."""
    assert run([*path, "--help"]) == 0
    out, err = printed(capsys)
    assert out.startswith(f"Usage: {' '.join(['assistant', *path])} ")
    assert err == ""
    for words, entry, _command in COMMANDS:
        if words[:-1] == path:
            assert entry.summary in out


@pytest.mark.parametrize(
    ("path", "command"),
    [pytest.param(path, command, id=" ".join(path)) for path, _, command in COMMANDS if isinstance(command, LazyGroup)],
)
def test_group_without_command(path: tuple[str, ...], command: click.Command, capsys: Capture) -> None:
    """A group without a command is a mistake of usage that shows the commands, not the words of an error."""
    assert run(list(path)) == 2
    printed_text = " ".join(printed(capsys))
    assert command.help is not None
    assert command.help in printed_text
    assert "Error: Usage" not in printed_text


def test_version(capsys: Capture) -> None:
    """The version is the package's."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"assistant {__version__}\n"


# ---- exit codes


WRONG_USAGE = [
    (["nope"], "nope"),
    (["bot", "nope"], "nope"),
    (["--nope"], "--nope"),
    (["bot", "ask", "shop"], "QUESTION"),
    (["bot", "ask", "shop", ""], "question"),
    (["bot", "ask", "../shop", "When?"], "bot"),
    (["data", "generate", "bees", "--examples", "many"], "--examples"),
    (["data", "generate", "bees", "--examples", "0"], "examples"),
    (["docs", "add", "docs", "--collection", "a/b"], "collection"),
    (["docs", "list", "--yes"], "--yes"),
    (["-p"], "-p"),
    (["-o", "xml"], "xml"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG_USAGE, ids=words)
def test_usage(arguments: list[str], named: str, here: Path, capsys: Capture) -> None:
    """A mistake of usage has exit code 2, names what is wrong on standard error, and does nothing."""
    assert run(arguments) == 2
    out, err = printed(capsys)
    assert out == ""
    assert named in err
    assert not list(here.iterdir())


@pytest.mark.parametrize(("arguments", "named"), WRONG_USAGE[:-2], ids=words)
def test_usage_for_programs(arguments: list[str], named: str, capsys: Capture) -> None:
    """With --json a mistake of usage is one object on standard output."""
    assert run([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert (error["type"], error["hint"], err) == ("UsageError", "See --help.", "")
    assert named in error["message"]


SETTINGS = {
    "other version": "workspace_version = 99\n",
    "no version": 'teacher_url = ""\n',
    "no TOML": "workspace_version = \n",
    "unknown setting": "workspace_version = 1\ntemperature = 0\n",
    "out of range": "workspace_version = 1\nteacher_concurrency = 0\n",
    "wrong type": 'workspace_version = 1\nthreads = "many"\n',
    "key": 'workspace_version = 1\nteacher_key = "sk-tests-only-7f3a"\n',
    "address without model": 'workspace_version = 1\nteacher_url = "http://127.0.0.1:9/v1"\n',
    "address without scheme": 'workspace_version = 1\nteacher_url = "127.0.0.1"\nteacher_model = "m"\n',
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_settings(text: str, here: Path, capsys: Capture) -> None:
    """Settings that cannot be used have exit code 3, an explanation, and no key in it."""
    (here / "assistant.toml").write_text(text, encoding="utf-8")
    assert run(["models", "list", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["type"] == "SettingsError"
    assert "sk-tests" not in out + err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["bot", "list"], "workspace_version is 99, expected 1"),
        (["init", "."], "workspace_version is 99, expected 1"),
        (["-p", "list my bots"], "workspace_version is 99, expected 1"),
    ],
    ids=words,
)
def test_workspace_of_another_version(arguments: list[str], named: str, here: Path, capsys: Capture) -> None:
    """A workspace that another version made is refused with both versions, and left as it is."""
    (here / "assistant.toml").write_text("workspace_version = 99\n", encoding="utf-8")
    assert run(arguments) == 3
    assert named in printed(capsys)[1]
    assert [path.name for path in here.iterdir()] == ["assistant.toml"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-w", "missing", "bot", "list"], "assistant init missing"),
        (["data", "generate", "bees", "--topic", "bees", "--base", "nope", "--yes"], "smollm2-135m-instruct"),
        (["data", "generate", "bees", "--yes"], "--collection"),
        (["data", "generate", "bees", "--topic", "bees", "--collection", "bees", "--yes"], "not both"),
    ],
    ids=["missing workspace", "unknown model", "nothing to write about", "two things to write about"],
)
def test_settings_of_a_command(arguments: list[str], named: str, capsys: Capture) -> None:
    """What the machine or the settings do not allow has exit code 3, and says what to do."""
    assert run(arguments) == 3
    assert named in printed(capsys)[1]


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--yes"]], ids=["asked", "dry", "agreed"])
@pytest.mark.parametrize("source", [[], ["--documents", "docs", "--topic", "bees"]], ids=["nothing", "both"])
def test_impossible_build(options: list[str], source: list[str], capsys: Capture) -> None:
    """A chatbot of nothing, or of two things, is refused before anybody is asked to agree."""
    assert run(["bot", "build", "bees", *source, *options]) == 3
    err = printed(capsys)[1]
    assert "--documents FOLDER or --topic TEXT" in err
    assert "Go ahead?" not in err


@pytest.mark.parametrize("status", [401, 500, None])
def test_endpoint(
    status: int | None, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """An endpoint that refuses, fails or is not there has exit code 4."""
    if status is not None:
        fake_openai.answers_probes = False
        fake_openai.replies.append(refused(status))
    url = fake_openai.url if status is not None else f"http://127.0.0.1:{closed_port()}/v1"
    for name, value in {"URL": url, "MODEL": "fake-model", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"ASSISTANT_TEACHER_{name}", value)
    assert run(["data", "generate", "bees", "--topic", "Keeping bees", "--yes", "--json"]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == ("LLMConnectionError" if status is None else "LLMStatusError")
    assert url in error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bot", "build", "bees", "--documents", "missing"],
        ["data", "generate", "bees", "--collection", "missing"],
    ],
    ids=words,
)
@pytest.mark.parametrize("is_json", [False, True], ids=["words", "json"])
def test_approval(arguments: list[str], is_json: bool, here: Path, capsys: Capture) -> None:
    """Where nobody agrees, exit code 6 and nothing done; the plan was shown on standard error."""
    assert run([*arguments, "--json"] if is_json else arguments) == 6
    out, err = capsys.readouterr()
    assert "Go ahead? [y/N]" in err
    if is_json:
        error = json.loads(out)["error"]
        assert error["type"] == "ApprovalRequired"
        assert "--yes" in error["hint"]
    else:
        assert out == ""
        assert "--yes" in err
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["docs", "add", "missing"], "missing"),
        (["docs", "add", "empty"], "holds no documents"),
        (["docs", "add", "hidden"], "holds no documents"),
        (["docs", "add", "pictures"], "holds no documents"),
        (["docs", "add", "pictures/bee.png"], "of a kind that cannot be read"),
        (["docs", "list"], "no collection 'default'"),
        (["docs", "show", "bees.md"], "no collection 'default'"),
        (["docs", "search", "bees"], "no collection 'default'"),
        (["docs", "remove", "bees.md", "--yes"], "no collection 'default'"),
        (["bot", "ask", "shop", "When?"], "no chatbot 'shop'"),
        (["bot", "chat", "shop"], "no chatbot 'shop'"),
        (["bot", "build", "shop", "--documents", "missing", "--yes"], "missing"),
        (["bot", "build", "shop", "--documents", "empty", "--yes"], "holds no documents"),
        (["data", "generate", "bees", "--collection", "bees", "--yes"], "no collection 'bees'"),
        (["data", "plan", "bees", "--collection", "bees", "--yes"], "no collection 'bees'"),
        (["data", "curate", "bees"], "no dataset 'bees'"),
        (["data", "explain", "bees", "a1b2c3d4"], "no dataset 'bees'"),
        (["data", "export", "bees"], "no dataset 'bees'"),
        (["data", "review", "bees", "--undo"], "no dataset 'bees'"),
        (["data", "show", "bees"], "no dataset 'bees'"),
        (["evaluate", "bees"], "no adapter 'bees'"),
    ],
    ids=words,
)
def test_data(arguments: list[str], named: str, here: Path, capsys: Capture) -> None:
    """Documents, datasets and chatbots that are not there or cannot be used have exit code 7."""
    for folder, file in (("empty", None), ("hidden", ".notes.md"), ("pictures", "bee.png")):
        (here / folder).mkdir()
        if file is not None:
            (here / folder / file).write_text("bees", encoding="utf-8")
    assert run(arguments) == 7
    assert named in printed(capsys)[1]


def test_training_without_data(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A dataset that is not there is told before any model is converted or loaded for it."""
    monkeypatch.setenv("ASSISTANT_MODELS_FOLDER", str(here / "models"))
    assert run(["train", "start", "bees", "--yes"]) == 7
    assert "train.jsonl" in printed(capsys)[1]
    assert not (here / "models").exists()


@pytest.mark.parametrize(
    ("failing", "listing", "field"),
    [
        (["data", "generate", "bees", "--collection", "bees", "--yes"], ["data", "list"], "datasets"),
        (["data", "plan", "bees", "--collection", "bees", "--yes"], ["data", "list"], "datasets"),
        (["train", "start", "bees", "--yes"], ["train", "list"], "adapters"),
        (["bot", "build", "bees", "--documents", "missing", "--yes"], ["bot", "list"], "bots"),
    ],
    ids=["dataset", "plan", "adapter", "bot"],
)
def test_failure_makes_nothing(failing: list[str], listing: list[str], field: str, here: Path, capsys: Capture) -> None:
    """What a failed command did not make is neither listed nor told to the agent."""
    assert run(failing) == 7
    capsys.readouterr()
    assert run([*listing, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[field] == []
    assert Workspace(here).names(field) == []


def test_failure_of_the_system(here: Path, capsys: Capture) -> None:
    """What the operating system refuses has exit code 1, and names the file."""
    (here / "notes.txt").touch()
    assert run(["init", "notes.txt", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {"type": "FileExistsError", "message": f"File exists ({here / 'notes.txt'})", "hint": ""}


@pytest.mark.parametrize("braces", ["{}", "{0}", "{name}", "{", "%s"])
def test_braces_in_a_message(braces: str, here: Path, capsys: Capture) -> None:
    """A message without a hint is printed as it stands, whatever is in it."""
    (here / "notes.txt").touch()
    assert run(["init", f"notes.txt/{braces}"]) == 1
    assert "Not a directory" in printed(capsys)[1]


# ---- output for programs


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["init", "place"], {"workspace", "documents", "created"}),
        (["bot", "list"], {"bots"}),
        (["data", "list"], {"datasets"}),
        (["train", "list"], {"adapters"}),
        (["models", "list"], {"models", "teacher", "agent"}),
        (["doctor"], {"ok", "checks"}),
        (["usage"], {"usage", "calls", "tokens_in", "tokens_out", "cost_usd", "unpriced_calls"}),
    ],
    ids=words,
)
def test_json_is_one_object(arguments: list[str], fields: set[str], capsys: Capture) -> None:
    """With --json, standard output is one JSON object on one line and nothing else."""
    assert run([*arguments, "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == fields


@pytest.mark.parametrize(
    "arguments", [["bot", "list"], ["data", "list"], ["models", "list"], ["doctor"], ["usage"]], ids=words
)
def test_reading_leaves_nothing_behind(arguments: list[str], here: Path) -> None:
    """A command that only reads does not make the current folder a workspace."""
    assert run(arguments) == 0
    assert not list(here.iterdir())


def test_init_twice(here: Path, capsys: Capture) -> None:
    """A folder is made a workspace once, and its settings are left alone after that."""
    assert run(["init", "place", "--json"]) == 0
    settings = here / "place" / "assistant.toml"
    settings.write_text("workspace_version = 1\nthreads = 1\n", encoding="utf-8")
    assert run(["init", "place", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["created"], second["created"]) == (True, False)
    assert settings.read_text(encoding="utf-8").endswith("threads = 1\n")


def test_workspace_around_the_current_folder(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The workspace is the one that the current folder lies in."""
    Workspace(here).make()
    (here / "documents" / "deep").mkdir(parents=True)
    monkeypatch.chdir(here / "documents" / "deep")
    assert run(["doctor", "--json"]) == 0
    checks = {check["name"]: check["detail"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["disk"].endswith(f"GB free at {here}")


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        (["bot", "build", "bees", "--topic", "Keeping bees"], ["notes", "200 examples", "QLoRA"]),
        (["bot", "build", "bees", "--documents", "docs", "--examples", "50"], ["index the documents", "50 examples"]),
        (["data", "generate", "bees", "--topic", "Keeping bees"], ["writes questions on this machine"]),
    ],
    ids=words,
)
def test_dry_run(arguments: list[str], steps: list[str], here: Path, capsys: Capture) -> None:
    """A dry run shows what would be done, how long it takes and what it costs, asks nothing and does nothing."""
    assert run([*arguments, "--dry-run"]) == 0
    shown = " ".join(printed(capsys))
    for step in [*steps, "Time", "Cost"]:
        assert step in shown
    assert "Go ahead?" not in shown
    assert not list(here.iterdir())


def test_a_training_is_planned_of_its_data(here: Path, capsys: Capture) -> None:
    """The plan says on what of the data and how; without agreement nothing is; without data there is no plan."""
    row = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Bees."}]}
    (here / "bees.jsonl").write_text(f"{json.dumps(row)}\n" * 3, encoding="utf-8")
    assert run(["train", "start", "bees.jsonl", "--dry-run"]) == 0
    shown = " ".join(printed(capsys))
    for step in ("on 2 examples", "qlora", "learning rate 0.0007", "Time"):
        assert step in shown
    assert run(["train", "start", "bees.jsonl", "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ApprovalRequired"
    assert run(["train", "start", "bees"]) == 7
    assert not (here / "adapters").exists()


def test_dry_run_for_programs(capsys: Capture) -> None:
    """With --json a dry run prints the plan as one JSON object."""
    assert run(["data", "generate", "bees", "--topic", "Keeping bees", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["title"] == "Write 200 examples about the topic 'Keeping bees'"
    assert plan["calls"] == 0


def test_dry_run_with_a_teacher(monkeypatch: pytest.MonkeyPatch, fake_openai: FakeOpenAI, capsys: Capture) -> None:
    """A dry run with a remote teacher names where passages would go and what that costs, and sends nothing."""
    values = {"URL": fake_openai.url, "MODEL": "fake-model", "INPUT_PRICE": "10", "OUTPUT_PRICE": "100"}
    for name, value in values.items():
        monkeypatch.setenv(f"ASSISTANT_TEACHER_{name}", value)
    assert run(["data", "generate", "bees", "--topic", "Keeping bees", "--examples", "1000", "--dry-run"]) == 0
    err = printed(capsys)[1]
    assert f"sent to fake-model at {fake_openai.url}" in err
    assert "a pilot of a few examples comes first" in err
    assert "Calls to the teacher 1300" in err
    assert "about $44.20" in err
    assert not fake_openai.requests


# ---- what is loaded

_HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "chromadb", "langchain", "langchain_core", "openai", "httpx"}
_LOADED = """
import json, sys
sys.argv = ["assistant", *{arguments!r}]
from assistant.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (["--version"], {"pydantic", "rich", "click", "prompt_toolkit", "jinja2"}),
        (["--help"], {"pydantic", "rich", "prompt_toolkit", "jinja2"}),
        (["bot", "--help"], {"pydantic", "rich", "prompt_toolkit", "jinja2"}),
        (["bot", "build", "--help"], set()),
        (["bot", "list"], set()),
        (["data", "generate", "bees", "--topic", "bees", "--dry-run"], set()),
        (["data", "plan", "bees", "--topic", "bees", "--dry-run"], set()),
        (["data", "--help"], {"pydantic", "rich", "prompt_toolkit", "jinja2"}),
        (["usage"], set()),
        (["-p", "list my bots"], set()),
    ],
    ids=words,
)
def test_nothing_heavy_is_loaded(arguments: list[str], others: set[str], here: Path) -> None:
    """What must answer at once loads no heavy library."""
    script = _LOADED.format(arguments=arguments)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
        cwd=here,
        env=environment,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "assistant" in loaded
    assert loaded & (_HEAVY | others) == set()
