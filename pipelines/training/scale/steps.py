"""What each step of TRL's trainer tells: kept in metrics.jsonl, and told to whoever watches."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.errors import TrainingError
from pipelines.training.progress import METRICS, MetricsFile, StepReport
from pipelines.training.rates import rate_share
from pipelines.training.scale.contract import RunConfig
from pipelines.training.scale.trainers import VALIDATION_LOSS
from pipelines.training.tracking.curves import measurements

# Besides those at validations, which may be hours apart; of several processes each would have
# another clock, and all of them have to save together.
_CHECKPOINT_S = 300.0


class StepLog(TrainerCallback):  # type: ignore[misc]
    """Reports every step once, as the other engine does, and stops a run whose loss is no number.

    Whoever watches stops the run by raising KeyboardInterrupt: the step is saved first.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        is_first: bool,
        memory_mb: Callable[[], int],
        watch: Callable[[StepReport], None],
    ) -> None:
        self._config = config
        self._is_first = is_first
        self._memory_mb = memory_mb
        self._watch = watch
        self._pending: StepReport | None = None
        self.first_step = 0
        self.tokens = 0.0
        self.seconds = 0.0
        self.validation_loss = math.nan
        self.is_stopped = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Forget what an earlier process logged after its last checkpoint, and remember what it measured before."""
        self._started = self._saved = time.monotonic()
        self._seconds_before = 0.0
        self._is_alone = args.world_size == 1
        self.first_step = state.global_step
        if not self._is_first:
            return
        self._config.output.mkdir(parents=True, exist_ok=True)
        self._metrics = MetricsFile(self._config.output)
        self._metrics.keep_until(state.global_step)
        for _step, values in measurements(self._config.output / METRICS):
            self._seconds_before = values["seconds"]
            self.validation_loss = values.get("validation_loss", self.validation_loss)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **_: object,
    ) -> None:
        """Take a step's loss; it is told at once, or with the validation loss that is about to follow.

        Raises:
            TrainingError: The loss is no number.
        """
        self.seconds = time.monotonic() - self._started
        if "loss" in logs:
            self.tokens = logs["num_tokens"]
            if not math.isfinite(logs["loss"]):
                raise TrainingError(
                    f"the loss became {logs['loss']} at step {state.global_step}",
                    hint="Train again with a smaller --learning-rate, or learning_rate in a configuration file.",
                )
            self._pending = self._report(state, logs)
            if not control.should_evaluate:
                self._tell(control)
        elif VALIDATION_LOSS in logs:
            self.validation_loss = logs[VALIDATION_LOSS]
            self._tell(control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Note when the last checkpoint was made."""
        self._saved = time.monotonic()

    def _report(self, state: TrainerState, logs: dict[str, float]) -> StepReport:
        step, steps = state.global_step, state.max_steps
        return StepReport(
            step=step,
            steps=steps,
            loss=logs["loss"],
            learning_rate=self._config.learning_rate * rate_share(step - 1, steps=steps),
            grad_norm=logs.get("grad_norm", 0.0),
            tokens=round(self.tokens),
            tokens_per_second=self.tokens / self.seconds,
            memory_mb=self._memory_mb(),
            seconds=self._seconds_before + self.seconds,
            seconds_left=self.seconds / (step - self.first_step) * (steps - step),
            validation_loss=None,
        )

    def _tell(self, control: TrainerControl) -> None:
        if self._pending is None or not self._is_first:
            return
        is_validated = control.should_evaluate  # still set while the validation is logged
        told = dataclasses.replace(self._pending, validation_loss=self.validation_loss if is_validated else None)
        self._pending = None
        self._metrics.append(told)
        try:
            self._watch(told)
        except KeyboardInterrupt:
            self.is_stopped = True
            control.should_save = control.should_training_stop = True
        if self._is_alone and time.monotonic() - self._saved > _CHECKPOINT_S:
            control.should_save = True
