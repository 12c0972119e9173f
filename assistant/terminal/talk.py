"""What the agent says and does, in the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.text import Text

from assistant.terminal.console import Terminal
from pipelines.text import clean_text

if TYPE_CHECKING:
    from assistant.agent.agent import AgentEvent

_LONGEST = 160


def show_agent_event(terminal: Terminal, event: AgentEvent) -> None:
    """Print a piece of the agent's words as it comes, or one line for a tool."""
    terminal.stop_progress()
    kind = type(event).__name__
    if kind == "Said":
        terminal.out.print(Text(clean_text(getattr(event, "text", ""))), end="", soft_wrap=True)
        return
    name = getattr(event, "name", "")
    if kind == "ToolUsed":
        arguments = json.dumps(getattr(event, "arguments", {}), ensure_ascii=False)
        line = f"{terminal.say('uses the tool')} {name} {arguments}"
    else:
        line = f"{name} → {getattr(event, 'result', '')}"
    line = clean_text(line)
    terminal.err.print(Text(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…", style="dim"))
