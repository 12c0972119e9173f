"""What in the curves of a run a person should know, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.training.tracking.curves import Curve, Curves

_OVERFITTING = 2  # validations in a row that were worse than the one before
_FEWEST_VALIDATIONS = 3
_MEMORIZED = 0.25  # of the validation loss, below which the training loss is learning by heart
_LAST_POINTS = 10


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing."""

    level: Literal["bad", "look", "good"]
    text: str


def find(curves: Curves) -> list[Finding]:
    """Return what is worth knowing about a run, the worst first."""
    validation = curves.get("validation_loss")
    found = [*_of_training(curves.get("loss")), *_of_validation(validation), *_of_both(curves.get("loss"), validation)]
    if curves.unreadable:
        found.append(Finding("look", f"{curves.unreadable:,} lines of the metrics could not be read."))
    return sorted(found, key=lambda finding: ("bad", "look", "good").index(finding.level))


def _of_training(loss: Curve) -> Iterator[Finding]:
    if not loss.count:
        yield Finding("bad", "No step was logged.")
    elif loss.count > 1 and _recent(loss) >= loss.first:
        yield Finding("bad", "The training loss did not fall: try a smaller learning rate, or look at the examples.")


def _of_validation(validation: Curve) -> Iterator[Finding]:
    best = validation.lowest_step
    if not validation.count:
        yield Finding("look", "There was no validation yet, so nothing is known about other examples.")
        return
    if validation.rises >= _OVERFITTING:
        text = f"Validation loss rose {validation.rises} times in a row after step {_before(validation):,}"
        yield Finding("look", f"{text}: overfitting. The weights of step {best:,} are the ones that count.")
    if validation.count < _FEWEST_VALIDATIONS:
        yield Finding("look", f"Only {validation.count} validations: too few to see where the run was heading.")
    elif best == validation.last_step:
        yield Finding("look", "The last validation was the best: the run was still learning, so more epochs may help.")
    elif validation.lowest == validation.first:
        yield Finding("look", "No validation was better than the first: try a smaller learning rate.")
    else:
        yield Finding("good", f"Validation loss was lowest at step {best:,} and higher later: the run was long enough.")


def _of_both(loss: Curve, validation: Curve) -> Iterator[Finding]:
    if loss.count and validation.count and _recent(loss) < _MEMORIZED * validation.lowest:
        ends = f"The training loss ended at {_recent(loss):.3f}, the validation loss at best at {validation.lowest:.3f}"
        yield Finding("look", f"{ends}: the examples are being learnt by heart, and more varied ones would help.")


def _recent(loss: Curve) -> float:
    """Return the mean of the last points, because single steps scatter."""
    values = [value for _step, value in loss.points()[-_LAST_POINTS:]]
    half = values[len(values) // 2 :]  # of a short run, the end only
    return sum(half) / len(half)


def _before(validation: Curve) -> int:
    """Return the step after which the loss only rose."""
    steps = [step for step, _value in validation.points()]
    return steps[-1 - validation.rises] if validation.rises < len(steps) else validation.lowest_step
