"""A click command made of an operation: its options are the fields of its parameters."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assistant.cli.session import RunOptions, run_operation
from pipelines.operation import Operation, Positional


def command_of(name: str, operation: Operation[Any, Any]) -> click.Command:
    """Return the command that runs an operation."""
    parameters = [_parameter(field_name, field) for field_name, field in operation.params.model_fields.items()]

    def callback(**values: object) -> None:
        options = RunOptions(
            json=bool(values.pop("json_output")),
            yes=bool(values.pop("yes", False)),
            dry_run=bool(values.pop("dry_run", False)),
        )
        run_operation(operation, {key: value for key, value in values.items() if value is not None}, options)

    return click.Command(
        name,
        callback=callback,
        params=[*parameters, *common_options(is_costly=operation.plan is not None)],
        help=_help(operation),
        short_help=operation.summary,
    )


def common_options(*, is_costly: bool) -> list[click.Parameter]:
    """Return the options that every command has."""
    options: list[click.Parameter] = [
        click.Option(["--json", "json_output"], is_flag=True, help="Print one JSON object on standard output.")
    ]
    if is_costly:
        options += [
            click.Option(["--yes"], is_flag=True, help="Agree beforehand to what it will do."),
            click.Option(["--dry-run"], is_flag=True, help="Only show what it would do."),
        ]
    return options


def _help(operation: Operation[Any, Any]) -> str:
    """Return the help text: what it does, then what its arguments mean."""
    arguments = [
        f"{name.upper()}: {field.description}"
        for name, field in operation.params.model_fields.items()
        if any(isinstance(each, Positional) for each in field.metadata)
    ]
    return "\n\n".join([operation.summary, *arguments])


def _parameter(name: str, field: FieldInfo) -> click.Parameter:
    kind, is_many = _click_type(field.annotation)
    if any(isinstance(each, Positional) for each in field.metadata):
        return click.Argument([name], type=kind, required=field.is_required(), metavar=name.upper())
    option = "--" + name.replace("_", "-")
    if kind is click.BOOL:
        return click.Option([f"{option}/--no-{option[2:]}"], default=None, help=_described(field))
    return click.Option([option], type=kind, multiple=is_many, help=_described(field), required=field.is_required())


def _described(field: FieldInfo) -> str:
    description = field.description or ""
    default = field.default
    if default is PydanticUndefined or default in (None, "", ()):
        return description
    return f"{description} [default: {default}]"


def _click_type(annotation: Any) -> tuple[click.ParamType[Any], bool]:  # noqa: ANN401 - any annotation
    """Return the click type for an annotation, and whether it takes several values."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        [inner] = [each for each in get_args(annotation) if each is not type(None)]
        return _click_type(inner)
    if origin is Literal:
        return click.Choice([str(each) for each in get_args(annotation)]), False
    if origin in (list, tuple):
        return _click_type(get_args(annotation)[0])[0], True
    if hasattr(annotation, "__metadata__"):  # Annotated[...] inside a union
        return _click_type(annotation.__origin__)
    known: dict[object, click.ParamType[Any]] = {
        bool: click.BOOL,
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
        Path: click.Path(path_type=Path),
    }
    return known[annotation], False
