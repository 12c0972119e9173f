"""How a failure is printed."""

from __future__ import annotations

import json
import os
import sys
import traceback

from assistant.terminal.console import open_terminal


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
        terminal.show_error(terminal.say(message) if not hint else message, hint)
