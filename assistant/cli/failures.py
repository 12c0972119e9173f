"""How a failure is printed."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from assistant.terminal.console import open_terminal
from pipelines.errors import SettingsError
from pipelines.settings import load_settings
from pipelines.workspace import find_workspace

INTERRUPTED = "Interrupted"  # the kind of a failure that a person asked for


def show_failure(message: str, hint: str, *, kind: str, is_json: bool, has_traceback: bool) -> None:
    """Print a failure: for a program on standard output, for a person on standard error."""
    if has_traceback and os.environ.get("ASSISTANT_TRACEBACK"):
        traceback.print_exc()
    if is_json:
        sys.stdout.write(
            json.dumps({"error": {"type": kind, "message": message, "hint": hint}}, ensure_ascii=False) + "\n"
        )
        return
    with open_terminal(is_json=False) as terminal:
        terminal.use_language(_language())
        if kind == INTERRUPTED:
            terminal.show_dim(terminal.say(message))
        else:
            terminal.show_error(terminal.say(message), terminal.say(hint))


def _language() -> str:
    """Return the language that was set here; that of the environment where the settings cannot be read."""
    try:
        return load_settings(find_workspace(Path.cwd()).root).interface_language
    except (SettingsError, OSError):
        return "auto"
