"""Writes the reference of all commands as Markdown, from the commands themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from assistant.cli.app import APP


def reference() -> str:
    """Return the reference page of the command line."""
    lines = ["# Commands", "", "Made by `make docs` from the operations; `assistant COMMAND --help` says the same.", ""]
    for path, command in _commands("assistant", APP):
        lines += [f"## `{path}`", "", command.help or "", ""]
        with click.Context(command, info_name=path) as context:
            rows = [row for parameter in command.params if (row := _row(parameter, context))]
        if rows:
            lines += ["| option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _commands(f"{path} {name}", child)


def _row(parameter: click.Parameter, context: click.Context) -> str | None:
    record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(context)
    if record is None:  # arguments are explained in the text
        return None
    name, meaning = (text.replace("|", "\\|") for text in record)
    return f"| `{name}` | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
