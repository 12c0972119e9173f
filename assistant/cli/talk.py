"""`assistant` and `assistant -p`: talk to the agent, or say one thing to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from assistant.agent.offline import EXAMPLES, find_command
from assistant.cli.entries import INTERRUPTED, operations_of
from assistant.cli.session import make_context
from assistant.terminal.approval import ask_yes
from assistant.terminal.console import Terminal, open_terminal
from assistant.terminal.lines import LineReader
from assistant.terminal.talk import show_agent_event
from pipelines.errors import ApprovalRequired, AssistantError
from pipelines.lazy import lazy_import
from pipelines.operation import Context, Event

if TYPE_CHECKING:
    from assistant.agent import agent, tools
else:
    agent = lazy_import("assistant.agent.agent", extra="agent")
    tools = lazy_import("assistant.agent.tools", extra="agent")

Output = Literal["text", "json", "stream-json"]


class Brain(Protocol):
    """Whoever answers the person."""

    def turn(self, text: str) -> None:
        """Do what the person asks, and show it.

        Raises:
            AssistantError: It could not be done.
        """


def talk(prompt: str | None, *, output: Output, yes: bool) -> int:
    """Talk until the person leaves, or do one thing; return the exit code."""
    if prompt == "-":
        prompt = sys.stdin.read()
    with open_terminal(is_json=output != "text") as terminal:
        stop = threading.Event()
        context = _stoppable(make_context(terminal, yes=yes, confine=True), stop)
        if prompt is not None:
            _brain(context, terminal, stop, output=output, yes=yes).turn(prompt.strip())
            return INTERRUPTED if stop.is_set() else 0
        if output != "text":
            raise click.UsageError(f"--output {output} needs -p TEXT")
        _converse(_brain(context, terminal, stop, output=output, yes=yes), context, terminal)
    return 0


def _brain(context: Context, terminal: Terminal, stop: threading.Event, *, output: Output, yes: bool) -> Brain:
    endpoint = context.settings.agent()
    if endpoint is None:
        return OfflineBrain(terminal, output=output, yes=yes)
    root = click.get_current_context().find_root().command
    talker = agent.Agent(endpoint, operations_of(root), context, stop=stop)
    return ModelBrain(talker, terminal, stop, model=endpoint.model, output=output)


def _converse(brain: Brain, context: Context, terminal: Terminal) -> None:
    endpoint = context.settings.agent()
    if endpoint is not None:
        terminal.show_dim(
            terminal.say(
                "Talking with {bot}. Ctrl-C stops an answer, Ctrl-D or /quit ends the chat, /help lists commands.",
                bot=endpoint.model,
            )
        )
    else:
        terminal.show_dim(terminal.say("No model is set for the agent, so it only maps plain requests to commands."))
        terminal.show_dim(terminal.say("Set ASSISTANT_AGENT_URL and ASSISTANT_AGENT_MODEL to talk freely."))
    history = context.workspace.root / ".history" if context.workspace.is_made() else None
    reader = LineReader(prompt=f"{terminal.say('You')} › ", history=history)
    while True:
        try:
            line = reader.read().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        if line in ("/quit", "/exit"):
            break
        if not line:
            continue
        try:
            brain.turn("help" if line == "/help" else line)
        except AssistantError as error:
            terminal.show_error(str(error), error.hint)
        except KeyboardInterrupt:
            terminal.show_dim(terminal.say("The answer was stopped."))
    terminal.show_dim(terminal.say("Good-bye."))


class OfflineBrain:
    """Maps plain requests to commands where no model is set."""

    def __init__(self, terminal: Terminal, *, output: Output, yes: bool) -> None:
        self._terminal = terminal
        self._output = output
        self._yes = yes

    def turn(self, text: str) -> None:
        """Name the command that does what was asked, and run it if it is harmless or agreed to."""
        found = find_command(text)
        if found is None:
            self._puzzled()
            return
        line = shlex.join(["assistant", *found.arguments])
        if self._output != "text":
            # A program reads the command and runs it itself: its --json is the answer.
            _print_json({"type": "command", "command": line, "arguments": list(found.arguments)})
            return
        self._terminal.show_dim(f"{self._terminal.say('This command does it:')} {line}")
        if not (found.is_reading or self._yes or ask_yes(self._terminal, "Run it?")):
            raise ApprovalRequired(
                self._terminal.say("Not approved; nothing was done."), hint=f"Run it yourself: {line}"
            )
        self._terminal.stop_progress()
        root = click.get_current_context().find_root()
        chosen = root.params.get("workspace")
        before = ["--workspace", str(chosen)] if chosen else []
        after = ["--yes"] if self._yes and _takes_yes(found.arguments) else []
        root.command.main([*before, *found.arguments, *after], prog_name="assistant", standalone_mode=False)

    def _puzzled(self) -> None:
        if self._output != "text":
            _print_json({"type": "unknown", "command": None, "examples": list(EXAMPLES)})
            return
        self._terminal.show_dim(self._terminal.say("I did not understand that. For example:"))
        for example in EXAMPLES:
            self._terminal.show_dim(f"  {example}")


class ModelBrain:
    """Hands the person's words to a model, and shows what it says and does."""

    def __init__(
        self, talker: agent.Agent, terminal: Terminal, stop: threading.Event, *, model: str, output: Output
    ) -> None:
        self._agent = talker
        self._terminal = terminal
        self._stop = stop
        self._model = model
        self._output = output

    def turn(self, text: str) -> None:
        """Let the model work on what was said; the first Ctrl-C lets it stop in order."""
        started = time.monotonic()
        words: list[str] = []
        used: dict[str, dict[str, Any]] = {}
        with _stopping(self._stop):
            for event in self._agent.turn(text):
                if isinstance(event, agent.Said):
                    words.append(event.text)
                elif isinstance(event, agent.ToolUsed):
                    used[event.id] = {"name": event.name, "arguments": event.arguments, "result": None}
                    words.clear()
                elif event.id in used:
                    used[event.id]["result"] = event.result
                if self._output == "text":
                    show_agent_event(self._terminal, event)
                elif self._output == "stream-json":
                    _print_json({"type": _EVENT_NAMES[type(event).__name__], **dataclasses.asdict(event)})
        result = {
            "answer": "".join(words),
            "tools": list(used.values()),
            "stopped": self._stop.is_set(),
            "model": self._model,
            "seconds": round(time.monotonic() - started, 2),
        }
        if self._output == "text":
            self._terminal.out.print()
            if self._stop.is_set():
                self._terminal.show_dim(self._terminal.say("The answer was stopped."))
        elif self._output == "json":
            _print_json(result)
        else:
            _print_json({"type": "done", **result})


_EVENT_NAMES = {"Said": "text", "ToolUsed": "tool_call", "ToolReturned": "tool_result"}


def _stoppable(context: Context, stop: threading.Event) -> Context:
    """Return a context whose operations end, at their next sign of life, once `stop` is set."""

    def emit(event: Event) -> None:
        if stop.is_set():
            raise tools.Stopped
        context.emit(event)

    return dataclasses.replace(context, emit=emit)


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second interrupts at once."""
    stop.clear()

    def request(number: int, frame: object) -> None:
        del number, frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _takes_yes(arguments: tuple[str, ...]) -> bool:
    """Whether the command asks for approval."""
    command: click.Command | None = click.get_current_context().find_root().command
    context = click.get_current_context()
    for argument in arguments:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(context, argument)
    return command is not None and any("--yes" in parameter.opts for parameter in command.params)


def _print_json(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()
