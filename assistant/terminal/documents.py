"""Views of documents: what an addition changed, and what a collection holds."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel
from rich.console import RenderableType

from assistant.terminal.fields import Say, facts, rows


def show_addition(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return the counts of an addition, its first changes, and what could not be read."""
    values = report.model_dump(mode="json")
    changes, failed = values.pop("changes"), values.pop("failed")
    counts = ("updated", "renamed", "removed")
    yield facts({name: value for name, value in values.items() if value or name not in counts}, say)
    if len(changes) != values["added"]:  # of new documents alone, the number says enough
        yield rows("changes", changes, say)
    if failed:
        yield rows("failed", failed, say)


def list_documents(report: BaseModel, say: Say) -> Iterable[RenderableType]:
    """Return a table of documents and one of failures, or one of collections."""
    values = report.model_dump(mode="json")
    if values["collections"]:
        yield rows("collections", values["collections"], say)
        return
    if values["documents"]:
        yield rows("documents", values["documents"], say)
    else:
        yield facts({"collection": values["collection"], "documents": 0}, say)
    if values["failed"]:
        yield rows("failed", values["failed"], say)
