"""`init`: makes a folder a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from pipelines.operation import Context, Operation, Positional
from pipelines.workspace import Workspace


class InitParams(BaseModel):
    """Which folder to use."""

    folder: Annotated[Path, Positional()] = Field(Path(), description="Folder to make a workspace.")


class InitReport(BaseModel):
    """Where the workspace is."""

    workspace: str
    documents: str
    created: bool


def make_workspace(params: InitParams, context: Context) -> InitReport:
    """Make a folder a workspace."""
    workspace = Workspace(context.resolve(params.folder))
    workspace.check_version()
    created = workspace.make()
    workspace.documents.mkdir(exist_ok=True)
    return InitReport(workspace=str(workspace.root), documents=str(workspace.documents), created=created)


MAKE_WORKSPACE = Operation(params=InitParams, report=InitReport, run=make_workspace, is_reading=True)
