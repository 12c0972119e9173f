"""Views of trainings: the plan of one, what it came to, one adapter, and the adapters beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from assistant.terminal.fields import Say, facts, rows, whole_line
from pipelines.text import clean_text

_PAGE = "training.html"
_UNLIMITED = 10_000  # columns: the width of a table that may take what it likes
_UNITS = ("B", "kB", "MB", "GB")


def show_plan(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what a training will take, what was chosen for it, and the records that were asked for."""
    values = report.model_dump(mode="json")
    speed = f"{values['tokens_per_second']:.0f} {say('tokens/s')}"
    amount = f"{values['examples']:,} {say('examples')}, {values['tokens']:,} {say('tokens in an epoch')}"
    lines = {
        "Time, at most": f"{values['minutes']:.1f} min, {values['steps']:,} {say('steps')}, {speed}",
        "Memory": f"{values['memory_mb']:,} MB",
        "Data": amount,
        "Machine": ", ".join(f"{say(key)} {each}" for key, each in values["hardware"].items()),
    }
    table = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        table.add_row(Text(say(name), style="bold"), Text(clean_text(text)))
    yield table
    yield rows("choices", [{key: say(text) for key, text in choice.items()} for choice in values["choices"]], say)
    if values["guard"]:
        said = ("check", "severity", "detail")
        found = [{**line, **{key: say(line[key].replace("_", " ")) for key in said}} for line in values["guard"]]
        yield rows("data guard", found, say)
    for number, record in enumerate(values["records"], start=1):
        yield Text(say("record {number}, {tokens} tokens", number=number, tokens=record["tokens"]), style="bold")
        yield Padding(_Record(record["shown"], record["learnt"]), (0, 0, 0, 2))
    if values["records"]:
        yield _Legend(say)


def show_outcome(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return what a training came to, and where its page is."""
    values = {name: value for name, value in report.model_dump(mode="json").items() if value not in ({}, [])}
    yield facts(values, say)
    yield _page(str(values["path"]), say)


def show_adapter(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return how the run of an adapter went, and its files."""
    values = report.model_dump(mode="json")
    line = values["adapter"]
    yield Group(*_in_lines([line], say))
    known = {name: value for name, value in values["params"].items() if value is not None}
    yield facts({"path": values["path"], "params": known}, say)
    for finding in values["findings"]:
        yield Text(f"• {clean_text(finding)}")
    if values["curves"]:
        named = [{**curve, "curve": say(curve["curve"].replace("_", " "))} for curve in values["curves"]]
        yield rows("curves", named, say)
    if values["files"]:
        yield rows(
            "files", [{"file": file["file"], "size": _size(file["size_bytes"])} for file in values["files"]], say
        )
    if any(file["file"] == _PAGE for file in values["files"]):
        yield _page(values["path"], say)


def list_adapters(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return the adapters as a table, or in lines where the terminal is too narrow for one."""
    lines = report.model_dump()["adapters"]
    if not lines:
        yield Text(say("There is no adapter yet."))
        return
    yield _WhereItFits(_as_table(lines, say), Group(*_in_lines(lines, say)))


class _WhereItFits:
    """A table where it fits without a cut, and something narrower elsewhere."""

    def __init__(self, table: Table, narrow: RenderableType) -> None:
        self._table, self._narrow = table, narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = console.measure(self._table, options=options.update(width=_UNLIMITED)).maximum
        yield self._table if wanted <= options.max_width else self._narrow


class _Record:
    """A record of which the learnt part is green, or in guillemets where there is no colour."""

    def __init__(self, shown: str, learnt: str) -> None:
        self._shown, self._learnt = clean_text(shown), clean_text(learnt)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del options
        text = Text(self._shown, style="dim")
        learnt = self._learnt if _has_colour(console) else f"»{self._learnt}«"
        yield text.append(learnt, style="not dim bold green")


class _Legend:
    """Says how the learnt part is marked."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del options
        marked = "green is what is learnt; the rest is only shown"
        quoted = "between » and « is what is learnt; the rest is only shown"
        yield Text(self._say(marked if _has_colour(console) else quoted), style="dim")


def _has_colour(console: Console) -> bool:
    return console.color_system is not None and not console.no_color


def _as_table(lines: list[dict[str, Any]], say: Say) -> Table:
    table = Table()
    for column in ("adapter", "base", "method"):
        table.add_column(say(column))
    for column in ("examples", "steps", "validation loss", "tokens/s", "minutes"):
        table.add_column(say(column).replace(" ", "\n"), justify="right")
    table.add_column(say("evaluation"))
    for line in lines:
        base = Text(clean_text(line["base"]))
        table.add_row(_name(line, say), base, _how(line, say), *_numbers(line).values(), _judged(line, say))
    return table


def _in_lines(lines: list[dict[str, Any]], say: Say) -> Iterable[RenderableType]:
    for line in lines:
        about = ", ".join(filter(None, (clean_text(line["base"]), _how(line, say))))
        yield Text.assemble(_name(line, say), "  ", about)
        numbers = {say(name): number for name, number in _numbers(line).items() if number}
        known = numbers | ({say("evaluation"): _judged(line, say)} if line["verdict"] else {})
        if known:
            yield Padding(
                Text(", ".join(f"{name} {value}" for name, value in known.items()), style="dim"), (0, 0, 0, 2)
            )


def _name(line: Mapping[str, Any], say: Say) -> Text:
    name = Text(clean_text(line["adapter"]), style="bold")
    return name.append(f" ({say('newest')})", style="not bold green") if line["newest"] else name


def _how(line: Mapping[str, Any], say: Say) -> str:
    head = say("head") if line["is_head"] else ""
    return clean_text(", ".join(filter(None, (head, line["method"], line["objective"]))) or say(line["state"]))


def _numbers(line: Mapping[str, Any]) -> dict[str, str]:
    numbers = {
        "examples": line["examples"],
        "steps": line["steps"],
        "validation loss": line["best_validation_loss"],
        "tokens/s": line["tokens_per_second"],
        "minutes": line["minutes"],
    }
    return {
        name: "" if number in (None, 0) else f"{number:,.4g}" if isinstance(number, float) else f"{number:,}"
        for name, number in numbers.items()
    }


def _judged(line: Mapping[str, Any], say: Say) -> str:
    low, high = line["difference"] or (None, None)
    return clean_text(say(line["verdict"])) + (f" ({low:+.2f} … {high:+.2f})" if low is not None else "")


def _page(path: str, say: Say) -> Text:
    return whole_line(say("The whole report:"), f"{path}/{_PAGE}")


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
