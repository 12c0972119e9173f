"""The conversation with a chatbot in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from rich.live import Live
from rich.text import Text

from assistant.terminal import reports
from assistant.terminal.console import Terminal
from assistant.terminal.lines import LineReader
from pipelines.records import Message, Passage
from pipelines.text import clean_text

_COMMANDS = {
    "/sources": "show the passages behind the last answer",
    "/clear": "forget the conversation so far",
    "/help": "show this list",
    "/quit": "end the chat",
}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a chatbot gave back: its words, the report to show, and the passages behind it."""

    answer: str
    report: BaseModel
    passages: Sequence[Passage]


Ask = Callable[[str, Sequence[Message], Callable[[str], None]], Turn]  # question, what was said, told each piece


@dataclass
class Chat:
    """One conversation, until the person ends it."""

    terminal: Terminal
    reader: LineReader
    ask: Ask
    _history: list[Message] = field(default_factory=list)
    _passages: Sequence[Passage] = field(default_factory=tuple)

    def run(self, greeting: str) -> None:
        """Talk until the end of input or /quit; Ctrl-C stops an answer, not the chat."""
        self.terminal.out.print(Text(greeting, style="dim"))
        while True:
            try:
                line = clean_text(self.reader.read()).strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
            if line == "/quit":
                break
            if line.startswith("/"):
                self._command(line)
            elif line:
                self._answer(line)
        self.terminal.out.print(Text(self.terminal.say("Good-bye."), style="dim"))

    def _answer(self, question: str) -> None:
        try:
            with Live(console=self.terminal.out, transient=True, refresh_per_second=12) as live:
                written = Text(style="dim")

                def show(piece: str) -> None:
                    written.append(clean_text(piece))
                    live.update(written)

                turn = self.ask(question, self._history, show)
        except KeyboardInterrupt:
            self.terminal.out.print(Text(self.terminal.say("The answer was stopped."), style="yellow"))
            return
        self._history += [Message(role="user", content=question), Message(role="assistant", content=turn.answer)]
        self._passages = turn.passages
        for renderable in reports.render(turn.report, self.terminal.say):
            self.terminal.out.print(renderable)
        self.terminal.out.print()

    def _command(self, line: str) -> None:
        if line == "/clear":
            self._history, self._passages = [], ()
        elif line == "/sources":
            for number, passage in enumerate(self._passages, start=1):
                chunk = passage.chunk
                self.terminal.out.print(
                    Text(f"{number}. {chunk.document}:{chunk.start}-{chunk.end}  {passage.score:.2f}", style="cyan")
                )
                self.terminal.out.print(Text(clean_text(chunk.text)))
        else:
            for name, meaning in _COMMANDS.items():
                self.terminal.out.print(Text(f"  {name:<10} {self.terminal.say(meaning)}"))
