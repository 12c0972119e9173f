"""The training loop: supervised on the answers' tokens only, economical on a CPU.

What makes it quick: examples that share passages are packed around them (`packing`), the
head is applied to supervised positions only, attention avoids what is slow on a CPU
(`attention`), and the adapter computes in the fast number type while float32 masters take
the optimizer's steps.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError

from pipelines.errors import TrainingError
from pipelines.models.packing import Pack, answer_losses, collate, supervised_logits
from pipelines.training.checkpoint import RunState, load_checkpoint, remove_checkpoint, save_checkpoint

METRICS = "metrics.jsonl"
_CLIP = 1.0
_WARMUP = 0.06
_LOWEST_RATE = 0.05
_BETAS = (0.9, 0.95)
_CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, how fast, and in what portions to train."""

    epochs: float
    learning_rate: float
    batch_size: int  # examples per step, at least; whole packs
    evaluations_per_epoch: int
    patience: int  # evaluations without a better loss before stopping
    seed: int


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step tells whoever watches."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    validation_loss: float | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run came to; the model holds its best weights."""

    steps: int
    tokens_per_second: float
    peak_memory_mb: int
    best_validation_loss: float
    best_step: int
    resumed_from_step: int
    seconds: float


class Run:
    """One training run, with its checkpoint in `folder`."""

    def __init__(
        self,
        model: PeftModel,
        *,
        train: Sequence[Pack],
        validation: Sequence[Pack],
        schedule: Schedule,
        folder: Path,
        key: str,
    ) -> None:
        self._model = model
        self._base = model.get_base_model()
        self._train = train
        self._validation = validation
        self._schedule = schedule
        self._folder = folder
        self._parameters = [each for each in model.parameters() if each.requires_grad]
        self._masters = [each.detach().float().clone() for each in self._parameters]
        self._optimizer = torch.optim.AdamW(self._masters, lr=schedule.learning_rate, betas=_BETAS, weight_decay=0.0)
        self._batches_per_epoch = len(list(self._batches(0)))
        self._steps = max(1, round(schedule.epochs * self._batches_per_epoch))
        self._evaluate_every = max(1, self._batches_per_epoch // schedule.evaluations_per_epoch)
        self._state = self._restore(key)
        self._drop_later_metrics()
        self._saved = time.monotonic()

    @property
    def resumed_from_step(self) -> int:
        """Step that an earlier process had reached; 0 for a fresh run."""
        return self._resumed

    def train(self, report: Callable[[StepReport], None]) -> Outcome:
        """Train to the end or until validation no longer improves, and keep the best weights.

        Raises:
            TrainingError: The loss is no longer a number, or a checkpoint cannot be written.
        """
        state = self._state
        started, seconds_before = time.monotonic(), state.seconds
        try:
            for batch in self._remaining_batches():
                if state.worse_in_a_row >= self._schedule.patience:
                    break
                loss = self._step(batch)
                state.step += 1
                state.tokens += sum(len(pack.tokens) for pack in batch)
                is_due = state.step % self._evaluate_every == 0 or state.step == self._steps
                validation_loss = self._evaluate() if is_due else None
                state.seconds = seconds_before + time.monotonic() - started
                self._log(loss, validation_loss)
                report(self._step_report(loss, validation_loss))
                if time.monotonic() - self._saved > _CHECKPOINT_SECONDS:
                    self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        self._load(state.best_weights)
        return self._outcome()

    def save_adapter(self) -> None:
        """Write the adapter, in float32, beside the metrics; the checkpoint is then done with.

        Raises:
            TrainingError: It cannot be written; the checkpoint stays.
        """
        for parameter, weight in zip(self._parameters, self._state.best_weights, strict=True):
            parameter.data = weight
        try:
            self._model.save_pretrained(str(self._folder))
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the adapter cannot be written to {self._folder}: {error}",
                hint="Free some disk space and run the same command again.",
            ) from error
        (self._folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
        remove_checkpoint(self._folder)

    def _step(self, batch: Sequence[Pack]) -> float:
        """Take one step of the optimizer; return the loss in nats per answer token.

        Packs are computed one after the other: on a CPU nothing is won by padding them to one
        length, and memory is that of the largest pack.
        """
        self._model.train()
        supervised = sum(branch.end - branch.answer for pack in batch for branch in pack.branches)
        total = 0.0
        for pack in batch:
            tensors = collate([pack], dtype=self._base.dtype)
            logits = supervised_logits(self._base, tensors)
            loss = torch.nn.functional.cross_entropy(logits.float(), tensors.targets, reduction="sum") / supervised
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss became {total} at step {self._state.step + 1}",
                hint="Train again with a smaller --learning-rate.",
            )
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self._masters, _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate * self._rate(self._state.step)
        self._optimizer.step()
        self._load(self._masters)
        return total

    def _rate(self, step: int) -> float:
        """Return the share of the learning rate at a step: warm-up, then a cosine."""
        warmup = min(1.0, (step + 1) / (_WARMUP * self._steps + 1))
        return warmup * max(_LOWEST_RATE, 0.5 * (1 + math.cos(math.pi * step / self._steps)))

    def _evaluate(self) -> float:
        """Measure validation loss and keep the weights if it is the best so far."""
        state = self._state
        loss = self.validation_loss()
        if loss < state.best_loss:
            state.best_loss, state.best_step, state.worse_in_a_row = loss, state.step, 0
            state.best_weights = [master.clone() for master in self._masters]
        else:
            state.worse_in_a_row += 1
        return loss

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the mean loss on the validation split, in nats per answer token."""
        self._model.eval()
        nats = tokens = 0.0
        for pack in self._validation:
            for _index, pack_nats, pack_tokens in answer_losses(self._base, pack):
                nats += pack_nats
                tokens += pack_tokens
        return nats / tokens

    @torch.no_grad()
    def _load(self, weights: Sequence[torch.Tensor]) -> None:
        for parameter, weight in zip(self._parameters, weights, strict=True):
            parameter.copy_(weight)

    def _batches(self, epoch: int) -> Iterator[list[Pack]]:
        """Yield the steps of an epoch: whole packs, shuffled, with enough examples each."""
        order = list(self._train)
        random.Random(f"{self._schedule.seed}:{epoch}").shuffle(order)
        batch: list[Pack] = []
        for pack in order:
            batch.append(pack)
            if sum(len(each.branches) for each in batch) >= self._schedule.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _remaining_batches(self) -> Iterator[list[Pack]]:
        step = 0
        for epoch in itertools.count():
            for batch in self._batches(epoch):
                if step >= self._steps:
                    return
                if step >= self._state.step:
                    yield batch
                step += 1

    def _restore(self, key: str) -> RunState:
        state = load_checkpoint(self._folder, key=key) or RunState(key=key)
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
        self._saved = time.monotonic()

    def _step_report(self, loss: float, validation_loss: float | None) -> StepReport:
        state = self._state
        return StepReport(
            step=state.step,
            steps=self._steps,
            loss=loss,
            tokens_per_second=state.tokens / state.seconds,
            seconds_left=state.seconds / state.step * (self._steps - state.step),
            validation_loss=validation_loss,
        )

    def _log(self, loss: float, validation_loss: float | None) -> None:
        entry = {"step": self._state.step, "loss": round(loss, 5), "seconds": round(self._state.seconds, 1)}
        if validation_loss is not None:
            entry["validation_loss"] = round(validation_loss, 5)
        with (self._folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _drop_later_metrics(self) -> None:
        """Forget what an earlier process logged after its last checkpoint."""
        path = self._folder / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if self._state.step and json.loads(line)["step"] <= self._state.step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _outcome(self) -> Outcome:
        state = self._state
        return Outcome(
            steps=state.step,
            tokens_per_second=state.tokens / state.seconds if state.seconds else 0.0,
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            best_validation_loss=state.best_loss,
            best_step=state.best_step,
            resumed_from_step=self._resumed,
            seconds=state.seconds,
        )
