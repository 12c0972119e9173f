"""One run from its parameters to its adapter, in the process that calls."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import torch

from pipelines.errors import MissingExtraError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest
from pipelines.models import hardware, local
from pipelines.operation import Context
from pipelines.training.inputs import MANIFEST, run_inputs, run_key
from pipelines.training.params import TrainParams, TrainReport
from pipelines.training.prepare import Prepared, prepare_data, prepare_run
from pipelines.training.progress import Outcome, StepReport
from pipelines.training.scale.engine import WORK, choose_engine
from pipelines.training.tracking import boards

if TYPE_CHECKING:
    from pipelines.training.scale import job_run
    from pipelines.training.tracking import report as page
else:
    job_run = lazy_import("pipelines.training.scale.job_run", extra="scale")
    page = lazy_import("pipelines.training.tracking.report", extra="track")


class Trained(Protocol):
    """A run of either engine."""

    @property
    def resumed_from_step(self) -> int:
        """Step that an earlier process had reached; 0 for a fresh run."""

    def train(self, report: Callable[[StepReport], None]) -> Outcome:
        """Train to the end, and keep the best weights; stops where `report` raises KeyboardInterrupt."""

    def save_adapter(self) -> None:
        """Write the adapter with its best weights; the checkpoints are then done with."""


def run_training(
    params: TrainParams,
    context: Context,
    *,
    micro_tokens: int | None = None,
    after_step: Callable[[StepReport], None] = lambda step: None,
    sized: Callable[[int], None] = lambda tokens: None,
) -> TrainReport:
    """Train an adapter; goes on where an earlier process was stopped.

    Args:
        params: What to train on, and how.
        context: Where it is, and who watches.
        micro_tokens: Longest sequence to compute at once, for want of memory.
        after_step: Called after every step, besides the progress; may raise KeyboardInterrupt.
        sized: Told how many tokens the longest sequence has, before the first step.

    Raises:
        DataError: The data is not fit to learn.
        TrainingError: The run cannot go on.
    """
    started = time.monotonic()
    hardware.prepare_torch(threads=context.settings.threads)
    folder = context.workspace.adapter(params.adapter_name)
    inputs = run_inputs(params, context)
    prepared = load_data(params, context)
    _tell(prepared, context)
    engine = choose_engine(params, has_gpu=torch.cuda.is_available(), notice=context.notice)
    run: Trained
    if engine == "trl":
        run, largest = job_run.prepare_scale_run(params, context, prepared, folder=folder, micro_tokens=micro_tokens)
        sized(largest)
    else:
        sized(max(len(pack.tokens) for pack in (*prepared.train, *prepared.validation)))
        run = prepare_run(params, context, prepared, folder=folder, key=run_key(inputs), micro_tokens=micro_tokens)
    if run.resumed_from_step:
        context.notice(f"training goes on from step {run.resumed_from_step}")
    outcome, measures = _train_watched(run, params, context, examples=prepared.examples, after_step=after_step)
    done = TrainReport(
        adapter=params.adapter_name,
        path=str(folder),
        base=params.base,
        steps=outcome.steps,
        examples=prepared.examples,
        left_out=prepared.left_out,
        tokens_per_second=round(outcome.tokens_per_second, 1),
        peak_memory_mb=outcome.peak_memory_mb,
        best_validation_loss=round(outcome.best_validation_loss, 5),
        best_step=outcome.best_step,
        resumed_from_step=outcome.resumed_from_step,
        seconds=round(time.monotonic() - started, 1),
        objective=params.objective,
        method=params.method,
        engine=engine,
        validation={name: round(value, 4) for name, value in measures.items()},
        warnings=[f"{each.count} {each.detail}" for each in prepared.findings],
    )
    Manifest(path=folder / MANIFEST, inputs=inputs).finish(done)
    return done


def _train_watched(
    run: Trained,
    params: TrainParams,
    context: Context,
    *,
    examples: int,
    after_step: Callable[[StepReport], None],
) -> tuple[Outcome, Mapping[str, float]]:
    """Train and keep the adapter, shown on boards and a page; return also what the best validation measured."""
    folder = context.workspace.adapter(params.adapter_name)
    values = params.model_dump(mode="json") | {"learning_rate": params.rate}
    validated: dict[int, Mapping[str, float]] = {}
    with boards.open_trackers(
        folder,
        params=values,
        resumed_from_step=run.resumed_from_step,
        mlflow_url=context.settings.mlflow_url,
        notice=context.notice,
    ) as trackers:

        def report(step: StepReport) -> None:
            if step.measures:
                validated[step.step] = step.measures
            trackers.log(step)
            show_step(step, context)
            after_step(step)

        outcome = run.train(report)
        run.save_adapter()
        shutil.rmtree(folder / WORK, ignore_errors=True)  # should the other engine have begun the same adapter
        try:
            shown = dataclasses.asdict(outcome) | {"examples": examples}
            trackers.finish(page.write_page(folder, params=values, outcome=shown))
        except (MissingExtraError, OSError) as error:  # the adapter is there; only its page is not
            trackers.finish()
            context.notice(f"there is no page about the run: {error}")
    return outcome, validated.get(outcome.best_step, {})


def load_data(params: TrainParams, context: Context, *, with_test: bool = True) -> Prepared:
    """Read and check the data of a run as its base model will see it."""
    base = context.models.base_folder(params.base)
    tokenizer = local.load_tokenizer(base)
    return prepare_data(params, context, tokenizer, longest=local.context_tokens(base), with_test=with_test)


def show_step(step: StepReport, context: Context) -> None:
    """Report a step as progress."""
    minutes, seconds = divmod(round(step.seconds_left), 60)
    detail = {
        "loss": f"{step.loss:.3f}",
        "tokens/s": f"{step.tokens_per_second:.0f}",
        "left": f"{minutes}:{seconds:02d}",
    }
    if step.validation_loss is not None:
        detail["validation loss"] = f"{step.validation_loss:.3f}"
        detail |= {f"validation {name}": f"{value:.3f}" for name, value in step.measures.items()}
    context.progress("training", step.step, step.steps, **detail)


def _tell(prepared: Prepared, context: Context) -> None:
    for finding in prepared.findings:
        context.notice(f"{finding.count} {finding.detail}")
