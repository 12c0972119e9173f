"""A run of `train start` by the second engine: its data as rows, its steps and its end as the loop's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.models.adapter import CONFIG_FILE, FULL, WEIGHTS_FILE
from pipelines.models.render import Rendered
from pipelines.operation import Context
from pipelines.training.checkpoint import remove_checkpoints
from pipelines.training.params import TrainParams
from pipelines.training.prepare import EVALUATIONS_PER_EPOCH, Prepared
from pipelines.training.progress import MetricsFile, Outcome, StepReport
from pipelines.training.scale import launch, trl_engine
from pipelines.training.scale.contract import PreferenceRow, RunConfig, SupervisedRow, write_rows
from pipelines.training.scale.engine import WORK

_WHOLE_MODEL = "model.safetensors"


class ScaleRun:
    """One run by TRL, at work in a folder of its own inside the adapter's."""

    def __init__(self, config: RunConfig, *, folder: Path) -> None:
        self._config = config
        self._folder = folder
        last = trl_engine.last_checkpoint(trl_engine.checkpoints(config))
        self._resumed = int(last.name.partition("-")[2]) if last else 0
        self._metrics = MetricsFile(folder)
        self._metrics.keep_until(self._resumed)

    @property
    def resumed_from_step(self) -> int:
        """Step that an earlier process had saved; 0 for a fresh run."""
        return self._resumed

    def train(self, report: Callable[[StepReport], None]) -> Outcome:
        """Train to the end or until validation no longer improves; `report` stops it by KeyboardInterrupt.

        Raises:
            SettingsError: The model is not usable, or several GPUs are visible.
            TrainingError: The loss is no longer a number, or a file cannot be written.
        """

        def watch(step: StepReport) -> None:
            self._metrics.append(step)
            report(step)

        result = launch.run(self._config, watch=watch)
        return Outcome(
            steps=result.steps,
            tokens_per_second=result.tokens_per_second,
            peak_memory_mb=result.peak_memory_mb,
            best_validation_loss=result.best_validation_loss,
            best_step=result.best_step,
            resumed_from_step=result.resumed_from_step,
            seconds=result.seconds,
        )

    def save_adapter(self) -> None:
        """Put the weights where the loop would have written them; the folder of the work is done with."""
        work = self._config.output
        if self._config.method == "full":
            (self._folder / CONFIG_FILE).write_text(json.dumps({"peft_type": FULL}) + "\n", encoding="utf-8")
            (work / _WHOLE_MODEL).replace(self._folder / WEIGHTS_FILE)
        else:
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                (work / name).replace(self._folder / name)
        shutil.rmtree(work)
        remove_checkpoints(self._folder)  # of the other engine, should it have begun the same adapter


def prepare_scale_run(
    params: TrainParams, context: Context, prepared: Prepared, *, folder: Path, micro_tokens: int | None
) -> tuple[ScaleRun, int]:
    """Write the rows of a run; return it, and how many tokens it computes at once at most.

    Args:
        params: What to train on, and how.
        context: Where it is.
        prepared: Its data.
        folder: The adapter's folder.
        micro_tokens: Most tokens to compute at once, for want of memory.
    """
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    groups = prepared.groups
    write_rows(work / "train.jsonl", map(_row, groups[: prepared.examples]))
    write_rows(work / "validation.jsonl", map(_row, groups[prepared.examples :]))
    # An example's tokens at once: of both answers, where there is a pair.
    longest = max(sum(len(each.prompt) + len(each.answer) for each in group) for group in groups)
    usual = int(RunConfig.model_fields["micro_batch_size"].default)
    micro = usual if micro_tokens is None else max(1, min(usual, micro_tokens // longest))
    config = RunConfig(
        base=context.models.base_folder(params.base).resolve(),
        train=work / "train.jsonl",
        validation=work / "validation.jsonl",
        output=work,
        objective=params.objective,  # choose_engine has checked it and the method
        method=params.method,
        rank=params.rank,
        learning_rate=params.rate,
        epochs=params.epochs,
        batch_size=params.batch_size,
        micro_batch_size=micro,
        max_length=max(longest, 8),  # what was too long is left out already
        evaluations_per_epoch=EVALUATIONS_PER_EPOCH,
        patience=params.patience,
        seed=context.seed,
        threads=context.settings.threads,
    )
    return ScaleRun(config, folder=folder), micro * longest


def _row(group: Sequence[Rendered]) -> SupervisedRow | PreferenceRow:
    """Return an answer, or a pair of answers, as the contract has it."""
    prompt, answer = list(group[0].prompt), list(group[0].answer)
    if len(group) == 1:
        return SupervisedRow(prompt=prompt, answer=answer)
    return PreferenceRow(prompt=prompt, chosen=answer, rejected=list(group[1].answer))
