"""Steps through the records of a dataset: one at a time, one key each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.text import Text

from assistant.terminal.console import Terminal
from assistant.terminal.keys import Keyboard
from assistant.terminal.record import RecordView
from pipelines.dataset.review import Review, rule_form
from pipelines.dataset.reviewing.decisions import edit_problem
from pipelines.errors import DataError
from pipelines.records import Example
from pipelines.text import clean_text, fold_space

_KEYS = {
    "a": "accept",
    "r": "reject",
    "e": "edit",
    "s": "skip",
    "u": "undo",
    "/": "rule",
    "p": "passage",
    "q": "quit",
    "?": "help",
}
_MEANINGS = {
    "a": "it is good as it is",
    "r": "it is to be dropped; a reason is asked for",
    "e": "put the question and the answer right",
    "s": "leave it for another time",
    "u": "take back the last decision, or all that a rule decided",
    "/": "decide many at once by a rule",
    "p": "show the whole passage",
    "q": "end; every decision is kept",
    "?": "show this list",
}
_SHOWN = 46


@dataclass
class Reviewer:
    """One sitting, until everything is decided or the person ends it."""

    terminal: Terminal
    keyboard: Keyboard
    review: Review
    shows_decided: bool = False
    _queue: list[Example] = field(default_factory=list)
    _position: int = 0
    _remark: str = ""
    _shows_all: bool = False  # of the passage

    def run(self) -> None:
        """Show one record after the other, and do what each key means."""
        self._queue = self.review.in_order(decided=self.shows_decided)
        self._view = RecordView(self.terminal.say, self.review.chunks(), is_plain=self.keyboard.is_plain)
        self._take_up()
        actions: dict[str, Callable[[Example, str], None]] = {
            "a": self._accept,
            "r": self._reject,
            "e": self._edit,
            "s": self._skip,
            "u": self._undo,
            "/": self._rule,
            "p": self._passage,
            "?": self._help,
        }
        try:
            while (example := self._next()) is not None or self._goes_back():
                if example is None:
                    continue
                self._show(example)
                key, rest = self.keyboard.key("› ", _KEYS)
                if key == "q":
                    break
                actions[key](example, rest)
        except (EOFError, KeyboardInterrupt):
            pass
        self._end()

    def _take_up(self) -> None:
        """Begin with the record that was being edited when the program ended."""
        unfinished = self.review.unfinished()
        found = [example for example in self._queue if unfinished and example.id == unfinished.example]
        if found:
            self._queue.remove(found[0])
            self._queue.insert(0, found[0])
            self._remark = self.terminal.say("What was being typed here is kept: go on with it by the same key.")

    def _next(self) -> Example | None:
        while self._position < len(self._queue):
            example = self._queue[self._position]
            if self.shows_decided or self.review.decision(example) is None:
                return example
            self._position += 1
        return None

    def _goes_back(self) -> bool:
        """Ask, after the last record, whether the last decision is to be taken back after all."""
        if self.keyboard.is_plain or not self._queue:
            return False
        self.terminal.out.print(Text(clean_text(self._remark), style="cyan"))
        prompt = self.terminal.say("That was the last one. u takes the last decision back, q ends. ")
        if self.keyboard.key(prompt, "uq")[0] == "q":
            return False
        self._take_back()
        return True

    # ---- keys

    def _accept(self, example: Example, rest: str) -> None:
        del rest
        self.review.decide("accept", example)
        self._go_on("accepted", example)

    def _reject(self, example: Example, rest: str) -> None:
        try:
            reason = rest or self._typed(example, "reason", "Why? (may be empty)", "")
        except KeyboardInterrupt:
            self._leave(example)
            return
        self.review.decide("reject", example, reason=fold_space(clean_text(reason)))
        self._go_on("rejected", example)

    def _edit(self, example: Example, rest: str) -> None:
        del rest
        current = self.review.current(example)
        hint = (
            "An empty line leaves a text as it is."
            if self.keyboard.is_plain
            else "Enter keeps it, Alt-Enter begins a new line, Ctrl-C leaves it as it was."
        )
        self.terminal.out.print(Text(self.terminal.say(hint), style="dim"))
        try:
            question = self._typed(example, "question", "Question", current.question)
            answer = self._typed(example, "answer", "Answer", current.answer)
        except KeyboardInterrupt:
            self._leave(example)
            return
        problem = edit_problem(example, question=question, answer=answer)
        if problem:
            # What was typed stays, to be put right by the same key.
            self._remark = f"{self.terminal.say('Not kept')}: {problem}"
            return
        if (question, answer) == (current.question, current.answer):
            self._remark = self.terminal.say("Nothing was changed.")
            self.review.keep_unfinished(example, {})
            return
        self.review.decide("edit", example, question=question, answer=answer)
        self._go_on("edited", example)

    def _skip(self, example: Example, rest: str) -> None:
        del rest
        self._go_on("skipped", example)

    def _undo(self, example: Example, rest: str) -> None:
        del example, rest
        self._take_back()

    def _take_back(self) -> None:
        undone = {decision.example for decision in self.review.log.undo()}
        if not undone:
            self._remark = self.terminal.say("There is nothing to undo.")
            return
        known = {example.id for example in self._queue}
        self._queue[self._position : self._position] = [
            self.review.examples[each] for each in undone if each in self.review.examples and each not in known
        ]
        places = [place for place, example in enumerate(self._queue) if example.id in undone]
        self._position = min(places, default=self._position)
        self._remark = self.terminal.say("undone: {count}", count=len(undone))

    def _rule(self, example: Example, rest: str) -> None:
        del example
        self._remark = ""
        say = self.terminal.say
        try:
            text = rest or self.keyboard.text(f"{say('Rule')} › ")
            if not text.strip():
                return
            effect = self.review.effect_of(text)
            self.terminal.out.print(
                Text(say("{count} of {total} records", count=len(effect.decisions), total=len(self.review.examples)))
            )
            for line in (*self.review.samples([each.example for each in effect.decisions]), *effect.refused):
                self.terminal.out.print(Text(f"  {clean_text(line)}", style="dim"))
            is_wanted = effect.decisions and self.keyboard.key(f"{say('Go ahead?')} [y/n] ", "yn")[0] == "y"
        except KeyboardInterrupt:
            return
        except (ValueError, DataError) as error:
            self._remark = str(error)
            return
        self.review.log.record(effect.decisions if is_wanted else ())
        self._remark = say("decided by the rule: {count}", count=len(effect.decisions) if is_wanted else 0)

    def _passage(self, example: Example, rest: str) -> None:
        del example, rest
        self._shows_all = not self._shows_all

    def _help(self, example: Example, rest: str) -> None:
        del example, rest
        say = self.terminal.say
        for key, meaning in _MEANINGS.items():
            self.terminal.out.print(Text(f"  {key}  {say(meaning)}"))
        self.terminal.out.print(Text(f"{say('Rule')}: {rule_form()}", style="dim"))
        if not self.keyboard.is_plain:
            self.keyboard.key(say("Any key goes on. "), _AnyKey())

    # ---- what is shown

    def _show(self, example: Example) -> None:
        out = self.terminal.out
        if not self.keyboard.is_plain:
            out.clear()
        decision = self.review.decision(example)
        for line in self._view.lines(
            self.review.current(example), decision, width=out.width, shows_all=self._shows_all
        ):
            out.print(line)
        out.rule(style="dim", characters="─" if not self.keyboard.is_plain else "-")
        out.print(Text("  ".join(self._progress()), style="bold"))
        if self._remark:
            out.print(Text(clean_text(self._remark), style="cyan"))
        out.print(Text("  ".join(f"{key} {self.terminal.say(name)}" for key, name in _KEYS.items()), style="dim"))

    def _progress(self) -> Iterator[str]:
        counts, total = self.review.counts(), len(self.review.examples)
        say = self.terminal.say
        yield f"{total - len(self._queue) + self._position + 1}/{total}"
        yield say("{count} accepted", count=counts["accept"])
        yield say("{count} rejected", count=counts["reject"])
        if counts["edit"]:
            yield say("{count} edited", count=counts["edit"])

    def _end(self) -> None:
        report, say = self.review.report(), self.terminal.say
        said = say(
            "{accepted} accepted, {edited} edited, {rejected} rejected, {undecided} undecided.",
            accepted=report.accepted,
            edited=report.edited,
            rejected=report.rejected,
            undecided=report.undecided,
        )
        self.terminal.out.print(Text(said, style="bold"))
        if report.examples > report.undecided:
            self.terminal.out.print(
                Text(
                    say("They take effect with: assistant data curate {dataset}", dataset=report.dataset), style="green"
                )
            )

    # ---- steps

    def _typed(self, example: Example, name: str, prompt: str, default: str) -> str:
        """Return a text that is kept while it is typed, begun with what was typed before."""
        unfinished = self.review.unfinished()
        kept = dict(unfinished.texts) if unfinished and unfinished.example == example.id else {}

        def keep(text: str) -> None:
            kept[name] = text
            self.review.keep_unfinished(example, kept)

        typed = self.keyboard.text(
            f"{self.terminal.say(prompt)} › ", default=clean_text(kept.get(name, default)), on_change=keep
        )
        return clean_text(typed).strip()

    def _leave(self, example: Example) -> None:
        self.review.keep_unfinished(example, {})
        self._remark = self.terminal.say("Left as it was.")

    def _go_on(self, done: str, example: Example) -> None:
        self.review.keep_unfinished(example, {})
        question = fold_space(clean_text(example.question))
        short = question if len(question) <= _SHOWN else f"{question[:_SHOWN]}…"
        self._remark = f"{self.terminal.say(done)}: {short}"
        self._position += 1
        self._shows_all = False


class _AnyKey:
    def __contains__(self, key: object) -> bool:
        return True
