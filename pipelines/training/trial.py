"""One trial of a search: a run over a base model that stays loaded, with an adapter of its own."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipelines.errors import TrainingError
from pipelines.models.packing import split_losses
from pipelines.operation import Context
from pipelines.training import checkpoint, fused, loop, quantize
from pipelines.training.params import TrainParams
from pipelines.training.prepare import EVALUATIONS_PER_EPOCH, Prepared, has_memory
from pipelines.training.progress import METRICS, Schedule, StepReport
from pipelines.training.student import Student
from pipelines.training.tracking.curves import measurements

if TYPE_CHECKING:
    from pipelines.training.study import Chosen


class _OutOfTimeError(KeyboardInterrupt):
    """Ends a run as Ctrl-C does: with a checkpoint from which it goes on."""


class _BehindError(Exception):
    """Ends a run whose trial is given up."""


class Bench:
    """Where trials run: the base model, and the splits."""

    def __init__(self, base: Path, prepared: Prepared, context: Context, *, deadline: float) -> None:
        self._model = quantize.load_quantized(base)
        if has_memory(base):
            quantize.dequantize_once(self._model)
        self._prepared = prepared
        self._context = context
        self._deadline = deadline

    def run(self, chosen: Chosen, params: TrainParams) -> None:
        """Train with what was chosen until the end, the deadline, or until it is behind."""
        chosen.folder.mkdir(parents=True, exist_ok=True)
        adapted = quantize.add_adapter(self._model, rank=params.rank, seed=self._context.seed)
        try:
            student = Student(adapted)
            fused.fuse_layers(student)
            self._train(student, chosen, params)
        except _BehindError:
            chosen.give_up()
        except TrainingError as error:
            if not str(error).startswith("the loss"):  # it leapt away, or is no number any more
                raise
            chosen.give_up(has_diverged=True)
        except _OutOfTimeError:
            return  # its folder keeps the checkpoint
        finally:
            adapted.unload()
        shutil.rmtree(chosen.folder)

    def _train(self, student: Student, chosen: Chosen, params: TrainParams) -> None:
        checkpoint.check_space(chosen.folder, parameters=sum(each.numel() for each in student.parameters()))
        run = loop.Run(
            student,
            train=self._prepared.train,
            validation=self._prepared.validation,
            schedule=Schedule(
                epochs=params.epochs,
                learning_rate=params.rate,
                batch_size=params.batch_size,
                evaluations_per_epoch=EVALUATIONS_PER_EPOCH,
                patience=params.patience,
                seed=self._context.seed,
            ),
            folder=chosen.folder,
            key=chosen.key,
            notice=self._context.notice,
        )
        earlier = measurements(chosen.folder / METRICS)  # those up to the checkpoint
        chosen.skip_validations(sum("validation_loss" in values for _step, values in earlier))
        started = time.monotonic()

        def watch(step: StepReport) -> None:
            self._context.progress("training", step.step, step.steps, **_detail(step))
            is_last, is_late = step.step == step.steps, time.monotonic() > self._deadline
            if step.validation_loss is not None or is_late:
                chosen.took(steps=step.step, seconds=chosen.seconds_before + time.monotonic() - started)
            if step.validation_loss is not None and chosen.is_behind(step.validation_loss) and not is_last:
                raise _BehindError
            if is_late and not is_last:
                raise _OutOfTimeError

        outcome = run.train(watch)
        losses = self._validation_losses(student)
        chosen.took(steps=outcome.steps, seconds=chosen.seconds_before + time.monotonic() - started)
        chosen.finish(outcome.best_validation_loss, losses)

    @torch.no_grad()
    def _validation_losses(self, student: Student) -> list[tuple[float, int]]:
        """Return nats and tokens of every validation example, in the order of the split."""
        student.model.eval()
        packs = self._prepared.validation
        losses = sorted(found for pack in packs for found in split_losses(pack, *student.supervised_logits(pack)))
        return [(nats, tokens) for _index, nats, tokens in losses]


def _detail(step: StepReport) -> dict[str, str]:
    detail = {"loss": f"{step.loss:.3f}", "tokens/s": f"{step.tokens_per_second:.0f}"}
    if step.validation_loss is not None:
        detail["validation loss"] = f"{step.validation_loss:.3f}"
    return detail
