"""Commands that are imported when they are run or asked for their help, not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

INTERRUPTED = 130  # exit code after Ctrl-C


@dataclass(frozen=True)
class Entry:
    """Where a command is, and what its line in the list of commands says."""

    target: str  # "module:NAME" of an operation, or of a click command
    summary: str
    operation: str = ""  # "module:NAME" of the operation that such a command starts


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def __init__(self, name: str, *, entries: dict[str, Entry], **options: Any) -> None:  # noqa: ANN401
        super().__init__(name, **options)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order they were given."""
        return [*self.entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = self.entries.get(cmd_name)
        return super().get_command(ctx, cmd_name) if entry is None else load_command(cmd_name, entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their entries alone."""
        rows = [(name, entry.summary) for name, entry in self.entries.items()]
        for name, command in self.commands.items():
            rows.append((name, command.get_short_help_str(100)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def load_command(name: str, entry: Entry) -> click.Command:
    """Import the target of an entry as a click command."""
    target = _imported(entry.target)
    if isinstance(target, click.Command):
        return target
    from assistant.cli.operations import command_of

    return command_of(name, target)


def operations_of(group: click.Command) -> Iterator[Any]:
    """Yield every operation below a group, in the order of the command line."""
    for entry in group.entries.values() if isinstance(group, LazyGroup) else ():
        target = _imported(entry.operation or entry.target)
        if isinstance(target, click.Command):
            yield from operations_of(target)
        else:
            yield target


def _imported(name: str) -> Any:  # noqa: ANN401 - an operation or a command
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
