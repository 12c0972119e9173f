"""One idea: an operation is written once; its command, its tool and its JSON are made of it.

Run: .venv/bin/python examples/agent_tools.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from assistant.agent.tools import tools_of
from assistant.cli.operations import command_of
from pipelines.dataset.generate import GENERATE_DATASET
from pipelines.operation import open_context

with tempfile.TemporaryDirectory() as folder:
    context = open_context(Path(folder))
    [tool] = tools_of([GENERATE_DATASET], context)
    command = command_of("generate", GENERATE_DATASET)
    print(f"tool: {tool.name}: {tool.description}")
    print(f"  takes {sorted(tool.args)}")
    print(f"command: {command.name}, options {[each.opts[0] for each in command.params]}")

    # Nobody agreed to the cost, so a model that calls the tool is told so, and nothing runs.
    print(tool.invoke({"dataset": "bees", "topic": "keeping bees"}))
