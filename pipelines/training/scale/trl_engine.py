"""Trains by TRL's trainers what `training/loop.py` trains by its own loop, with equal losses.

That loop is the quicker one on a CPU. This engine is for GPUs, and for many of them: it runs
alone, under `accelerate launch`, and as a Ray Train job, without a difference in the result.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainingArguments,
)
from trl import DPOConfig, SFTConfig

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.models.hardware import prepare_torch
from pipelines.models.local import load_tokenizer
from pipelines.training import rates
from pipelines.training.progress import StepReport, peak_memory_mb
from pipelines.training.scale import schedule
from pipelines.training.scale.contract import RESULT, PreferenceRow, RunConfig, RunResult, SupervisedRow, read_rows
from pipelines.training.scale.steps import StepLog
from pipelines.training.scale.students import Machine, adapter_config, keep_masters, load_student, save_student
from pipelines.training.scale.trainers import VALIDATION_LOSS, Preference, Supervised

_CHECKPOINTS = "checkpoints-"
_IGNORED = -100  # a label that does not count

Row = SupervisedRow | PreferenceRow
Trained = Supervised | Preference


def train(config: RunConfig, *, watch: Callable[[StepReport], None] = lambda step: None) -> RunResult:
    """Train to the end or until validation no longer improves, and save the best weights.

    A run that was stopped goes on from its last whole checkpoint. Of several processes each
    has to call this; the first one writes.

    Args:
        config: The run.
        watch: Called by the first process after every step; a single process stops, with a
            checkpoint, where it raises KeyboardInterrupt.

    Raises:
        KeyboardInterrupt: It was stopped so.
        DataError: A data file is not usable.
        SettingsError: The model is not usable, or the batch cannot be shared between the processes.
        TrainingError: The loss is no longer a number, or a file cannot be written.
    """
    machine = Machine.of(config)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if machine.is_cpu:
        prepare_torch(threads=max(1, (config.threads or len(os.sched_getaffinity(0))) // world))
    rows, left_out = _rows(config, config.train)
    validation, _ = _rows(config, config.validation)
    folder = checkpoints(config)
    trainer = _trainer(config, machine, rows=rows, validation=validation, folder=folder)
    if not trainer.is_deepspeed_enabled:  # it keeps masters of its own
        keep_masters(trainer.model)
    log = StepLog(config, is_first=trainer.is_world_process_zero(), memory_mb=lambda: _peak_mb(machine), watch=watch)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(log)
    checkpoint = last_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if log.is_stopped:
        raise KeyboardInterrupt
    _save(trainer, config, machine)
    result = _result(trainer, log, machine, examples=len(rows), left_out=left_out)
    if trainer.is_world_process_zero():
        (config.output / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return result


def checkpoints(config: RunConfig) -> Path:
    """Return the folder of a run's checkpoints."""
    return config.output / f"{_CHECKPOINTS}{config.key()}"


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; None if there is none."""
    # The state is written last, so a checkpoint without it was cut off.
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)


def training_arguments(config: RunConfig, machine: Machine, *, examples: int, folder: Path) -> TrainingArguments:
    """Return the arguments of the trainer: ours where they decide the result, TRL's elsewhere.

    Raises:
        SettingsError: The batch cannot be shared between the processes.
    """
    per_epoch = math.ceil(examples / config.batch_size)
    every = max(1, per_epoch // config.evaluations_per_epoch)
    micro, accumulated = _share(config)
    return (DPOConfig if config.objective == "dpo" else SFTConfig)(
        output_dir=str(folder),
        use_cpu=machine.is_cpu,
        bf16=machine.dtype is torch.bfloat16,
        fp16=machine.dtype is torch.float16,
        # Saves memory, costs a third of the time; a CPU has memory.
        activation_checkpointing=not machine.is_cpu,
        max_length=None,  # what is too long is left out, not cut off
        max_steps=config.max_steps or max(1, round(config.epochs * per_epoch)),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        per_device_eval_batch_size=micro if config.objective == "sft" else 1,
        optim="adamw_torch",
        learning_rate=config.learning_rate,
        adam_beta1=rates.BETAS[0],
        adam_beta2=rates.BETAS[1],
        weight_decay=0.0,
        max_grad_norm=rates.CLIP,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=VALIDATION_LOSS,
        greater_is_better=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=not machine.is_cpu,
        disable_tqdm=True,
        report_to="none",
        restore_callback_states_from_checkpoint=True,  # how long validation has not improved
        seed=config.seed,
        **_objective_arguments(config),
    )


def _objective_arguments(config: RunConfig) -> dict[str, Any]:
    if config.objective == "sft":
        return {"dataset_kwargs": {"skip_prepare_dataset": True}}
    # TRL stores the reference's losses where only the process that computed them looks.
    is_alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    return {"beta": config.beta, "precompute_ref_log_probs": is_alone}


def _trainer(config: RunConfig, machine: Machine, *, rows: list[Row], validation: list[Row], folder: Path) -> Trained:
    # The arguments come first: the model is loaded for what they found (ZeRO-3, devices).
    arguments = training_arguments(config, machine, examples=len(rows), folder=folder)
    tokenizer = load_tokenizer(config.base)
    # A blank pair would weigh in the mean of DPO; its last batch is filled up by repeating.
    blanks = -len(rows) % config.batch_size if config.objective == "sft" else 0
    columns = _supervised if config.objective == "sft" else _preferences
    trainer: type[Trained] = Supervised if config.objective == "sft" else Preference
    return trainer(
        model=load_student(config, machine),
        args=arguments,
        order=schedule.EpochOrder(len(rows), blanks=blanks, seed=config.seed),
        train_dataset=Dataset.from_dict(columns(rows, tokenizer, blanks=blanks)),
        eval_dataset=Dataset.from_dict(columns(validation, tokenizer, blanks=0)),
        processing_class=tokenizer,
        peft_config=adapter_config(config),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=config.patience)],
    )


def _rows(config: RunConfig, path: Path) -> tuple[list[Row], int]:
    """Return the examples that are short enough, and how many were not."""
    rows = read_rows(path, SupervisedRow if config.objective == "sft" else PreferenceRow)
    short = [row for row in rows if row.tokens <= config.max_length]
    if not short:
        raise DataError(
            f"{path} holds no example of at most {config.max_length} tokens",
            path=path,
            hint="Add examples, or raise max_length.",
        )
    return short, len(rows) - len(short)


def _supervised(rows: list[Row], tokenizer: PreTrainedTokenizerBase, *, blanks: int) -> dict[str, list[list[int]]]:
    """Return the columns of SFTTrainer; a blank supervises nothing."""
    supervised = [row for row in rows if isinstance(row, SupervisedRow)]
    # Two tokens each, as some kernels refuse a sequence from which nothing is predicted.
    end = int(tokenizer.eos_token_id)
    return {
        "input_ids": [row.prompt + row.answer for row in supervised] + [[end, end]] * blanks,
        "labels": [[_IGNORED] * len(row.prompt) + row.answer for row in supervised] + [[_IGNORED] * 2] * blanks,
    }


def _preferences(rows: list[Row], tokenizer: PreTrainedTokenizerBase, *, blanks: int) -> dict[str, list[list[int]]]:
    """Return the columns of DPOTrainer."""
    del tokenizer, blanks
    pairs = [row for row in rows if isinstance(row, PreferenceRow)]
    return {
        "prompt_ids": [row.prompt for row in pairs],
        "chosen_ids": [row.chosen for row in pairs],
        "rejected_ids": [row.rejected for row in pairs],
    }


def _share(config: RunConfig) -> tuple[int, int]:
    """Return how many examples a process computes at once, and how often in a step."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch_size % world:
        raise SettingsError(
            f"a batch of {config.batch_size} examples cannot be shared by {world} processes",
            hint=f"Set batch_size to a multiple of {world}.",
        )
    share = config.batch_size // world
    micro = max(size for size in range(1, share + 1) if share % size == 0 and size <= config.micro_batch_size)
    return micro, share // micro


def _save(trainer: Trained, config: RunConfig, machine: Machine) -> None:
    """Write the trained weights; gathering them, where they are sharded, needs every process."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    try:
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        save_student(model, state, config.output, dtype=machine.dtype)
        if config.method == "full":
            trainer.processing_class.save_pretrained(str(config.output))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the weights cannot be written to {config.output}: {error}",
            hint="Free some disk space and run the same command again.",
        ) from error


def _result(trainer: Trained, log: StepLog, machine: Machine, *, examples: int, left_out: int) -> RunResult:
    return RunResult(
        steps=trainer.state.global_step,
        examples=examples,
        left_out=left_out,
        world_size=trainer.args.world_size,
        strategy=trainer.accelerator.distributed_type.value,
        best_validation_loss=float(trainer.state.best_metric),
        best_step=int(trainer.state.best_global_step),
        final_validation_loss=log.validation_loss,
        resumed_from_step=log.first_step,
        tokens_per_second=round(log.tokens / log.seconds, 1),
        peak_memory_mb=_peak_mb(machine),
        seconds=round(log.seconds, 1),
    )


def _peak_mb(machine: Machine) -> int:
    if machine.is_cpu:
        return peak_memory_mb()
    return torch.cuda.max_memory_allocated() >> 20
