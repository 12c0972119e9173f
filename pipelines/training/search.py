"""`train search`: which learning rate, rank and number of epochs suit a dataset.

Successive halving: every trial is an ordinary run, and one that is behind the others at a
validation is given up. Only the splits for training and validation are read, so that the
test split stays what nobody has chosen by.

Source:
    Li et al. 2018, A System for Massively Parallel Hyperparameter Tuning, arXiv:1810.05934.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from pipelines.lazy import lazy_import, require_installed
from pipelines.manifest import file_hash
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Name
from pipelines.training import job
from pipelines.training.data import data_files
from pipelines.training.params import TrainParams
from pipelines.workspace import write_json

if TYPE_CHECKING:
    from pipelines.models import hardware
    from pipelines.training import study, trial, work
else:
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    study = lazy_import("pipelines.training.study", extra="search")
    trial = lazy_import("pipelines.training.trial", extra="train")
    work = lazy_import("pipelines.training.work", extra="train")

REPORT = "report.json"
_CHILD = "pipelines.training.search_child"
Verdict = Literal["better", "within noise", "default is best", "unknown"]
State = Literal["finished", "given up", "diverged", "unfinished"]
_DEFAULT = TrainParams.model_fields
_SUMMARIES: dict[Verdict, str] = {
    "better": "The best parameters are better than the default ones, by more than the validation split's noise.",
    "within noise": "The best parameters are no better than the default ones as far as this split can tell.",
    "default is best": "No trial was better than the default parameters.",
    "unknown": "The time did not suffice for the default parameters: give it more minutes.",
}


class SearchParams(BaseModel):
    """What to search for, and for how long."""

    dataset: Annotated[Name, Positional()] = Field(description="Curated dataset to learn.")
    minutes: float = Field(30.0, gt=0, description="Time for the whole search; a trial under way is stopped.")
    trials: int = Field(12, ge=2, le=1000, description="Trials at most, the default parameters being the first.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model: a name of models list, or a Hugging Face folder.")
    epochs: int = Field(8, ge=1, le=100, description="Passes over the training split in one trial, at most.")
    batch_size: int = Field(_DEFAULT["batch_size"].default, ge=1, le=1024, description="Examples per step, at least.")
    max_length: int = Field(_DEFAULT["max_length"].default, ge=64, le=131_072, description="Longest example in tokens.")

    def training(self, *, learning_rate: float, rank: int, epochs: float) -> TrainParams:
        """Return the parameters of a run with what a trial chose."""
        return TrainParams(
            dataset=self.dataset,
            base=self.base,
            epochs=epochs,
            learning_rate=learning_rate,
            rank=rank,
            batch_size=self.batch_size,
            max_length=self.max_length,
        )


class SearchTask(job.Task):
    """A search as a task for a child."""

    params: SearchParams


class TrialLine(BaseModel):
    """One trial."""

    trial: int
    learning_rate: float
    rank: int
    epochs: float
    validation_loss: float | None
    steps: int
    seconds: float
    state: State


class Gain(BaseModel):
    """How much lower the validation loss of the best trial is than the default's, with its interval."""

    mean: float
    low: float
    high: float


class SearchReport(BaseModel):
    """What a search came to."""

    dataset: str
    path: str
    best: TrialLine | None
    default: TrialLine | None
    gain: Gain | None = Field(description="In nats per token; the interval allows for the number of trials.")
    verdict: Verdict
    summary: str
    command: str
    is_out_of_time: bool
    seconds: float
    trials: list[TrialLine]


def plan_search(params: SearchParams, context: Context) -> Plan:
    """Say what a search will take."""
    del context
    return Plan(
        title=f"Search for parameters to train {params.base} on {params.dataset}",
        steps=(f"at most {params.trials} trials, each a training run on this machine; the worse are given up early",),
        minutes=(0.0, params.minutes),
    )


def search_adapters(params: SearchParams, context: Context) -> SearchReport:
    """Search learning rate, rank and epochs on the validation split; goes on where it was stopped."""
    require_installed("optuna", extra="search")
    context.check_model(params.base)
    data_files(TrainParams(dataset=params.dataset), context)  # an error here needs no child
    context.models.forget_engines()
    task = SearchTask(workspace=str(context.workspace.root), seed=context.seed, parent=os.getpid(), params=params)
    folder = context.workspace.search(params.dataset)
    return SearchReport.model_validate(job.run_watched(task, context, folder=folder, module=_CHILD))


def run_search(params: SearchParams, context: Context) -> SearchReport:
    """Search in the process that calls; the way there is `search_adapters`."""
    folder = context.workspace.search(params.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    opened = study.Study(folder, inputs=_inputs(params, context), most_epochs=params.epochs)
    deadline = time.monotonic() + 60 * params.minutes - opened.seconds
    if not opened.is_complete(params.trials) and time.monotonic() < deadline:
        _run_trials(opened, params, context, deadline=deadline)
    if opened.is_complete(params.trials):
        for left in folder.glob(f"{study.FOLDER}*"):  # of a search with other parameters
            shutil.rmtree(left)
    report = _report(opened, params, folder)
    write_json(folder / REPORT, report.model_dump(mode="json"))
    return report


SEARCH_ADAPTERS = Operation(params=SearchParams, report=SearchReport, run=search_adapters, plan=plan_search)


def _inputs(params: SearchParams, context: Context) -> dict[str, object]:
    """Return what makes trials comparable; more time or trials go on with the same search."""
    files = data_files(TrainParams(dataset=params.dataset), context)
    return {
        "params": params.model_dump(mode="json", exclude={"minutes", "trials"}),
        "files": {name: file_hash(path) for name, path in files.items() if name != "test"},
        "seed": context.seed,
    }


def _run_trials(opened: study.Study, params: SearchParams, context: Context, *, deadline: float) -> None:
    hardware.prepare_torch(threads=context.settings.threads)
    any_run = params.training(learning_rate=1.0, rank=1, epochs=1)  # the data are the same for all
    prepared = work.load_data(any_run, context, with_test=False)
    bench = trial.Bench(context.models.base_folder(params.base), prepared, context, deadline=deadline)
    while not opened.is_complete(params.trials) and time.monotonic() < deadline:
        chosen = opened.ask()
        best = opened.best_loss()
        detail = {} if best is None else {"best": f"{best:.3f}"}
        context.progress("searching", opened.done, params.trials, **detail)
        bench.run(chosen, params.training(learning_rate=chosen.learning_rate, rank=chosen.rank, epochs=chosen.epochs))
    context.progress("searching", opened.done, params.trials)


def _report(opened: study.Study, params: SearchParams, folder: Path) -> SearchReport:
    lines = [TrialLine.model_validate(line) for line in opened.lines()]
    finished = [line for line in lines if line.state == "finished"]
    best = min(finished, key=lambda line: line.validation_loss or 0.0, default=None)
    default = next((line for line in finished if line.trial == 1), None)
    gain = None
    if best is not None and default is not None and best.trial != default.trial:
        found = opened.gain(best.trial, over=default.trial, comparisons=len(lines) - 1)
        gain = Gain(**dict(zip(("mean", "low", "high"), (round(each, 5) for each in found)))) if found else None
    verdict = _verdict(best, default, gain)
    return SearchReport(
        dataset=params.dataset,
        path=str(folder),
        best=best,
        default=default,
        gain=gain,
        verdict=verdict,
        summary=_SUMMARIES[verdict],
        command=_command(params, best) if best else "",
        is_out_of_time=not opened.is_complete(params.trials),
        seconds=round(opened.seconds, 1),
        trials=lines,
    )


def _verdict(best: TrialLine | None, default: TrialLine | None, gain: Gain | None) -> Verdict:
    if default is None or best is None:
        return "unknown"
    if best.trial == default.trial:
        return "default is best"
    return "better" if gain is not None and gain.low > 0 else "within noise"


def _command(params: SearchParams, best: TrialLine) -> str:
    """Return the command that trains with the parameters of a trial."""
    chosen = params.training(learning_rate=best.learning_rate, rank=best.rank, epochs=best.epochs)
    given = {name for name, field in _DEFAULT.items() if getattr(chosen, name) != field.default} - {"dataset"}
    options = [
        word
        for name in ("learning_rate", "rank", "epochs", *sorted(given - {"learning_rate", "rank", "epochs"}))
        for word in (f"--{name.replace('_', '-')}", _word(getattr(chosen, name)))
    ]
    return shlex.join(["assistant", "train", "start", params.dataset, *options])


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
