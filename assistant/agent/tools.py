"""The agent's tools: every operation, offered to a model."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from pipelines.errors import AssistantError
from pipelines.operation import Context, Operation

# A report is small; what is longer (a document's text) is cut for the model's context.
_LONGEST = 6_000


class Stopped(Exception):  # noqa: N818 - not a fault: the person wanted it
    """The person stopped the turn while a tool was at work."""


def tools_of(operations: Iterable[Operation[Any, Any]], context: Context) -> list[BaseTool]:
    """Offer operations to a model; they run one at a time, whatever the model asks for at once."""
    turn = threading.Lock()
    return [_as_tool(operation, context, turn) for operation in operations]


def _as_tool(operation: Operation[Any, Any], context: Context, turn: threading.Lock) -> StructuredTool:
    def call(**arguments: object) -> str:
        try:
            with turn:
                report = operation.start(operation.params.model_validate(arguments), context)
        except AssistantError as error:  # expected: text that the model can act on
            return f"FAILED {type(error).__name__}: {error} {error.hint}".rstrip()
        except Stopped:
            return "STOPPED: the person stopped this. What was finished is kept."
        except Exception as error:  # noqa: BLE001 - an edge: the model can still tell the person
            return f"FAILED {type(error).__name__}: {error}"
        text = report.model_dump_json()
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} (cut here, {len(text)} characters in all)"

    return StructuredTool.from_function(
        call,
        name=operation.name,
        description=operation.summary,
        args_schema=operation.params,
        handle_validation_error=str,
    )
