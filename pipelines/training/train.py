"""`train start`: fine-tunes a base model on a dataset, as a QLoRA adapter."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from pipelines.errors import DataError, MissingExtraError
from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.catalog import DEFAULT_BASE_MODEL
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Conversation, Name, read_records
from pipelines.training.tracking import boards
from pipelines.workspace import locked

if TYPE_CHECKING:
    import peft
    from transformers import PreTrainedTokenizerFast

    from pipelines.models import hardware, local, packing, render
    from pipelines.training import checkpoint, loop, quantize
    from pipelines.training.tracking import report
else:
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    local = lazy_import("pipelines.models.local", extra="train")
    packing = lazy_import("pipelines.models.packing", extra="train")
    render = lazy_import("pipelines.models.render", extra="train")
    checkpoint = lazy_import("pipelines.training.checkpoint", extra="train")
    loop = lazy_import("pipelines.training.loop", extra="train")
    quantize = lazy_import("pipelines.training.quantize", extra="train")
    report = lazy_import("pipelines.training.tracking.report", extra="track")

MANIFEST = "manifest.json"
# Examples of about 330 tokens, packed by passages, that two cores get through in a second.
_EXAMPLES_PER_SECOND = (2.0, 8.0)
_PACK_TOKENS = 1_536
_EVALUATIONS_PER_EPOCH = 2


class TrainParams(BaseModel):
    """What to train on, and how."""

    dataset: Annotated[Name, Positional()] = Field(description="Curated dataset to learn.")
    adapter: Name | None = Field(None, description="Name of the adapter; the dataset's if not given.")
    base: str = Field(DEFAULT_BASE_MODEL, description="Base model: a name of models list, or a Hugging Face folder.")
    epochs: float = Field(4.0, gt=0, le=100, description="Passes over the training split, at most.")
    learning_rate: float = Field(7e-4, gt=0, le=1, description="Highest learning rate.")
    rank: int = Field(16, ge=1, le=512, description="Rank of the adapter.")
    batch_size: int = Field(4, ge=1, le=1024, description="Examples per step, at least.")
    max_length: int = Field(1024, ge=64, le=131_072, description="Longest example in tokens; longer ones are left out.")
    patience: int = Field(3, ge=1, description="Evaluations without improvement before stopping.")

    @property
    def adapter_name(self) -> str:
        """Name of the adapter."""
        return self.adapter or self.dataset


class TrainReport(BaseModel):
    """What training came to."""

    adapter: str
    path: str
    base: str
    steps: int
    examples: int
    left_out: int
    tokens_per_second: float
    peak_memory_mb: int
    best_validation_loss: float
    best_step: int
    resumed_from_step: int
    seconds: float


def plan_train(params: TrainParams, context: Context) -> Plan:
    """Say what training will take."""
    path = context.workspace.dataset(params.dataset) / "train.jsonl"
    examples = sum(1 for _ in path.open(encoding="utf-8")) if path.is_file() else 0
    low, high = (examples * params.epochs / rate / 60 for rate in reversed(_EXAMPLES_PER_SECOND))
    folder = context.workspace.adapter(params.adapter_name)
    return Plan(
        title=f"Train {params.base} on {examples} examples of {params.dataset}",
        steps=(f"QLoRA (NF4, rank {params.rank}) on this machine, at most {params.epochs:g} epochs",),
        minutes=(low, high),
        replaces=(str(folder),) if (folder / MANIFEST).is_file() else (),
    )


def train_adapter(params: TrainParams, context: Context) -> TrainReport:
    """Fine-tune a base model on a dataset with QLoRA; goes on where it was stopped."""
    folder = context.workspace.adapter(params.adapter_name)
    data = context.workspace.dataset(params.dataset)
    inputs = {
        "params": params.model_dump(mode="json"),
        "train": file_hash(data / "train.jsonl"),
        "validation": file_hash(data / "validation.jsonl"),
        "seed": context.seed,
    }
    manifest = Manifest(path=folder / MANIFEST, inputs=inputs)
    context.check_model(params.base)
    check_splits(data)
    with locked(folder):
        finished = manifest.finished(TrainReport)
        if finished is not None and (folder / "adapter_model.safetensors").is_file():
            context.notice(f"the adapter {params.adapter_name} is already trained")
            return finished
        outcome = _train(params, context, data, folder, key=_key(inputs))
        manifest.finish(outcome)
    return outcome


TRAIN_ADAPTER = Operation(params=TrainParams, report=TrainReport, run=train_adapter, plan=plan_train)


def _train(params: TrainParams, context: Context, data: Path, folder: Path, *, key: str) -> TrainReport:
    started = time.monotonic()
    context.models.forget_engines()
    hardware.prepare_torch(threads=context.settings.threads)
    base_folder = context.models.base_folder(params.base)
    material = read_material(params, context, data)
    student = _new_student(params, base_folder, folder, seed=context.seed)
    run = loop.Run(
        student,
        train=material.train,
        validation=material.validation,
        schedule=new_schedule(params, seed=context.seed),
        folder=folder,
        key=key,
    )
    if run.resumed_from_step:
        context.notice(f"training goes on from step {run.resumed_from_step}")
    outcome = _train_watched(run, params, context, folder, examples=material.examples)
    return TrainReport(
        adapter=params.adapter_name,
        path=str(folder),
        base=params.base,
        steps=outcome.steps,
        examples=material.examples,
        left_out=material.left_out,
        tokens_per_second=round(outcome.tokens_per_second, 1),
        peak_memory_mb=outcome.peak_memory_mb,
        best_validation_loss=round(outcome.best_validation_loss, 5),
        best_step=outcome.best_step,
        resumed_from_step=outcome.resumed_from_step,
        seconds=round(time.monotonic() - started, 1),
    )


def _train_watched(
    run: loop.Run, params: TrainParams, context: Context, folder: Path, *, examples: int
) -> loop.Outcome:
    """Train to the end and keep the adapter, shown on boards meanwhile and on a page at the end."""
    values = params.model_dump(mode="json")
    with boards.open_trackers(
        folder,
        params=values,
        resumed_from_step=run.resumed_from_step,
        mlflow_url=context.settings.mlflow_url,
        notice=context.notice,
    ) as trackers:

        def watch(step: loop.StepReport) -> None:
            trackers.log(step)
            _show(step, context)

        outcome = run.train(watch)
        run.save_adapter()
        try:
            shown = dataclasses.asdict(outcome) | {"examples": examples}
            trackers.finish(report.write_page(folder, params=values, outcome=shown))
        except (MissingExtraError, OSError) as error:  # the adapter is there; only its page is not
            trackers.finish()
            context.notice(f"there is no page about the run: {error}")
    return outcome


@dataclass(frozen=True, kw_only=True)
class Material:
    """The splits as a run takes them; `examples` and `left_out` count those of the training split."""

    train: list[packing.Pack]
    validation: list[packing.Pack]
    examples: int
    left_out: int


def read_material(params: TrainParams, context: Context, data: Path) -> Material:
    """Read the splits of a dataset for training.

    Raises:
        DataError: A split is malformed, or holds no example that is short enough.
    """
    tokenizer = local.load_tokenizer(context.models.base_folder(params.base))
    train, left_out = _read_split(data / "train.jsonl", tokenizer, params.max_length)
    validation, validation_left_out = _read_split(data / "validation.jsonl", tokenizer, params.max_length)
    if left_out + validation_left_out:
        context.notice(
            f"{left_out + validation_left_out} examples of more than {params.max_length} tokens are left out"
        )
    return Material(
        train=packing.pack_examples(train, max_tokens=_PACK_TOKENS),
        validation=packing.pack_examples(validation, max_tokens=_PACK_TOKENS),
        examples=len(train),
        left_out=left_out,
    )


def new_schedule(params: TrainParams, *, seed: int) -> loop.Schedule:
    """Return how a run with these parameters trains."""
    return loop.Schedule(
        epochs=params.epochs,
        learning_rate=params.learning_rate,
        batch_size=params.batch_size,
        evaluations_per_epoch=_EVALUATIONS_PER_EPOCH,
        patience=params.patience,
        seed=seed,
    )


def _new_student(params: TrainParams, base_folder: Path, folder: Path, *, seed: int) -> peft.PeftModel:
    """Load the base model in NF4 with a fresh adapter, if its checkpoints fit on the disk."""
    model = quantize.load_quantized(base_folder)
    quantize.dequantize_once(model)
    student = quantize.add_adapter(model, rank=params.rank, seed=seed)
    trainable = sum(each.numel() for each in student.parameters() if each.requires_grad)
    checkpoint.check_space(folder, parameters=trainable)
    return student


def check_splits(data: Path) -> None:
    """Refuse a dataset that is not curated.

    Raises:
        DataError: A split is missing.
    """
    for path in (data / "train.jsonl", data / "validation.jsonl"):
        if not path.is_file():
            raise DataError(
                f"there is no {path.name} in {path.parent}",
                path=path,
                hint=f"Make it with: assistant data curate {path.parent.name}",
            )


def _read_split(path: Path, tokenizer: PreTrainedTokenizerFast, max_length: int) -> tuple[list[render.Rendered], int]:
    """Return the examples of a split as tokens, and how many were too long."""
    rendered = [
        render.render_example(tokenizer, conversation.messages) for conversation in read_records(path, Conversation)
    ]
    short = [example for example in rendered if len(example.prompt) + len(example.answer) <= max_length]
    if not short:
        raise DataError(
            f"{path.name} holds no example of at most {max_length} tokens",
            path=path,
            hint="Make the dataset larger, or raise --max-length.",
        )
    return short, len(rendered) - len(short)


def _show(step: loop.StepReport, context: Context) -> None:
    minutes, seconds = divmod(round(step.seconds_left), 60)
    detail = {
        "loss": f"{step.loss:.3f}",
        "tokens/s": f"{step.tokens_per_second:.0f}",
        "left": f"{minutes}:{seconds:02d}",
    }
    if step.validation_loss is not None:
        detail["validation loss"] = f"{step.validation_loss:.3f}"
    context.progress("training", step.step, step.steps, **detail)


def _key(inputs: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
