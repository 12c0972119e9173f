"""Any report, field by field: names in the person's language, values as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.text import clean_text

Say = Callable[..., str]
_LONGEST = 20


def fields(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return the fields of a report, and a table for each list of things in it."""
    values = report.model_dump(mode="json")
    lists = {name: value for name, value in values.items() if isinstance(value, list) and value and is_table(value)}
    yield facts({name: value for name, value in values.items() if name not in lists}, say)
    for name, value in lists.items():
        yield rows(name, value, say)


def facts(values: Mapping[str, object], say: Say) -> Table:
    """Return a line for each of the values, with its name before it."""
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(say(name.replace("_", " ")), Text(clean_text(_line(value, say) or say("none"))))
    return table


def rows(name: str, records: Sequence[Mapping[str, object]], say: Say) -> Table:
    """Return records as a table; a column in which nothing stands is left out.

    What is too long for its column goes on below: a name that is cut can be given to no other command.
    """
    table = Table(title=say(name.replace("_", " ")))
    columns = [column for column in records[0] if any(record[column] not in (None, "", []) for record in records)]
    for column in columns:
        is_number = all(isinstance(record[column], int | float | None) for record in records)
        table.add_column(
            say(column.replace("_", " ")), overflow="fold", justify="right" if is_number else "left", no_wrap=is_number
        )
    for record in records:
        table.add_row(*(Text(clean_text(_cell(record[column]))) for column in columns))
    return table


def labelled(name: str, text: str) -> RenderableType:
    """Return a line with a dim name before it."""
    line = Text(f"{name}: ", style="dim")
    line.append(clean_text(text), style="default")
    return line


def whole_line(name: str, value: str) -> Text:
    """Return a dim line that is never broken, such as one with a path, which is there to be copied."""
    return Text(f"{name} {clean_text(value)}", style="dim", no_wrap=True, overflow="ignore")


def is_table(value: Sequence[object]) -> bool:
    """Whether a list holds records rather than plain values."""
    return isinstance(value[0], dict)


def _line(value: object, say: Say) -> str:
    if isinstance(value, dict):
        # Its names may be a person's own (labels), so they stay as they are.
        return ", ".join(
            f"{key} {say('none') if each is None else _cell(each)}"
            for key, each in value.items()
            if not isinstance(each, dict)
        )
    return "; ".join(map(str, value[:_LONGEST])) if isinstance(value, list) else _cell(value)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
