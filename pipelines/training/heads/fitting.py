"""The training of a head: whole epochs, the best weights by F1 on the validation split.

As in the loop for adapters, the model computes in the number type that is fast here while
float32 masters take the optimizer's steps, and a killed run goes on from its checkpoint.
"""

from __future__ import annotations

import json
import math
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.errors import TrainingError
from pipelines.training.checkpoint import RunState, check_space, load_checkpoint, remove_checkpoints, save_checkpoint
from pipelines.training.heads.encoding import Item
from pipelines.training.heads.model import Head, save_head
from pipelines.training.progress import METRICS, MetricsFile

_CLIP = 1.0
_WARMUP = 0.1
_WEIGHT_DECAY = 0.01
_CHECKPOINT_SECONDS = 30.0
# Of two equal F1 the one with the smaller loss is better; a loss never outweighs an F1.
_LOSS_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What the validation split says of the weights."""

    f1: float
    loss: float  # nats per text or word

    @property
    def badness(self) -> float:
        """What is made as small as possible."""
        return 1 - self.f1 + _LOSS_SHARE * min(self.loss, 10.0)


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How long, how fast, and in what portions to train."""

    epochs: int
    learning_rate: float
    batch_size: int
    patience: int  # epochs without improvement before stopping
    seed: int
    class_weights: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FitStep:
    """What a step tells whoever watches."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    validation: Validation | None


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a finished run came to; the head holds its best weights."""

    steps: int
    best_step: int
    validation_f1: float
    resumed_from_step: int
    seconds: float
    peak_memory_mb: int


class Fitting:
    """One training run, with its checkpoint in `folder`."""

    def __init__(
        self,
        head: Head,
        items: Sequence[Item],
        *,
        validate: Callable[[], Validation],
        plan: FitPlan,
        folder: Path,
        key: str,
        notice: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._head = head
        self._items = items
        self._validate = validate
        self._plan = plan
        self._folder = folder
        self._parameters = head.trained_parameters()
        check_space(folder, parameters=sum(each.numel() for each in self._parameters.values()))
        self._masters = [each.detach().float().clone() for each in self._parameters.values()]
        self._optimizer = torch.optim.AdamW(self._masters, lr=plan.learning_rate, weight_decay=_WEIGHT_DECAY)
        self._weights = torch.tensor(plan.class_weights) if plan.class_weights else None
        self._steps_per_epoch = math.ceil(len(items) / plan.batch_size)
        self._steps = plan.epochs * self._steps_per_epoch
        self._state = self._restore(key, notice)
        MetricsFile(folder).keep_until(self._state.step)

    @property
    def resumed_from_step(self) -> int:
        """Step that an earlier process had reached; 0 for a fresh run."""
        return self._resumed

    def fit(self, report: Callable[[FitStep], None]) -> Fitted:
        """Train to the end or until F1 no longer improves, and keep the best weights.

        Raises:
            TrainingError: The loss is no longer a number, or a checkpoint cannot be written.
        """
        state = self._state
        started, seconds_before, saved = time.monotonic(), state.seconds, time.monotonic()
        try:
            for batch in self._remaining_batches():
                if state.worse_in_a_row >= self._plan.patience:
                    break
                loss = self._step(batch)
                state.step += 1
                validation = self._evaluate() if state.step % self._steps_per_epoch == 0 else None
                state.seconds = seconds_before + time.monotonic() - started
                self._log(loss, validation)
                left = state.seconds / state.step * (self._steps - state.step)
                report(FitStep(step=state.step, steps=self._steps, loss=loss, seconds_left=left, validation=validation))
                if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self._save()
            raise
        self._load(state.best_weights)
        return Fitted(
            steps=state.step,
            best_step=state.best_step,
            validation_f1=round(self._validate().f1, 4),
            resumed_from_step=self._resumed,
            seconds=state.seconds,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        )

    def save(self) -> None:
        """Write the best weights beside the metrics; the checkpoint is then done with."""
        save_head(self._head, dict(zip(self._parameters, self._state.best_weights, strict=True)), self._folder)
        remove_checkpoints(self._folder)

    def _step(self, batch: Sequence[Item]) -> float:
        """Take one step of the optimizer; return the mean loss in nats."""
        self._head.train()
        torch.manual_seed(self._plan.seed * 1_000_003 + self._state.step)  # dropout, the same after a resumption
        targets = torch.tensor([target for item in batch for target in item.targets])
        loss = torch.nn.functional.cross_entropy(self._head(batch), targets, weight=self._weights)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"the loss became {loss.item()} at step {self._state.step + 1}",
                hint="Train again with a smaller --learning-rate.",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter, master in zip(self._parameters.values(), self._masters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self._masters, _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.learning_rate * self._rate(self._state.step)
        self._optimizer.step()
        self._load(self._masters)
        return loss.item()

    def _rate(self, step: int) -> float:
        """Return the share of the learning rate at a step: warm-up, then linearly to nothing."""
        return min((step + 1) / (_WARMUP * self._steps + 1), 1 - step / self._steps)

    def _evaluate(self) -> Validation:
        """Measure F1 on the validation split and keep the weights if it is the best so far."""
        state = self._state
        validation = self._validate()
        if validation.badness < state.best_loss:
            state.best_loss, state.best_step, state.worse_in_a_row = validation.badness, state.step, 0
            state.best_weights = [master.clone() for master in self._masters]
        else:
            state.worse_in_a_row += 1
        return validation

    @torch.no_grad()
    def _load(self, weights: Sequence[torch.Tensor]) -> None:
        for parameter, weight in zip(self._parameters.values(), weights, strict=True):
            parameter.copy_(weight)

    def _batches(self, epoch: int) -> list[list[Item]]:
        """Return the steps of an epoch: items of like length together, in another order each time."""
        rng = random.Random(f"{self._plan.seed}:{epoch}")
        lengths = [len(item.tokens) for item in self._items]
        jitter = 1 + (max(lengths) - min(lengths)) / 8  # tokens by which chance may part two of one length
        keys = [length + rng.random() * jitter for length in lengths]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        size = self._plan.batch_size
        batches = [[self._items[number] for number in order[at : at + size]] for at in range(0, len(order), size)]
        rng.shuffle(batches)
        return batches

    def _remaining_batches(self) -> Iterator[list[Item]]:
        first_epoch, done = divmod(self._state.step, self._steps_per_epoch)
        for epoch in range(first_epoch, self._plan.epochs):
            yield from self._batches(epoch)[done:]
            done = 0

    def _restore(self, key: str, notice: Callable[[str], None]) -> RunState:
        state = load_checkpoint(self._folder, key=key, notice=notice) or RunState(key=key)
        self._resumed = state.step
        if state.step:
            with torch.no_grad():
                for master, weight in zip(self._masters, state.weights, strict=True):
                    master.copy_(weight)
            self._optimizer.load_state_dict(state.optimizer)
            self._load(self._masters)
        return state

    def _save(self) -> None:
        self._state.weights = self._masters
        self._state.optimizer = self._optimizer.state_dict()
        save_checkpoint(self._folder, self._state)

    def _log(self, loss: float, validation: Validation | None) -> None:
        entry = {"step": self._state.step, "loss": round(loss, 5), "seconds": round(self._state.seconds, 1)}
        if validation is not None:
            entry |= {"validation_loss": round(validation.loss, 5), "validation_f1": round(validation.f1, 5)}
        with (self._folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
