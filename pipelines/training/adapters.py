"""`train list`: the adapters of the workspace."""

from __future__ import annotations

import json

from pydantic import BaseModel

from pipelines.operation import Context, Operation


class ListAdaptersParams(BaseModel):
    """Nothing to choose."""


class AdapterLine(BaseModel):
    """One adapter of the list."""

    adapter: str
    base: str
    state: str
    examples: int = 0
    steps: int = 0
    best_validation_loss: float | None = None


class ListAdaptersReport(BaseModel):
    """The adapters of the workspace."""

    adapters: list[AdapterLine]


def list_adapters(params: ListAdaptersParams, context: Context) -> ListAdaptersReport:
    """List the adapters of the workspace."""
    del params
    lines = []
    for name in context.workspace.names("adapters"):
        try:
            text = (context.workspace.adapter(name) / "manifest.json").read_text(encoding="utf-8")
            report = json.loads(text)["report"]
            known = {key: report[key] for key in AdapterLine.model_fields if key in report}
            lines.append(AdapterLine.model_validate({**known, "state": "trained"}))
        except (OSError, ValueError, KeyError):
            lines.append(AdapterLine(adapter=name, base="", state="unfinished"))
    return ListAdaptersReport(adapters=lines)


LIST_ADAPTERS = Operation(params=ListAdaptersParams, report=ListAdaptersReport, run=list_adapters, is_reading=True)
