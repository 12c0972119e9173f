"""`train start`: fine-tunes a base model on a dataset, in a process of its own that is watched."""

from __future__ import annotations

from pipelines.manifest import Manifest
from pipelines.operation import Context, Operation, Plan
from pipelines.training import job
from pipelines.training.catalog import METHODS, OBJECTIVES
from pipelines.training.data import read_data
from pipelines.training.inputs import MANIFEST, run_inputs
from pipelines.training.params import TrainParams, TrainReport
from pipelines.training.place import refuse_head
from pipelines.training.plan import read_plan
from pipelines.training.scale.engine import check_engine

__all__ = ["TRAIN_ADAPTER", "TrainParams", "TrainReport", "train_adapter"]

_WEIGHTS = "adapter_model.safetensors"
# Examples of about 330 tokens, packed by passages, that two cores get through in a second.
_EXAMPLES_PER_SECOND = (2.0, 8.0)


def plan_train(params: TrainParams, context: Context) -> Plan:
    """Say what training will take: as `train plan` measured it, else by experience."""
    check_engine(params)
    folder = context.workspace.adapter(params.adapter_name)
    refuse_head(folder)
    examples = len(read_data(params, context, with_test=False).train)
    measured = read_plan(folder, run_inputs(params, context))
    low, high = (examples * params.epochs / rate / 60 for rate in reversed(_EXAMPLES_PER_SECOND))
    steps = [
        f"{params.method} ({METHODS[params.method].caveat}), rank {params.rank}, on this machine",
        f"{OBJECTIVES[params.objective].meaning}, at most {params.epochs:g} epoch{'s' * (params.epochs != 1)}, "
        f"learning rate {params.rate:g}",
    ]
    if measured is not None:
        steps.append(f"measured: {measured.steps} steps, {measured.memory_mb} MB of memory at most")
        low, high = measured.minutes / 2, measured.minutes  # it may stop early, once nothing improves
    return Plan(
        title=f"Train {params.base} on {examples} example{'s' * (examples != 1)} of {params.dataset}",
        steps=tuple(steps),
        minutes=(low, high),
        replaces=(str(folder),) if (folder / MANIFEST).is_file() else (),
    )


def train_adapter(params: TrainParams, context: Context) -> TrainReport:
    """Fine-tune a base model on a dataset; goes on where it was stopped."""
    context.check_model(params.base)
    check_engine(params)
    refuse_head(context.workspace.adapter(params.adapter_name))
    finished = finished_run(params, context)
    if finished is not None:
        context.notice(f"the adapter {params.adapter_name} is already trained")
        return finished
    context.models.forget_engines()
    return job.supervise(params, context)


TRAIN_ADAPTER = Operation(params=TrainParams, report=TrainReport, run=train_adapter, plan=plan_train)


def finished_run(params: TrainParams, context: Context) -> TrainReport | None:
    """Return the report of the same run, if it has been made already."""
    folder = context.workspace.adapter(params.adapter_name)
    manifest = Manifest(path=folder / MANIFEST, inputs=run_inputs(params, context))
    return manifest.finished(TrainReport) if (folder / _WEIGHTS).is_file() else None
