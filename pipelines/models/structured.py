"""Records out of a model's words: how they are asked for, and what is done with what comes.

A reply is taken as it is if it can be; else what stands around the JSON is passed over, broken
JSON is repaired, and whole items of a list are kept where others are cut or malformed. Only
pydantic decides in the end.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import json_repair
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from pipelines.errors import LLMOutputError

_TAG = "(think|thinking|reasoning)"
_THINKING = re.compile(rf"^[ \t]*(?:<{_TAG}>.*?(?:</\1>|\Z)\s*)+", re.DOTALL | re.IGNORECASE | re.MULTILINE)
# Some servers give the start of the thoughts to the model, and only their end comes back.
_THOUGHT_END = re.compile(rf"\A(?:(?!<{_TAG}>).)*</{_TAG}>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[\[{]")
_BETWEEN_ITEMS = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder(strict=False)
_MOST_ERRORS = 5
# Places at which a whole object is looked for; a reply of brackets alone has thousands.
_MOST_STARTS = 32
# A reply that says the same over and over takes the repair seconds, and is nothing anyway.
_SHORT, _MONOTONOUS = 2_000, 20


class Mode(StrEnum):
    """What an endpoint can be asked for, most exact first."""

    SCHEMA = "json_schema"
    OBJECT = "json_object"
    TOOL = "tool"
    PLAIN = "plain"


@functools.cache
def json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a record; not to be changed."""
    return schema.model_json_schema()


def request_form(mode: Mode, schema: type[BaseModel]) -> dict[str, Any]:
    """Return the part of a request that asks for a record."""
    wanted = json_schema(schema)
    match mode:
        case Mode.SCHEMA:
            return {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": schema.__name__, "schema": wanted},
                }
            }
        case Mode.OBJECT:
            return {"response_format": {"type": "json_object"}}
        case Mode.TOOL:
            function = {"name": schema.__name__, "parameters": wanted}
            return {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": schema.__name__}},
            }
        case Mode.PLAIN:
            return {}


def parse_reply(raw: str, schema: type[BaseModel]) -> BaseModel:
    """Read the record out of a model's reply.

    Raises:
        LLMOutputError: There is no such record in it; its message lists what is wrong.
    """
    problem: ValidationError | None = None
    said = raw.encode("utf-8", "replace").decode().strip()
    for text in (said, _without_thinking(said)):
        try:
            return schema.model_validate_json(text)
        except ValidationError as error:
            problem = error
    tried: list[tuple[object, ValidationError]] = []
    for value in _values_in(text, schema):
        try:
            return _validate(value, schema)
        except ValidationError as error:
            tried.append((value, error))
        except RecursionError:  # nested deeper than any record
            continue
    for value, wrong in tried:
        salvaged = _without_bad_items(value, wrong)
        try:
            if salvaged is not None:
                return _validate(salvaged, schema)
        except ValidationError:
            pass  # what is left is no record either; the whole list of errors says more
    told = next((wrong for value, wrong in tried if isinstance(value, dict)), problem)
    assert told is not None
    raise LLMOutputError(f"expected {schema.__name__}: {describe(told)}", raw=raw) from told


def _validate(value: object, schema: type[BaseModel]) -> BaseModel:
    # As bytes, because the half of a character that "\\ud800" stands for cannot be written anywhere.
    return schema.model_validate_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def describe(error: ValidationError) -> str:
    """Return what is wrong, one short piece a place, for a person or for the model."""
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'the reply'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = f"; and {len(problems) - _MOST_ERRORS} more" if len(problems) > _MOST_ERRORS else ""
    return "; ".join(problems[:_MOST_ERRORS]) + more


def _without_thinking(text: str) -> str:
    """Return what a model said after it had thought; the start of the thoughts may be missing."""
    return _THOUGHT_END.sub("", _THINKING.sub("", text)).strip()


def _values_in(text: str, schema: type[BaseModel]) -> Iterator[object]:
    """Yield what may be the record: in fences, among words, cut off, or malformed; most certain first."""
    texts = [*_FENCE.findall(text), text]
    for found in itertools.chain(map(_whole_values, texts), map(_mended_values, texts)):
        for value in found:
            if isinstance(value, list):
                value = _of_list(value, schema)
            yield value
            if isinstance(value, dict):  # some wrap a record in its name, or in a call
                yield from (inner for inner in value.values() if isinstance(inner, dict))


def _whole_values(text: str) -> Iterator[object]:
    """Yield the JSON objects in `text`, and a list that comes before any of them."""
    starts, end = _BRACKET.finditer(text), 0
    for number, start in enumerate(itertools.islice(starts, _MOST_STARTS)):
        if start.start() < end or (number and start[0] == "["):
            continue
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        yield value


def _mended_values(text: str) -> Iterator[object]:
    """Yield the JSON in `text` without what was cut off; if it is malformed, repaired."""
    start = _BRACKET.search(text)
    if start is None:
        return
    text = text[start.start() :]
    with contextlib.suppress(ValueError, RecursionError):
        if _is_cut(text):
            yield from_json(text[: _end_of_items(text)], allow_partial=True)
        elif len(text) < _SHORT or len(zlib.compress(text.encode("utf-8", "replace"))) * _MONOTONOUS > len(text):
            yield json_repair.loads(text)


def _is_cut(text: str) -> bool:
    """Whether nothing is wrong with a piece of JSON but that it ends too early."""
    try:
        from_json(text)
    except ValueError as error:
        return str(error).startswith("EOF")
    return False


def _end_of_items(text: str) -> int:
    """Return where the last whole item of the outermost list ends; 0 if something else was cut."""
    first = end = text.find("[") + 1
    with contextlib.suppress(ValueError):
        while end:
            _item, end = _DECODER.raw_decode(text, _BETWEEN_ITEMS.match(text, end).end())  # type: ignore[union-attr]
    rest = text[end:].lstrip()
    is_later = rest.startswith("]") and rest.strip("]}, \t\r\n")
    return 0 if end == first or is_later else end


def _of_list(values: list[Any], schema: type[BaseModel]) -> object:
    """Return a bare list as the record whose only list it must be, or its one whole record."""
    required = [name for name, field in schema.model_fields.items() if field.is_required()]
    records = [value for value in values if isinstance(value, dict) and set(required) <= value.keys()]
    if records:
        return records[0]
    lists = [
        name for name, field in schema.model_fields.items() if getattr(field.annotation, "__origin__", None) is tuple
    ]
    return {lists[0]: values} if len(lists) == 1 else values


def _without_bad_items(value: object, error: ValidationError) -> object | None:
    """Return `value` without the items of its lists that are wrong; None if that is not what is wrong."""
    if not isinstance(value, dict):
        return None
    bad: dict[str, set[int]] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        where = problem["loc"]
        if len(where) < 2 or not isinstance(where[0], str) or not isinstance(where[1], int):
            return None
        bad.setdefault(where[0], set()).add(where[1])
    kept: dict[str, object] = dict(value)
    for name, numbers in bad.items():
        items = kept.get(name)
        if not isinstance(items, list):
            return None
        kept[name] = [item for number, item in enumerate(items) if number not in numbers]
        if not kept[name]:
            return None
    return kept
