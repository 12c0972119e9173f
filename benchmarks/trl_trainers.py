"""TRL's trainers as a comparison runs them, with its defaults and with its best settings."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.optim.lr_scheduler import LambdaLR
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, Trainer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from pipelines.models.hardware import fast_dtype
from pipelines.models.local import load_tokenizer
from pipelines.training.quantize import keep_gradients
from pipelines.training.rates import BETAS, rate_share
from pipelines.training.scale.contract import SupervisedRow

BATCH, RANK, RATE = 8, 16, 5e-4
_LONGEST = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A student at the end of its training, and what that took."""

    student: torch.nn.Module
    steps: int
    tokens: int
    seconds: float


def train_answers(base: Path, rows: list[SupervisedRow], folder: Path, *, variant: str) -> Trained:
    """Train by SFTTrainer: `default`, or DTYPE-LAYOUT."""
    mean = sum(row.tokens for row in rows) / len(rows)
    dtype = torch.float32 if variant.startswith("float32") else torch.bfloat16
    options: dict[str, Any] = {}
    if variant != "default":
        options = {"activation_checkpointing": False, "bf16": dtype is torch.bfloat16}
    if variant.endswith("grouped"):
        options["train_sampling_strategy"] = "group_by_length"
    batch = BATCH
    if variant.endswith("packed"):
        options |= {"packing": True, "max_length": _LONGEST}
        batch = max(1, round(BATCH * mean / _LONGEST))  # sequences that hold a batch of examples
    columns = {
        "input_ids": [row.prompt + row.answer for row in rows],
        "labels": [[-100] * len(row.prompt) + row.answer for row in rows],
    }
    model = _quantized(base, dtype=dtype)
    started = time.perf_counter()
    trainer = _Answers(
        model,
        args=SFTConfig(**_common(folder, batch=batch), **options),
        train_dataset=Dataset.from_dict(columns),
        processing_class=load_tokenizer(base),
        peft_config=_lora(),
    )
    trainer.train()
    return _trained(trainer, started, tokens=sum(row.tokens for row in rows))


class _Scheduled(Trainer):  # type: ignore[misc]
    """A trainer with our learning rates: TRL's warm-up would begin a run of four steps at zero."""

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, partial(rate_share, steps=num_training_steps))
            self._created_lr_scheduler = True
        return self.lr_scheduler


class _Answers(_Scheduled, SFTTrainer):  # type: ignore[misc]
    """SFTTrainer as it is, but for the learning rates."""


class _Pairs(_Scheduled, DPOTrainer):  # type: ignore[misc]
    """DPOTrainer over pairs that are tokens already, which it has no setting for."""

    def _prepare_dataset(self, dataset: Dataset, *_: object, **__: object) -> Dataset:
        return dataset


def train_pairs(base: Path, rows: list[SupervisedRow], folder: Path, *, is_best: bool) -> Trained:
    """Train by DPOTrainer; the rejected answer is the next row's."""
    rejected = [row.answer for row in rows[1:] + rows[:1]]
    columns = {
        "prompt_ids": [row.prompt for row in rows],
        "chosen_ids": [row.answer for row in rows],
        "rejected_ids": rejected,
    }
    dtype = fast_dtype() if is_best else torch.bfloat16
    options: dict[str, Any] = {}
    if is_best:
        options = {
            "activation_checkpointing": False,
            "precompute_ref_log_probs": True,
            "bf16": dtype is torch.bfloat16,
        }
    model = _quantized(base, dtype=dtype)
    started = time.perf_counter()
    trainer = _Pairs(
        model,
        args=DPOConfig(**_common(folder, batch=BATCH), **options),
        train_dataset=Dataset.from_dict(columns),
        processing_class=load_tokenizer(base),
        peft_config=_lora(),
    )
    trainer.train()
    tokens = sum(row.tokens + len(row.prompt) + len(other) for row, other in zip(rows, rejected, strict=True))
    return _trained(trainer, started, tokens=tokens)


def _common(folder: Path, *, batch: int) -> dict[str, Any]:
    """Return what decides the result, as ours, and what it takes to run on a CPU; all else is TRL's default."""
    return {
        "output_dir": str(folder / "trainer"),
        "use_cpu": True,
        "per_device_train_batch_size": batch,
        "num_train_epochs": 1,
        "learning_rate": RATE,
        "adam_beta2": BETAS[1],
        "save_strategy": "no",
        "report_to": "none",
        "seed": 0,
    }


def _quantized(base: Path, *, dtype: torch.dtype) -> PreTrainedModel:
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, quantization_config=quantization, local_files_only=True
    )
    keep_gradients(model)
    return model


def _lora() -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")


def _trained(trainer: Trainer, started: float, *, tokens: int) -> Trained:
    seconds = time.perf_counter() - started
    return Trained(student=trainer.model, steps=trainer.state.global_step, tokens=tokens, seconds=seconds)
