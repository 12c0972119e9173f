"""The terminal: results on standard output, everything else on standard error.

Text from documents and models is printed as text: no markup, no control characters.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from assistant.terminal import reports
from assistant.terminal.language import InterfaceLanguage, detect_language, translate
from assistant.terminal.plot import VALIDATION_MARK
from assistant.terminal.progress import LiveProgress
from pipelines import operation
from pipelines.operation import Delta, Event, Notice, Plan
from pipelines.text import clean_text

# Where nothing can be redrawn, a stage prints a line this often at most.
_PLAIN_SECONDS = 10.0


class Terminal:
    """Prints events, plans, reports and errors."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.out = Console(highlight=False, soft_wrap=False)
        self.err = Console(stderr=True, highlight=False)
        self.language: InterfaceLanguage = detect_language("auto")
        self._progress: LiveProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}

    def use_language(self, setting: str) -> None:
        """Use the language of the settings from now on."""
        self.language = detect_language(setting)

    def say(self, text: str, **values: object) -> str:
        """Return an interface text in the person's language."""
        return translate(text, self.language, **values)

    def show_event(self, event: Event) -> None:
        """Show how far things are; pieces of answers are shown by whoever asked."""
        if isinstance(event, Delta):
            return
        if isinstance(event, Notice):
            if self._progress is not None and self._progress.finished:
                self.stop_progress()  # so that what was done stands above what is said of it
            self.err.print(Text(f"{self.say('Note')}: {clean_text(event.message)}", style="yellow"))
        elif self.err.is_terminal:
            self._draw(event)
        else:
            self._print_plainly(event)

    def stop_progress(self) -> None:
        """Leave the progress as it stands, and stop redrawing it."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks.clear()

    def show_plan(self, plan: Plan) -> None:
        """Show what an operation will do, how long it takes and what it costs."""
        self.stop_progress()
        table = Table.grid(padding=(0, 2))
        for step in plan.steps:
            table.add_row(self.say("It will"), Text(clean_text(step)))
        if plan.minutes is not None:
            table.add_row(self.say("Time"), self._minutes(plan.minutes))
        table.add_row(self.say("Calls to the teacher"), str(plan.calls) if plan.calls else self.say("none"))
        table.add_row(self.say("Cost"), self._cost(plan))
        for replaced in plan.replaces:
            table.add_row(self.say("Replaces"), Text(replaced, style="red"))
        self.err.print(Text(clean_text(plan.title), style="bold"))
        self.err.print(table)

    def show_report(self, report: BaseModel) -> None:
        """Print the result: one JSON object for programs, or for people."""
        self.stop_progress()
        if self.is_json:
            sys.stdout.write(report.model_dump_json() + "\n")
            sys.stdout.flush()
            return
        for renderable in reports.render(report, self.say):
            self.out.print(renderable, soft_wrap=self._is_whole(renderable))

    def _is_whole(self, renderable: RenderableType) -> bool:
        """Whether a text keeps its own lines: what is there to be copied, and all that no person reads."""
        return isinstance(renderable, Text) and (renderable.overflow == "ignore" or not self.out.is_terminal)

    def show_dim(self, text: str) -> None:
        """Print a remark of the program itself."""
        self.stop_progress()
        self.err.print(Text(clean_text(text), style="dim"))

    def show_error(self, message: str, hint: str) -> None:
        """Say what failed, and what to do."""
        self.stop_progress()
        self.err.print(Text(f"{self.say('Error')}: {clean_text(message)}", style="bold red"))
        if hint:
            self.err.print(Text(f"{self.say('What to do')}: {clean_text(hint)}"))

    def _draw(self, event: operation.Progress) -> None:
        if self._progress is None:
            legend = f"         ⠤ {self.say('loss')}   {VALIDATION_MARK} {self.say('validation loss')}"
            self._progress = LiveProgress(self.err, legend=legend)
            self._progress.start()
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(self.say(event.stage), total=event.total, detail="")
        self._progress.losses.take(event.stage, event.done, event.total, event.detail)
        self._progress.update(
            self._tasks[event.stage], completed=event.done, total=event.total, detail=self._detail(event)
        )

    def _print_plainly(self, event: operation.Progress) -> None:
        now = time.monotonic()
        is_last = event.total is not None and event.done >= event.total
        if not is_last and now - self._printed.get(event.stage, -_PLAIN_SECONDS) < _PLAIN_SECONDS:
            return
        self._printed[event.stage] = now
        total = f"/{event.total}" if event.total is not None else ""
        self.err.print(Text(f"{self.say(event.stage)} {event.done}{total} {self._detail(event)}".rstrip()))

    def _detail(self, event: operation.Progress) -> str:
        return "  ".join(f"{self.say(name)} {value}" for name, value in event.detail.items())

    def _minutes(self, minutes: tuple[float, float]) -> str:
        low, high = minutes
        if high < 1:
            return self.say("under a minute")
        fewest, most = max(1, round(low)), max(1, round(high))
        if fewest == most:
            return self.say("about a minute") if most == 1 else self.say("about {minutes} minutes", minutes=most)
        return self.say("about {low} to {high} minutes", low=fewest, high=most)

    def _cost(self, plan: Plan) -> str:
        if plan.cost_usd is None:
            return self.say("unknown, no price is set")
        return self.say("about ${cost}", cost=f"{plan.cost_usd:.2f}") if plan.cost_usd else self.say("none")


@contextmanager
def open_terminal(*, is_json: bool) -> Iterator[Terminal]:
    """Open the terminal; progress that is being redrawn is left clean at the end."""
    terminal = Terminal(is_json=is_json)
    try:
        yield terminal
    finally:
        terminal.stop_progress()
