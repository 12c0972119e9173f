"""One run of an operation from the command line: its context, its output, its exit code."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from assistant.terminal.approval import ask_approval
from assistant.terminal.console import Terminal, open_terminal
from pipelines.errors import SettingsError
from pipelines.operation import Context, Operation, Plan, open_context
from pipelines.workspace import find_workspace


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every command can be told."""

    json: bool = False
    yes: bool = False
    dry_run: bool = False


def run_operation(operation: Operation[Any, Any], values: Mapping[str, object], options: RunOptions) -> None:
    """Run an operation and print its report; failures leave as exceptions.

    Raises:
        click.UsageError: The values are not what the operation takes.
        AssistantError: The operation failed.
    """
    try:
        params = operation.params.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]).replace("_", "-") if problem["loc"] else "parameters"
        raise click.UsageError(f"{name}: {problem['msg']}, got {problem['input']!r}") from error
    with open_terminal(is_json=options.json) as terminal:
        context = make_context(terminal, yes=options.yes)
        if options.dry_run and operation.plan is not None:
            plan = operation.plan(params, context)
            if options.json:
                sys.stdout.write(json.dumps(dataclasses.asdict(plan), ensure_ascii=False) + "\n")
            else:
                terminal.show_plan(plan)
            return
        report = operation.start(params, context)
        terminal.show_report(report)


def make_context(terminal: Terminal, *, yes: bool, confine: bool = False) -> Context:
    """Return the context for the workspace that this command was started in.

    Raises:
        SettingsError: The workspace was made by another version, or its folder does not exist.
    """

    def confirm(plan: Plan) -> bool:
        return ask_approval(plan, terminal, granted=yes)

    context = open_context(_workspace_folder(), emit=terminal.show_event, confirm=confirm, confine=confine)
    terminal.use_language(context.settings.interface_language)
    return context


def _workspace_folder() -> Path:
    """Return the folder named by --workspace, or the workspace around the current folder."""
    chosen = click.get_current_context().find_root().params.get("workspace")
    if chosen is None:
        return find_workspace(Path.cwd()).root
    if not Path(chosen).is_dir():
        raise SettingsError(f"there is no folder {chosen}", hint=f"Make it with: assistant init {chosen}")
    return Path(chosen)
