"""What every objective offers the loop, and log-probabilities of answers, which most rest on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipelines.models.packing import Pack
from pipelines.training.student import Student


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What one pack is worth.

    Attributes:
        total: Summed over whatever the objective's `weight` counts; a scalar with a gradient.
        measures: What else there is to tell, summed over the same.
    """

    total: Tensor
    measures: Mapping[str, float] = field(default_factory=dict)


class Objective(ABC):
    """A loss over packs; the loop divides its sum by the weight of a whole step.

    Attributes:
        together: How many branches of a pack belong together; two for pairs.
    """

    together: int = 1

    def prepare(self, student: Student, packs: Iterable[Pack], *, folder: Path, key: str) -> None:  # noqa: B027 - most need nothing
        """Measure what has to be known before the first step, or take it from `folder` where `key` fits."""

    def begin_step(self, student: Student, packs: Sequence[Pack], *, step: int) -> Sequence[Pack]:
        """Return the packs that the step is really about; the same, unless answers are sampled first."""
        del student, step
        return packs

    def begin_validation(self, student: Student, packs: Sequence[Pack]) -> Sequence[Pack]:
        """Return the packs that a validation is about."""
        return self.begin_step(student, packs, step=0)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return what is trained besides the student's own parameters."""
        return []

    def save(self, folder: Path) -> None:  # noqa: B027 - most train nothing else
        """Write what is trained besides the student's own parameters."""

    @abstractmethod
    def weight(self, pack: Pack) -> float:
        """Return how many tokens, pairs or answers the pack's loss is a sum over."""

    @abstractmethod
    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss of a pack."""


class SupervisedObjective(Objective):
    """Cross-entropy of the answers' tokens; the mean is in nats per answer token."""

    def weight(self, pack: Pack) -> float:
        """Return how many tokens are supervised."""
        return sum(branch.end - branch.answer for branch in pack.branches)

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the summed cross-entropy."""
        logits, targets = student.supervised_logits(pack)
        return Losses(total=torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))


def answer_logprobs(student: Student, pack: Pack) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each branch's answer.

    Returns:
        Summed over the answer's tokens; float, (branches,). And the number of those tokens;
        float, (branches,).
    """
    logits, targets = student.supervised_logits(pack)
    each = -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    sizes = [branch.end - branch.answer for branch in pack.branches]
    return torch.stack([piece.sum() for piece in torch.split(each, sizes)]), torch.tensor(sizes, dtype=torch.float)
