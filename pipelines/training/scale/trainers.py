"""TRL's trainers with our order, schedule and validation loss.

TRL averages the validation loss over batches; ours counts every answer token once, so that
losses of different engines, batch sizes and numbers of processes can be compared.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import EvalPrediction, Trainer
from trl import DPOTrainer, SFTTrainer

from pipelines.training.rates import rate_share
from pipelines.training.scale.schedule import EpochOrder

VALIDATION_LOSS = "eval_validation_loss"

# Loss of the batch; then summed loss and its weight, for each row.
Step = tuple[Tensor, Tensor, Tensor]


class _OurSchedule(Trainer):  # type: ignore[misc]
    """Order of the examples, learning rate and validation loss as in `training/loop.py`."""

    lr_scheduler: LambdaLR | None

    def __init__(self, *, order: EpochOrder, **options: Any) -> None:  # noqa: ANN401 - the trainer's own
        self._order = order
        super().__init__(compute_metrics=_validation_loss, **options)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return warm-up and cosine; made here, since FSDP and DeepSpeed refuse `optimizers=`."""
        if self.lr_scheduler is None:
            share = partial(rate_share, steps=num_training_steps)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochOrder:
        del train_dataset
        return self._order

    def _prepare_dataset(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
        """Leave the examples as they are: they are tokens already."""
        return dataset


class Supervised(_OurSchedule, SFTTrainer):  # type: ignore[misc]
    """Learns answers; the loss of a step is normalised over its supervised tokens."""

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Step:
        """Return the loss in nats of each row, and its supervised tokens."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        nats = -outputs.log_probs.float().sum(dim=1)
        tokens = outputs.label_mask.sum(dim=1)
        return nats.sum() / tokens.sum().clamp(min=1), nats, tokens


class Preference(_OurSchedule, DPOTrainer):  # type: ignore[misc]
    """Learns to prefer the chosen answers (Rafailov et al. 2023, DPO, arXiv:2305.18290)."""

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Step:
        """Return the loss of the pair; batches of one pair keep every pair's weight the same."""
        del prediction_loss_only, ignore_keys
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs).detach()
        return loss, loss.reshape(1), torch.ones_like(loss).reshape(1)


def _validation_loss(prediction: EvalPrediction) -> dict[str, float]:
    return {"validation_loss": float(prediction.predictions.sum() / prediction.label_ids.sum())}
