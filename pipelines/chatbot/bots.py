"""What a chatbot is made of, and `bot list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import DataError
from pipelines.operation import Context, Operation
from pipelines.records import Name
from pipelines.workspace import write_json

_FILE = "bot.json"


class Bot(BaseModel):
    """One chatbot: a collection to answer from, and a model to answer with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    collection: Name
    base: str = Field(description="Base model.")
    adapter: Name | None = Field(description="Adapter that was trained for it; None if there is none.")
    served: Literal["tuned", "base"] = Field(description="Which of the two answers.")
    passages: int = Field(3, ge=1, le=12, description="Passages shown with each question.")
    summary: str = Field("", description="Why that one answers.")


def save_bot(folder: Path, bot: Bot) -> None:
    """Write the chatbot's record."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _FILE, bot.model_dump(mode="json"))


def load_bot(context: Context, name: str) -> Bot:
    """Read a chatbot's record.

    Raises:
        DataError: There is no such chatbot, or its record cannot be read.
    """
    path = context.workspace.bot(name) / _FILE
    try:
        return Bot.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        known = ", ".join(context.workspace.names("bots")) or "none"
        raise DataError(
            f"there is no chatbot {name!r}; known: {known}",
            hint=f"Make it with: assistant bot build {name} --documents FOLDER",
        ) from error
    except (ValueError, ValidationError) as error:
        raise DataError(f"{path} is not a chatbot's record: {error}", path=path, hint="Build it again.") from error


class ListBotsParams(BaseModel):
    """Nothing to choose."""


class ListBotsReport(BaseModel):
    """The chatbots of the workspace."""

    bots: list[Bot]


def list_bots(params: ListBotsParams, context: Context) -> ListBotsReport:
    """List the chatbots of the workspace."""
    del params
    return ListBotsReport(bots=[load_bot(context, name) for name in context.workspace.names("bots")])


LIST_BOTS = Operation(params=ListBotsParams, report=ListBotsReport, run=list_bots, is_reading=True)
