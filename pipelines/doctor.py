"""`doctor`: is everything here that is needed, and what to do where it is not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil

from pydantic import BaseModel

from pipelines.errors import AssistantError
from pipelines.local_models import is_usable
from pipelines.models.catalog import CATALOG
from pipelines.operation import Context, Operation

_LIBRARIES = {
    "train": ("torch", "transformers", "peft", "bitsandbytes", "llguidance", "scipy"),
    "docs": ("chromadb", "selectolax", "pypdfium2", "markdown_it"),
    "agent": ("langchain", "langchain_openai"),
}
_FREE_GIGABYTES = 2.0


class CheckParams(BaseModel):
    """Nothing to choose."""


class Check(BaseModel):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


class CheckReport(BaseModel):
    """Everything that was looked at."""

    ok: bool
    checks: list[Check]


def check_machine(params: CheckParams, context: Context) -> CheckReport:
    """Check the machine and the settings."""
    del params
    checks = [
        _python(),
        *(_extra(extra, modules) for extra, modules in _LIBRARIES.items()),
        *(_model(model.name, context) for model in CATALOG),
        _endpoint("teacher", context),
        _endpoint("agent", context),
        _disk(context),
    ]
    return CheckReport(ok=all(check.ok for check in checks), checks=checks)


CHECK_MACHINE = Operation(params=CheckParams, report=CheckReport, run=check_machine, is_reading=True)


def _python() -> Check:
    cores = len(os.sched_getaffinity(0))
    return Check(name="python", ok=True, detail=f"{platform.python_version()}, {cores} cores")


def _extra(extra: str, modules: tuple[str, ...]) -> Check:
    # Found, not imported: importing takes seconds.
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    hint = f"pip install 'assistant[{extra}]'" if missing else ""
    detail = f"missing: {', '.join(missing)}" if missing else ", ".join(modules)
    return Check(name=f"libraries for {extra}", ok=not missing, detail=detail, hint=hint)


def _model(name: str, context: Context) -> Check:
    ok, detail, hint = is_usable(name, context)
    return Check(name=f"model {name}", ok=ok, detail=detail, hint=hint)


def _endpoint(role: str, context: Context) -> Check:
    try:
        endpoint = context.settings.teacher() if role == "teacher" else context.settings.agent()
    except AssistantError as error:
        return Check(name=role, ok=False, detail=str(error), hint=error.hint)
    if endpoint is None:
        return Check(name=role, ok=True, detail="embedded" if role == "teacher" else "none: requests map to commands")
    return Check(name=role, ok=True, detail=f"{endpoint.model} at {endpoint.url}")


def _disk(context: Context) -> Check:
    free = shutil.disk_usage(context.workspace.root).free / 1e9
    ok = free >= _FREE_GIGABYTES
    hint = "" if ok else "A build needs about 1 GB; free some space."
    return Check(name="disk", ok=ok, detail=f"{free:.1f} GB free at {context.workspace.root}", hint=hint)
