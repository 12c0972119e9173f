"""Preference training on pairs of a better and a worse answer to the same prompt.

A pair stands in one pack: the prompt is computed once for both answers.

Source:
    DPO: Rafailov et al. 2023, equation 7, arXiv:2305.18290.
    ORPO: Hong et al. 2024, equations 4 to 7, arXiv:2403.07691.
    KTO: Ethayarajh et al. 2024, equation 8, arXiv:2402.01306.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pipelines.errors import TrainingError
from pipelines.models.packing import Pack, pack_groups
from pipelines.models.render import Rendered
from pipelines.training.objectives.objective import Losses, Objective, answer_logprobs
from pipelines.training.student import Student
from pipelines.workspace import replacing

_REFERENCE = "reference.pt"
BETA = 0.1  # how far the student may go from the reference; the usual value of DPO and KTO
ODDS_WEIGHT = 0.1  # of ORPO's odds ratio beside its cross-entropy


class _Referenced(Objective):
    """An objective that compares with the model before training, whose answers are measured once."""

    together = 2

    def __init__(self) -> None:
        self._reference: dict[int, float] = {}

    def prepare(self, student: Student, packs: Iterable[Pack], *, folder: Path, key: str) -> None:
        """Measure the log-probability of every answer before training; a resumed run reads it."""
        self._reference = _stored(folder / _REFERENCE, key) or {}
        if self._reference:
            return
        with torch.no_grad():
            for pack in packs:
                logprobs, _sizes = answer_logprobs(student, pack)
                for branch, logprob in zip(pack.branches, logprobs.tolist(), strict=True):
                    self._reference[branch.index] = logprob
        try:
            with replacing(folder / _REFERENCE, "wb") as file:
                torch.save({"key": key, "logprobs": self._reference}, file)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"the reference cannot be written to {folder}: {error}",
                hint="Free some disk space and run the same command again.",
            ) from error

    def _ratios(self, student: Student, pack: Pack) -> Tensor:
        """Return how much likelier each answer has become, as logarithms; float, (branches,)."""
        logprobs, _sizes = answer_logprobs(student, pack)
        return logprobs - torch.tensor([self._reference[branch.index] for branch in pack.branches])


class DirectPreference(_Referenced):
    """DPO: the better answer shall gain more than the worse one."""

    def weight(self, pack: Pack) -> float:
        """Return the number of pairs."""
        return len(pack.branches) / 2

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss summed over the pairs."""
        better, worse = self._ratios(student, pack).view(-1, 2).unbind(1)
        margin = BETA * (better - worse)
        return Losses(total=-logsigmoid(margin).sum(), measures=_margins(margin))


class OddsRatioPreference(Objective):
    """ORPO: cross-entropy of the better answer, and its odds against the worse one; needs no reference."""

    together = 2

    def weight(self, pack: Pack) -> float:
        """Return the number of pairs."""
        return len(pack.branches) / 2

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss summed over the pairs."""
        logprobs, sizes = answer_logprobs(student, pack)
        better, worse = (logprobs / sizes).view(-1, 2).unbind(1)  # mean of a token, as the odds need
        odds = (better - worse) - (_log_one_minus_exp(better) - _log_one_minus_exp(worse))
        return Losses(total=(-better - ODDS_WEIGHT * logsigmoid(odds)).sum(), measures=_margins(odds))


class ProspectPreference(_Referenced):
    """KTO: good answers above and bad ones below where the student stands on the whole.

    Where it stands is told from answers to other prompts: those of the same step, or of the
    next pair where a step has only one.
    """

    def __init__(self, examples: Sequence[Rendered]) -> None:
        super().__init__()
        self._examples = examples
        self._standing = 0.0

    def begin_step(self, student: Student, packs: Sequence[Pack], *, step: int) -> Sequence[Pack]:
        """Measure how far the student is from the reference on answers that do not belong."""
        del step
        indices = [branch.index for pack in packs for branch in pack.branches if branch.index % 2 == 0]
        others = indices[1:] + indices[:1] if len(indices) > 1 else [(indices[0] + 2) % len(self._examples)]
        swapped = [
            [Rendered(prompt=self._examples[one].prompt, answer=self._examples[other].answer)]
            for one, other in zip(indices, others, strict=True)
        ]
        mismatched = pack_groups(swapped, max_tokens=max(len(pack.tokens) for pack in packs))
        with torch.no_grad():
            now = torch.cat([answer_logprobs(student, pack)[0] for pack in mismatched])
        with student.as_reference():
            before = torch.cat([answer_logprobs(student, pack)[0] for pack in mismatched])
        self._standing = max(0.0, float((now - before).mean()))
        return packs

    def weight(self, pack: Pack) -> float:
        """Return the number of answers."""
        return len(pack.branches)

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss summed over the answers, good and bad ones with equal weight."""
        better, worse = (self._ratios(student, pack) - self._standing).view(-1, 2).unbind(1)
        values = torch.sigmoid(BETA * better) + torch.sigmoid(-BETA * worse)
        return Losses(total=(2 - values).sum(), measures=_margins(BETA * (better - worse), times=2))


def _margins(margin: Tensor, *, times: int = 1) -> dict[str, float]:
    return {"accuracy": float((margin > 0).sum()) * times, "margin": float(margin.detach().sum()) * times}


def _log_one_minus_exp(logprobs: Tensor) -> Tensor:
    return torch.log1p(-torch.exp(logprobs).clamp(max=1 - 1e-6))


def _stored(path: Path, key: str) -> dict[int, float] | None:
    if not path.is_file():
        return None
    stored = torch.load(path, weights_only=True)
    return stored["logprobs"] if stored.get("key") == key else None
