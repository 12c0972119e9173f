"""The trials of a search, on the disk: what was tried, how it went, what to try next.

The only importer of optuna. What is tried depends on the seed and the trials before alone,
so a search that was killed tries what it would have tried anyway.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from pipelines.training.params import TrainParams

FOLDER = "trial-"
_JOURNAL = "trials.journal"
_RATES = (1e-4, 4e-3)
_RANKS = tuple(sorted({4, 8, 16, 32, 64, TrainParams.model_fields["rank"].default}))
_CHOICES = 3  # rate, rank, epochs
_FIRST_RUNG = 2  # validations before a trial can be given up
_HALVING = 2
_DRAWN_AT_RANDOM = 4  # trials before the sampler has seen enough to model
_CONFIDENCE = 0.95
_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "given up",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}


class Chosen:
    """One trial: what it tries, and the way back for what comes of it."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, *, folder: Path, most_epochs: int) -> None:
        self._study = study
        self._trial = trial
        self._validations = 0
        self.seconds_before = float(trial.user_attrs.get("seconds", 0.0))
        # Three digits, so that the command that is printed says exactly what was tried.
        self.learning_rate = _rounded(trial.suggest_float("learning_rate", *_RATES, log=True))
        self.rank = int(trial.suggest_categorical("rank", _RANKS))
        self.epochs = float(trial.suggest_int("epochs", 1, most_epochs))
        self.key = hashlib.sha256(f"{study.study_name}:{sorted(trial.params.items())}".encode()).hexdigest()
        self.folder = folder / f"{FOLDER}{self.key[:12]}"  # the same after a restart, with the run's checkpoint

    def took(self, *, steps: int, seconds: float) -> None:
        """Record how far the run has come, for whoever goes on after a kill."""
        self._trial.set_user_attr("steps", steps)
        self._trial.set_user_attr("seconds", round(seconds, 1))

    def skip_validations(self, count: int) -> None:
        """Begin after the validations that an earlier process made of this trial."""
        self._validations = count

    def is_behind(self, validation_loss: float) -> bool:
        """Take the next validation; return whether the trial is to be given up."""
        self._validations += 1
        if self._validations in self._study.trials[self._trial.number].intermediate_values:
            return False  # told before the process was killed, and after its last checkpoint
        self._trial.report(validation_loss, self._validations)
        return self._trial.should_prune()

    def give_up(self, *, has_diverged: bool = False) -> None:
        """End the trial without a result."""
        self._trial.set_user_attr("diverged", has_diverged)
        self._study.tell(self._trial, state=TrialState.PRUNED)

    def finish(self, validation_loss: float, nats: Sequence[tuple[float, int]]) -> None:
        """End the trial with its best validation loss, and nats and tokens of each validation example."""
        self._trial.set_user_attr("nats", [[round(loss, 5), tokens] for loss, tokens in nats])
        self._study.tell(self._trial, validation_loss)


class Study:
    """The trials made with the same inputs in the folder of a search."""

    def __init__(self, folder: Path, *, inputs: Mapping[str, object], most_epochs: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._folder = folder
        self._most_epochs = most_epochs
        self._seed = int(str(inputs["seed"]))
        name = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(_mended(folder / _JOURNAL)))),
            study_name=name,
            direction="minimize",
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=_FIRST_RUNG, reduction_factor=_HALVING),
            load_if_exists=True,
        )
        if not self._study.trials:
            default = TrainParams(dataset="default")
            epochs = min(round(default.epochs), most_epochs)
            self._study.enqueue_trial({"learning_rate": default.rate, "rank": default.rank, "epochs": epochs})

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return sum(trial.state.is_finished() for trial in self._counted())

    @property
    def seconds(self) -> float:
        """Time that trials have taken, in this process and those before."""
        return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in self._counted()))

    def is_complete(self, trials: int) -> bool:
        """Whether as many trials have ended as are wanted."""
        return self.done >= trials

    def best_loss(self) -> float | None:
        """Return the lowest validation loss of a finished trial."""
        losses = [trial.value for trial in self._counted() if trial.state is TrialState.COMPLETE]
        return min((loss for loss in losses if loss is not None), default=None)

    def ask(self) -> Chosen:
        """Return the trial that was interrupted, or else the next one."""
        # A sampler draws the same numbers again after a restart, so each trial has its own.
        self._study.sampler = optuna.samplers.TPESampler(
            seed=1000 * self._seed + self.done, n_startup_trials=_DRAWN_AT_RANDOM
        )
        interrupted = self._study.get_trials(states=(TrialState.RUNNING,))
        trial = optuna.Trial(self._study, interrupted[0]._trial_id) if interrupted else self._study.ask()
        return Chosen(self._study, trial, folder=self._folder, most_epochs=self._most_epochs)

    def lines(self) -> list[dict[str, object]]:
        """Return every trial as a line of the report, numbered from 1."""
        return [
            {
                "trial": number,
                "learning_rate": _rounded(trial.params["learning_rate"]),
                "rank": trial.params["rank"],
                "epochs": trial.params["epochs"],
                "validation_loss": _loss(trial),
                "steps": trial.user_attrs.get("steps", 0),
                "seconds": trial.user_attrs.get("seconds", 0.0),
                "state": "diverged" if trial.user_attrs.get("diverged") else _STATES[trial.state],
            }
            for number, trial in enumerate(self._counted(), start=1)
        ]

    def gain(self, number: int, *, over: int, comparisons: int) -> tuple[float, float, float] | None:
        """Return how much lower the loss of trial `number` is than that of `over`, and its interval.

        Both were measured on the same examples, so the noise is that of their differences. The
        best of several looks better than it is: the interval is widened for as many comparisons
        (Bonferroni). One example tells nothing of noise: None.
        """
        counted = self._counted()
        ours, theirs = (counted[each - 1].user_attrs["nats"] for each in (number, over))
        tokens = sum(count for _nats, count in ours)
        saved = [(before - after, count) for (after, count), (before, _count) in zip(ours, theirs, strict=True)]
        if len(saved) < 2:
            return None
        mean = math.fsum(difference for difference, _count in saved) / tokens
        residuals = math.fsum((difference - mean * count) ** 2 for difference, count in saved)
        deviation = math.sqrt(residuals * len(saved) / (len(saved) - 1)) / tokens
        share = (1 - _CONFIDENCE) / (2 * max(1, comparisons))
        margin = float(stats.t.ppf(1 - share, df=len(saved) - 1)) * deviation
        return mean, mean - margin, mean + margin

    def _counted(self) -> list[FrozenTrial]:
        """Return the trials that were begun."""
        return [trial for trial in self._study.get_trials(deepcopy=False) if len(trial.params) == _CHOICES]


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _loss(trial: FrozenTrial) -> float | None:
    """Return the best validation loss that a trial reached."""
    seen = list(trial.intermediate_values.values())
    found = trial.value if trial.value is not None else min(seen, default=None)
    return None if found is None else round(found, 5)


def _mended(path: Path) -> Path:
    """Return the journal, without the line that a killed process did not finish, and without its lock."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    return path
