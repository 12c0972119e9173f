"""Reads what a person types: with editing and history at a terminal, plainly otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory


class LineReader:
    """Reads one line after the other."""

    def __init__(self, *, prompt: str, history: Path | None = None) -> None:
        self._prompt = prompt
        self._session: PromptSession[str] | None = None
        if sys.stdin.isatty():
            if history is not None and history.parent.is_dir():
                # What a person asks is as private as the documents.
                os.close(os.open(history, os.O_CREAT | os.O_APPEND, 0o600))
            else:
                history = None
            self._session = PromptSession(history=FileHistory(str(history)) if history else None)

    def read(self) -> str:
        """Return the next line.

        Raises:
            EOFError: There are no more.
            KeyboardInterrupt: Ctrl-C was typed at a terminal.
        """
        if self._session is not None:
            return self._session.prompt(self._prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line
