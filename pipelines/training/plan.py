"""`train plan`: what a run will take, from three real steps of it, before any time is spent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from pipelines.operation import Context, Operation
from pipelines.training import job
from pipelines.training.inputs import run_inputs
from pipelines.training.params import TrainParams
from pipelines.workspace import write_json

PLAN = "plan.json"
_TRIAL = "trial"  # folder of the steps that are only timed


class PlanParams(TrainParams):
    """The run to plan."""

    show: int = Field(0, ge=0, le=20, description="Print so many records as the model will see them.")


class Choice(BaseModel):
    """One thing that was chosen, and why."""

    what: str
    chosen: str
    reason: str


class MaskedRecord(BaseModel):
    """A record as the model sees it: what it is shown, and what it learns; of a pair, the better answer."""

    shown: str
    learnt: str
    tokens: int


class GuardLine(BaseModel):
    """What the data guard says."""

    check: str
    severity: str
    count: int
    detail: str


class TrainingPlan(BaseModel):
    """What a run will take."""

    adapter: str
    objective: str
    method: str
    examples: int
    tokens: int = Field(description="Tokens computed in one epoch, what examples share counted once.")
    steps: int
    minutes: float = Field(description="If nothing ends it earlier.")
    memory_mb: int
    tokens_per_second: float
    hardware: dict[str, str]
    choices: list[Choice]
    guard: list[GuardLine]
    records: list[MaskedRecord] = Field(default_factory=list)


def plan_training(params: PlanParams, context: Context) -> TrainingPlan:
    """Look at the hardware and the data, time three real steps, and say what training will take."""
    context.check_model(params.base)
    context.models.forget_engines()
    folder = context.workspace.adapter(params.adapter_name)
    run = TrainParams.model_validate(params.model_dump(exclude={"show"}))
    inputs = run_inputs(run, context)
    trial = folder / _TRIAL
    try:
        told = job.run_once(run, context, folder=trial, module="pipelines.training.estimate", show=params.show)
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    report = TrainingPlan.model_validate(told)
    stored = report.model_dump(mode="json", exclude={"records"})
    write_json(folder / PLAN, {"inputs": inputs, "report": stored})
    return report


PLAN_TRAINING = Operation(params=PlanParams, report=TrainingPlan, run=plan_training)


def read_plan(folder: Path, inputs: dict[str, object]) -> TrainingPlan | None:
    """Return the plan that was made for a run with the same inputs; None if there is none."""
    try:
        stored = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        if stored["inputs"] == json.loads(json.dumps(inputs)):
            return TrainingPlan.model_validate(stored["report"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return None
