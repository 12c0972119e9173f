"""One run of an operation from the command line: its context, its output, its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from assistant.terminal.approval import ask_approval
from assistant.terminal.console import Terminal, open_terminal
from pipelines.errors import SettingsError
from pipelines.lazy import silence_libraries
from pipelines.models.provider import Models
from pipelines.operation import Context, Operation, Plan
from pipelines.settings import load_settings
from pipelines.workspace import Workspace, find_workspace


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
            terminal.show_plan(plan)
            return
        report = operation.start(params, context)
        terminal.show_report(report)


def make_context(terminal: Terminal, *, yes: bool, confine: bool = False) -> Context:
    """Return the context for the workspace that this command was started in."""
    silence_libraries()
    workspace = open_workspace()
    settings = load_settings(workspace.root)
    terminal.use_language(settings.interface_language)

    def confirm(plan: Plan) -> bool:
        return ask_approval(plan, terminal, granted=yes)

    return Context(
        workspace=workspace,
        settings=settings,
        models=Models(settings, calls=workspace.calls),
        emit=terminal.show_event,
        confirm=confirm,
        confine=confine,
    )


def open_workspace() -> Workspace:
    """Return the workspace named by --workspace, or the one around the current folder.

    Raises:
        SettingsError: It was made by another version, or its folder does not exist.
    """
    chosen = click.get_current_context().find_root().params.get("workspace")
    if chosen is not None and not Path(chosen).is_dir():
        raise SettingsError(f"there is no folder {chosen}", hint=f"Make it with: assistant init {chosen}")
    workspace = Workspace(Path(chosen)) if chosen is not None else find_workspace(Path.cwd())
    workspace.check_version()
    return workspace
