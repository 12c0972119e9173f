"""The training loop: economical on a CPU, the same for every objective and method.

What makes it quick: examples that share passages are packed around them (`packing`), the
head is applied to supervised positions only, attention avoids what is slow on a CPU
(`attention`), and the adapter computes in the fast number type while float32 masters take
the optimizer's steps.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from pipelines.errors import TrainingError
from pipelines.models.packing import Pack, fill_pack, join_packs, split_pack
from pipelines.training.checkpoint import RunState, load_checkpoint, remove_checkpoints, save_checkpoint
from pipelines.training.objectives.objective import Objective, SupervisedObjective
from pipelines.training.progress import MetricsFile, Outcome, Schedule, StepReport, Validation, peak_memory_mb
from pipelines.training.rates import BETAS, CLIP, rate_share
from pipelines.training.student import Student

# Longer sequences gain no speed on a CPU, and cost memory.
JOINED_TOKENS = 2_048
# Sequences of few different lengths: memory is reused, and oneDNN keeps fewer compiled products.
_LENGTH_MULTIPLE = 128
# Saving takes a fiftieth of the time at most, and no process loses more than a few steps.
_SAVING_SHARE = 0.02
_LEAST_BETWEEN_S = 2.0
# A loss so many times the usual one, for so many steps on end, does not come back.
_SPIKE, _SPIKE_STEPS, _USUAL_STEPS = 4.0, 3, 20


class Run:
    """One training run, with its checkpoints in `folder`."""

    def __init__(
        self,
        student: Student,
        *,
        train: Sequence[Pack],
        validation: Sequence[Pack],
        schedule: Schedule,
        folder: Path,
        key: str,
        objective: Objective | None = None,
        notice: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._student = student
        self._objective = objective or SupervisedObjective()
        self._train = train
        self._validation = validation
        self._schedule = schedule
        self._folder = folder
        self._objective.prepare(student, [*train, *validation], folder=folder, key=key)
        self._parameters = [*student.parameters(), *self._objective.parameters()]
        self._masters = [each.detach().float().clone() for each in self._parameters]
        self._optimizer = torch.optim.AdamW(self._masters, lr=schedule.learning_rate, betas=BETAS, weight_decay=0.0)
        self._batches_per_epoch = len(list(self._batches(0)))
        self._steps = max(1, round(schedule.epochs * self._batches_per_epoch))
        self._evaluate_every = max(1, self._batches_per_epoch // schedule.evaluations_per_epoch)
        self._recent: list[float] = []
        self._state = self._restore(key, notice)
        self._allocate()
        self._metrics = MetricsFile(folder)
        self._metrics.keep_until(self._state.step)
        self._saved, self._saving_s = time.monotonic(), 0.0

    @property
    def resumed_from_step(self) -> int:
        """Step that an earlier process had reached; 0 for a fresh run."""
        return self._resumed

    @property
    def steps(self) -> int:
        """Steps of the whole run, if nothing ends it earlier."""
        return self._steps

    def train(self, report: Callable[[StepReport], None]) -> Outcome:
        """Train to the end or until validation no longer improves, and keep the best weights.

        Raises:
            TrainingError: The loss is no longer a number or leaps away, or a checkpoint cannot
                be written.
        """
        state = self._state
        started, seconds_before = time.monotonic(), state.seconds
        try:
            for batch in self.all_batches()[state.step :]:
                if state.worse_in_a_row >= self._schedule.patience:
                    break
                loss, norm = self._step(batch)
                state.step += 1
                is_due = state.step % self._evaluate_every == 0 or state.step == self._steps
                validation = self._evaluate() if is_due else None
                state.seconds = seconds_before + time.monotonic() - started
                told = self._step_report(loss, norm, validation)
                self._metrics.append(told)
                report(told)
                self._check_spike(loss)
                if time.monotonic() - self._saved > max(_LEAST_BETWEEN_S, self._saving_s / _SAVING_SHARE):
                    self._save()
        except KeyboardInterrupt:
            self._save()
            raise
        self._load(state.best_weights)
        return self._outcome()

    def save_adapter(self) -> None:
        """Write the adapter with its best weights, in float32; the checkpoints are then done with.

        Raises:
            TrainingError: It cannot be written; the checkpoints stay.
        """
        for parameter, weight in zip(self._parameters, self._state.best_weights, strict=True):
            parameter.data = weight
        self._student.save(self._folder)
        self._objective.save(self._folder)
        remove_checkpoints(self._folder)

    def all_batches(self) -> list[list[Pack]]:
        """Return what the steps of the run compute, those that are done included; epochs differ in how packs meet."""
        batches = (batch for epoch in itertools.count() for batch in self._batches(epoch))
        return list(itertools.islice(batches, self._steps))

    def largest_part(self, packs: Sequence[Pack]) -> int:
        """Return how many tokens of a step are computed at once, at most: what its memory depends on."""
        return max(len(part.tokens) for part in self._parts(packs))

    def time_step(self, packs: Sequence[Pack]) -> tuple[float, float]:
        """Take a real step, and return how many seconds its packs and its update took."""
        started = time.perf_counter()
        loss = self._backward(packs)
        computed = time.perf_counter()
        self._update(loss)
        return computed - started, time.perf_counter() - computed

    def _step(self, batch: Sequence[Pack]) -> tuple[float, float]:
        """Take one step of the optimizer; return its mean loss, and the norm of its gradient."""
        loss = self._backward(batch)
        return loss, self._update(loss)

    def _backward(self, batch: Sequence[Pack]) -> float:
        """Compute the gradient of a step; return its mean loss.

        Packs are joined up to a length, and computed one joined sequence after the other: nothing
        is padded, and memory is that of the largest.
        """
        packs = self._objective.begin_step(self._student, batch, step=self._state.step)
        self._student.model.train()
        weight = sum(self._objective.weight(pack) for pack in packs)
        total = 0.0
        for part in self._parts(packs):
            loss = self._objective.loss(self._student, part).total / weight
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._state.tokens += sum(len(pack.tokens) for pack in packs)
        extra = self._student.extra_loss()
        if extra is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        return total

    def _update(self, loss: float) -> float:
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            _grad(master).copy_(_grad(parameter))
        norm = float(torch.nn.utils.clip_grad_norm_(self._masters, CLIP))
        if not math.isfinite(loss + norm):
            raise TrainingError(
                f"the loss became {loss} and its gradient {norm} at step {self._state.step + 1}",
                hint="Train again with a smaller --learning-rate.",
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self._state.step)
        self._optimizer.step()
        self._load(self._masters)
        if self._student.after_step(self._state.step):
            for parameter, master in zip(self._parameters, self._masters, strict=True):
                master.data.copy_(parameter.data)
        for parameter in self._parameters:
            _grad(parameter).zero_()
        return norm

    def _rate(self, step: int) -> float:
        """Return the learning rate at a step: warm-up, then a cosine."""
        return self._schedule.learning_rate * rate_share(step, steps=self._steps)

    def _check_spike(self, loss: float) -> None:
        """Stop where the loss has leapt away, which costs hours unattended.

        Raises:
            TrainingError: It has.
        """
        self._recent = [*self._recent, loss][-_USUAL_STEPS - _SPIKE_STEPS :]
        before, latest = self._recent[:-_SPIKE_STEPS], self._recent[-_SPIKE_STEPS:]
        if len(before) < _USUAL_STEPS:
            return
        usual = statistics.median(before)
        if min(latest) > max(_SPIKE * abs(usual), usual + 1.0):
            self._save()
            raise TrainingError(
                f"the loss leapt from about {usual:.3g} to {loss:.3g} at step {self._state.step}",
                hint="Train again with a smaller --learning-rate.",
            )

    def _evaluate(self) -> Validation:
        """Measure validation loss and keep the weights if it is the best so far."""
        state = self._state
        validation = self.validate()
        if validation.loss < state.best_loss:
            state.best_loss, state.best_step, state.worse_in_a_row = validation.loss, state.step, 0
            for best, master in zip(state.best_weights, self._masters, strict=True):
                best.copy_(master)
        else:
            state.worse_in_a_row += 1
        return validation

    @torch.no_grad()
    def validate(self, packs: Sequence[Pack] | None = None) -> Validation:
        """Return the mean loss on the validation split, or on some packs of it, in the objective's units."""
        packs = self._objective.begin_validation(self._student, packs or self._validation)
        self._student.model.eval()
        total = weight = 0.0
        measures: Counter[str] = Counter()
        for part in self._parts(packs):
            losses = self._objective.loss(self._student, part)
            total += losses.total.item()
            weight += self._objective.weight(part)
            measures.update(losses.measures)
        return Validation(loss=total / weight, measures={name: value / weight for name, value in measures.items()})

    def validation_loss(self) -> float:
        """Return the mean loss on the validation split."""
        return self.validate().loss

    def _parts(self, packs: Sequence[Pack]) -> Iterator[Pack]:
        """Yield what is computed at once: short packs joined, long ones in parts where memory is short."""
        limit = self._schedule.micro_tokens
        joined: list[Pack] = []
        for pack in packs:
            size = sum(len(each.tokens) for each in joined) + len(pack.tokens)
            if joined and (self._student.is_prompt or size > (limit or JOINED_TOKENS)):
                yield self._joined(joined)
                joined = []
            if limit is not None and len(pack.tokens) > limit:
                yield from split_pack(pack, max_tokens=limit, together=self._objective.together)
            else:
                joined.append(pack)
        if joined:
            yield self._joined(joined)

    def _joined(self, packs: Sequence[Pack]) -> Pack:
        whole = join_packs(packs)
        return whole if self._student.is_prompt else fill_pack(whole, multiple=_LENGTH_MULTIPLE)

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
            if sum(len(each.branches) for each in batch) >= self._schedule.batch_size * self._objective.together:
                yield batch
                batch = []
        if batch:
            yield batch

    def _restore(self, key: str, notice: Callable[[str], None]) -> RunState:
        state = load_checkpoint(self._folder, key=key, notice=notice) or RunState(key=key)
        self._resumed = state.step
        if state.step:
            with torch.no_grad():
                for master, weight in zip(self._masters, state.weights, strict=True):
                    master.copy_(weight)
            self._optimizer.load_state_dict(state.optimizer)
            self._student.restore(state.method)
            self._load(self._masters)
        return state

    def _allocate(self) -> None:
        """Take the memory of all that lasts, once and before the first activations."""
        self._state.best_weights = self._state.best_weights or [master.clone() for master in self._masters]
        for parameter, master in zip(self._parameters, self._masters, strict=True):
            parameter.grad, master.grad = torch.zeros_like(parameter), torch.zeros_like(master)
            if not self._optimizer.state[master]:
                moments = {name: torch.zeros_like(master) for name in ("exp_avg", "exp_avg_sq")}
                self._optimizer.state[master] = {"step": torch.tensor(0.0), **moments}

    def _save(self) -> None:
        self._state.weights = self._masters
        self._state.optimizer = self._optimizer.state_dict()
        self._state.method = self._student.state()
        started = time.monotonic()
        save_checkpoint(self._folder, self._state)
        self._saved = time.monotonic()
        self._saving_s = self._saved - started

    def _step_report(self, loss: float, norm: float, validation: Validation | None) -> StepReport:
        state = self._state
        return StepReport(
            step=state.step,
            steps=self._steps,
            loss=loss,
            learning_rate=self._rate(state.step - 1),
            grad_norm=norm,
            tokens=state.tokens,
            tokens_per_second=state.tokens / state.seconds,
            memory_mb=peak_memory_mb(),
            seconds=state.seconds,
            seconds_left=state.seconds / state.step * (self._steps - state.step),
            validation_loss=validation.loss if validation else None,
            measures=validation.measures if validation else {},
        )

    def _outcome(self) -> Outcome:
        state = self._state
        return Outcome(
            steps=state.step,
            tokens_per_second=state.tokens / state.seconds if state.seconds else 0.0,
            peak_memory_mb=peak_memory_mb(),
            best_validation_loss=state.best_loss,
            best_step=state.best_step,
            resumed_from_step=self._resumed,
            seconds=state.seconds,
        )


def _grad(tensor: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a tensor for which it was allocated."""
    assert tensor.grad is not None
    return tensor.grad
