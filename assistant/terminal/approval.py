"""Asks a person to agree to a plan."""

from __future__ import annotations

from assistant.terminal.console import Terminal
from pipelines.operation import Plan

_YES = {"y", "yes", "是", "好", "好的", "同意"}


def ask_approval(plan: Plan, terminal: Terminal, *, granted: bool) -> bool:
    """Show a plan and ask; an end of input is a no.

    Args:
        plan: What would be done.
        terminal: Where to ask.
        granted: The person agreed beforehand (--yes), so the plan is only shown.
    """
    terminal.show_plan(plan)
    return granted or ask_yes(terminal, "Go ahead?")


def ask_yes(terminal: Terminal, question: str) -> bool:
    """Ask a yes-or-no question; anything but a yes is a no."""
    terminal.err.print(f"{terminal.say(question)} \\[y/N] ", end="")
    try:
        reply = input()
    except EOFError:
        terminal.err.print()
        return False
    return reply.strip().casefold() in _YES
