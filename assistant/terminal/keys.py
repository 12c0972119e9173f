"""What a person answers: one key at a terminal, one line everywhere else."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Container
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

Change = Callable[[str], None]


class Keyboard(Protocol):
    """Where answers come from.

    Both methods raise EOFError when there is no more input, and KeyboardInterrupt for Ctrl-C.
    """

    is_plain: bool  # lines are read, and nothing can be redrawn

    def key(self, prompt: str, keys: Container[str]) -> tuple[str, str]:
        """Return a key that is one of `keys`, and what was typed after it on a line."""

    def text(self, prompt: str, *, default: str = "", on_change: Change | None = None) -> str:
        """Return a text; `default` is there to be changed, and `on_change` told of each change."""


def open_keyboard() -> Keyboard:
    """Return the keyboard that fits what this program was started from."""
    is_dumb = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    return Lines() if is_dumb or not (sys.stdin.isatty() and sys.stdout.isatty()) else Keystrokes()


class Keystrokes:
    """A terminal: a key counts when it is pressed, and a text can be edited."""

    is_plain = False

    def key(self, prompt: str, keys: Container[str]) -> tuple[str, str]:
        """Return the first key that is one of `keys`."""
        bindings = KeyBindings()

        @bindings.add(Keys.Any)
        def _press(event: KeyPressEvent) -> None:
            pressed = _plain_key(event.data)
            if pressed and pressed in keys:
                event.app.exit(result=pressed)

        @bindings.add("enter")
        @bindings.add("up")
        @bindings.add("down")
        @bindings.add(Keys.BracketedPaste)
        def _ignore(event: KeyPressEvent) -> None:
            del event

        session: PromptSession[str] = PromptSession(key_bindings=bindings, erase_when_done=True)
        return session.prompt(prompt), ""

    def text(self, prompt: str, *, default: str = "", on_change: Change | None = None) -> str:
        """Return an edited text; Enter ends it, Alt-Enter begins a new line."""
        bindings = KeyBindings()

        @bindings.add("enter")
        def _finish(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @bindings.add("escape", "enter")
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        session: PromptSession[str] = PromptSession(key_bindings=bindings, multiline=True)

        def tell(buffer: Buffer) -> None:
            if on_change is not None:
                on_change(buffer.text)

        session.default_buffer.on_text_changed += tell
        return session.prompt(prompt, default=default, prompt_continuation=" " * len(prompt))


class Lines:
    """A pipe or a dumb terminal: each answer is a line, and nothing typed leaves a text as it is."""

    is_plain = True

    def key(self, prompt: str, keys: Container[str]) -> tuple[str, str]:
        """Return the first character of the next line that begins with one of `keys`, and the rest."""
        while True:
            line = unicodedata.normalize("NFKC", self._line(prompt)).strip()
            if line and line[0].casefold() in keys:
                return line[0].casefold(), line[1:].strip()

    def text(self, prompt: str, *, default: str = "", on_change: Change | None = None) -> str:
        """Return the next line, or the default if it is empty."""
        line = self._line(prompt).strip() or default
        if on_change is not None:
            on_change(line)
        return line

    def _line(self, prompt: str) -> str:
        sys.stdout.write(prompt)
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():  # nobody has pressed Enter where it shows
            sys.stdout.write("\n")
        if not line:
            raise EOFError
        return line


def _plain_key(data: str) -> str:
    """Return a key without its case, and what a Chinese keyboard makes of it."""
    key = unicodedata.normalize("NFKC", data).casefold()
    return "/" if key == "、" else key
