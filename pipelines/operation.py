"""What can be started, by whichever surface: one `Operation`, written once.

The command line, the agent's tools and the JSON output are made from an operation's
`params` and `report`. A costly one also has a `plan`, which a person approves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from pipelines.errors import ApprovalRequired, SettingsError
from pipelines.lazy import silence_libraries
from pipelines.models.catalog import CATALOG
from pipelines.models.provider import Models
from pipelines.settings import Settings, load_settings
from pipelines.workspace import Workspace

ParamsT = TypeVar("ParamsT", bound=BaseModel)
ReportT = TypeVar("ReportT", bound=BaseModel)


@dataclass(frozen=True)
class Positional:
    """Marks a field of `Params` that the command line takes without an option's name."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a stage has come."""

    stage: str
    done: int
    total: int | None = None
    detail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something worth knowing that is not an error."""

    message: str


@dataclass(frozen=True, kw_only=True)
class Delta:
    """The next piece of an answer that is being written."""

    text: str


Event = Progress | Notice | Delta


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an operation will do, how long it takes and what it costs."""

    title: str
    steps: tuple[str, ...]
    minutes: tuple[float, float] | None = None
    calls: int = 0
    cost_usd: float | None = 0.0
    replaces: tuple[str, ...] = ()


def _ignore(event: Event) -> None:
    del event


def _refuse(plan: Plan) -> bool:
    del plan
    return False


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an operation works with: folders, models, and the way back to whoever started it.

    `confine` keeps every path that an operation is given below the workspace; it is set
    where a model, and not a person, chose the path.
    """

    workspace: Workspace
    settings: Settings
    models: Models
    emit: Callable[[Event], None] = _ignore
    confirm: Callable[[Plan], bool] = _refuse
    seed: int = 0
    confine: bool = False

    def progress(self, stage: str, done: int, total: int | None = None, **detail: str) -> None:
        """Report how far `stage` has come."""
        self.emit(Progress(stage=stage, done=done, total=total, detail=detail))

    def notice(self, message: str) -> None:
        """Report something worth knowing."""
        self.emit(Notice(message=message))

    def resolve(self, path: Path) -> Path:
        """Return `path` as an absolute one, taken from the current folder.

        Raises:
            SettingsError: Paths are confined, and it lies outside the workspace.
        """
        absolute = path.expanduser().resolve()
        if self.confine and not absolute.is_relative_to(self.workspace.root):
            raise SettingsError(
                f"{absolute} lies outside the workspace {self.workspace.root}",
                hint="Copy the files into the workspace, or name the folder yourself on the command line.",
            )
        return absolute

    def check_model(self, name: str) -> None:
        """Refuse a model that is a folder outside, where paths are confined.

        Raises:
            SettingsError: Paths are confined, and it lies outside the workspace.
        """
        if not any(model.name == name for model in CATALOG):
            self.resolve(Path(name))


def open_context(
    folder: Path,
    *,
    emit: Callable[[Event], None] = _ignore,
    confirm: Callable[[Plan], bool] = _refuse,
    confine: bool = False,
) -> Context:
    """Return the context of the workspace in `folder`.

    Args:
        folder: The workspace; it is made one by the first operation that writes.
        emit: Told of progress.
        confirm: Asked to agree to what costs or destroys something; refuses by default.
        confine: Keep every path that an operation is given below the workspace.

    Raises:
        SettingsError: The workspace is another version's, or its settings are malformed.
    """
    silence_libraries()
    workspace = Workspace(folder)
    workspace.check_version()
    settings = load_settings(workspace.root)
    models = Models(settings, calls=workspace.calls)
    return Context(workspace=workspace, settings=settings, models=models, emit=emit, confirm=confirm, confine=confine)


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[ParamsT, ReportT]):
    """One thing that can be started: a typed function with its parameters and report."""

    run: Callable[[ParamsT, Context], ReportT]
    params: type[ParamsT]
    report: type[ReportT]
    plan: Callable[[ParamsT, Context], Plan] | None = None
    is_reading: bool = False  # changes nothing, so it needs no workspace of its own

    @property
    def name(self) -> str:
        """Name of the function, and of the agent's tool."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    def start(self, params: ParamsT, context: Context) -> ReportT:
        """Run the operation, once its plan, if it has one, is approved.

        Raises:
            ApprovalRequired: Somebody has to agree, and nobody did.
        """
        if self.plan is not None and not context.confirm(self.plan(params, context)):
            raise ApprovalRequired(
                f"{self.name} was not approved, so nothing was done",
                hint="Agree when asked, or pass --yes.",
            )
        if not self.is_reading:
            context.workspace.make()
        return self.run(params, context)
