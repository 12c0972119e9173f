"""`train head`: fine-tunes a small model to sort texts or to find pieces in them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from pipelines.lazy import lazy_import
from pipelines.manifest import Manifest, file_hash
from pipelines.models.catalog import CATALOG, DEFAULT_EMBEDDER, find_model
from pipelines.operation import Context, Operation, Plan, Positional
from pipelines.records import Name
from pipelines.training import job
from pipelines.training.heads.figures import HeadFigures
from pipelines.training.heads.labelled import FILE_SUFFIX, HeadKind, LabelledData, Trained, data_files, load_labelled
from pipelines.training.place import is_head, refuse_adapter

if TYPE_CHECKING:
    from pipelines.models import hardware
    from pipelines.training.heads import comparing, fitting, labeller, model, preparing
else:
    hardware = lazy_import("pipelines.models.hardware", extra="train")
    comparing = lazy_import("pipelines.training.heads.comparing", extra="train")
    fitting = lazy_import("pipelines.training.heads.fitting", extra="train")
    labeller = lazy_import("pipelines.training.heads.labeller", extra="train")
    model = lazy_import("pipelines.training.heads.model", extra="train")
    preparing = lazy_import("pipelines.training.heads.preparing", extra="train")

MANIFEST = "manifest.json"
ENCODER = "encoder"
_CHILD = "pipelines.training.heads.child"
_MUCH_UNKNOWN = 0.05  # share of tokens
_LEARNING_RATES: dict[Trained, float] = {"lora": 2e-3, "full": 3e-4}
# Short texts that two cores get through in a second, by the embedded encoder.
_TEXTS_PER_SECOND = (40.0, 250.0)


class HeadParams(BaseModel):
    """What to learn, and how."""

    dataset: Annotated[str, Positional()] = Field(description="Curated dataset, or a JSONL file of labelled texts.")
    kind: HeadKind = Field("classification", description="A label for each text, or for pieces of it (NER).")
    adapter: Name | None = Field(None, description="Name of what is trained; the dataset's if not given.")
    base: str = Field(
        ENCODER, description="'encoder' (the embedded one), a name of models list, or a Hugging Face folder."
    )
    trained: Trained = Field("lora", description="A LoRA adapter, or all weights but the embeddings (full).")
    epochs: int = Field(20, ge=1, le=1_000, description="Passes over the training split, at most.")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Highest learning rate; 2e-3 for LoRA, 3e-4 for all weights unless given."
    )
    batch_size: int = Field(16, ge=1, le=1024, description="Texts per step.")
    max_length: int = Field(256, ge=16, le=8192, description="Tokens that are read at once.")
    patience: int = Field(3, ge=1, description="Epochs without a better F1 before stopping.")
    class_weights: bool = Field(False, description="Weigh rare labels more.")

    @property
    def adapter_name(self) -> str:
        """Name of what is trained."""
        path = Path(self.dataset)
        return self.adapter or (path.stem if path.suffix == FILE_SUFFIX else path.name)

    @property
    def base_name(self) -> str:
        """Name or folder of the base model."""
        return DEFAULT_EMBEDDER if self.base == ENCODER else self.base


class HeadTask(job.Task):
    """The training of a head as a task for a child."""

    params: HeadParams


class HeadReport(HeadFigures):
    """What training came to, on texts that it never saw."""

    adapter: str
    path: str
    kind: HeadKind
    base: str
    trained: Trained
    examples: int
    splits: dict[str, int]
    made_splits: list[str]
    other_kinds: int  # examples of the dataset that teach something else
    cut: int  # texts of which the end was not read
    windowed: int  # texts that were read in several windows
    misaligned: int  # spans that begin or end inside of a word, so that they cannot be found exactly
    unknown_share: float  # of the training tokens: characters that the base model has no token for
    steps: int
    best_step: int
    resumed_from_step: int
    seconds: float
    peak_memory_mb: int
    validation_f1: float


def plan_head(params: HeadParams, context: Context) -> Plan:
    """Say what training will take."""
    folder = context.workspace.adapter(params.adapter_name)
    refuse_adapter(folder)
    texts = len(load_labelled(find_source(params.dataset, context), kind=params.kind).train)
    low, high = (texts * params.epochs / rate / 60 for rate in reversed(_TEXTS_PER_SECOND))
    return Plan(
        title=f"Train a head ({params.kind}) on {texts} text{'s' * (texts != 1)} of {params.dataset}",
        steps=(
            f"Fine-tune {params.base_name} on this machine, at most {params.epochs} epoch{'s' * (params.epochs != 1)}",
        ),
        minutes=(low, high),
        replaces=(str(folder),) if (folder / MANIFEST).is_file() else (),
    )


def train_head(params: HeadParams, context: Context) -> HeadReport:
    """Fine-tune a small model to label texts or pieces of them; goes on where it was stopped."""
    folder = context.workspace.adapter(params.adapter_name)
    refuse_adapter(folder)
    load_labelled(find_source(params.dataset, context), kind=params.kind)  # an error here or below needs no child
    find_base(params.base_name, context)
    finished = _manifest(params, context).finished(HeadReport)
    if finished is not None and is_head(folder):
        context.notice(f"the head {params.adapter_name} is already trained")
        return finished
    context.models.forget_engines()
    task = HeadTask(workspace=str(context.workspace.root), seed=context.seed, parent=os.getpid(), params=params)
    return HeadReport.model_validate(job.run_watched(task, context, folder=folder, module=_CHILD))


def fit_head(params: HeadParams, context: Context) -> HeadReport:
    """Train a head in the process that calls; the way there is `train_head`."""
    folder = context.workspace.adapter(params.adapter_name)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(params, context)
    data = load_labelled(find_source(params.dataset, context), kind=params.kind)
    base_folder = find_base(params.base_name, context)
    report = _train(params, context, data, base_folder, folder, key=_key(manifest.inputs))
    manifest.finish(report)
    return report


TRAIN_HEAD = Operation(params=HeadParams, report=HeadReport, run=train_head, plan=plan_head)


def find_base(name: str, context: Context) -> Path:
    """Return the folder of a base model of either kind.

    Raises:
        SettingsError: There is none, or it lies outside of where paths are confined to.
    """
    context.check_model(name)
    kinds = [known.kind for known in CATALOG if known.name == name]
    return find_model(name, kind=kinds[0] if kinds else "embedding", models_folder=context.settings.models_folder)


def find_source(dataset: str, context: Context) -> Path:
    """Return the folder of a dataset, or the file that is named in its place."""
    path = Path(dataset)
    if path.suffix == FILE_SUFFIX or len(path.parts) > 1:
        return context.resolve(path)
    return context.workspace.dataset(dataset)


def _manifest(params: HeadParams, context: Context) -> Manifest:
    """Return the record of a run, which tells whether it has been made already."""
    return Manifest(
        path=context.workspace.adapter(params.adapter_name) / MANIFEST,
        inputs={
            "head": params.model_dump(mode="json"),
            "files": {path.name: file_hash(path) for path in data_files(find_source(params.dataset, context))},
            "seed": context.seed,
        },
    )


def _train(
    params: HeadParams, context: Context, data: LabelledData, base_folder: Path, folder: Path, *, key: str
) -> HeadReport:
    started = time.monotonic()
    hardware.prepare_torch(threads=context.settings.threads)
    config = model.HeadConfig(
        kind=params.kind,
        labels=data.labels,
        base=params.base_name,
        trained=params.trained,
        max_length=params.max_length,
    )
    splits = preparing.prepare(data, labeller.open_encoder(base_folder, max_length=params.max_length), config)
    _tell(data, splits, context, max_length=params.max_length)
    head = model.Head(base_folder, config, seed=context.seed)
    run = fitting.Fitting(
        head,
        splits.train.items,
        validate=lambda: comparing.validate(head, splits.validation),
        plan=_fit_plan(params, config, splits, seed=context.seed),
        folder=folder,
        key=key,
        notice=context.notice,
    )
    if run.resumed_from_step:
        context.notice(f"training goes on from step {run.resumed_from_step}")
    fitted = run.fit(lambda step: _show(step, context))
    run.save()
    figures = comparing.compare(head, splits.test, data, seed=context.seed)
    return HeadReport(
        adapter=params.adapter_name,
        path=str(folder),
        base=params.base_name,
        kind=params.kind,
        trained=config.trained,
        **_counts(data, splits),
        **vars(fitted) | {"seconds": round(time.monotonic() - started, 1)},
        **figures.model_dump(),
    )


def _fit_plan(
    params: HeadParams, config: model.HeadConfig, splits: preparing.PreparedSplits, *, seed: int
) -> fitting.FitPlan:
    weights = preparing.class_weights(splits.train.items, config.classes) if params.class_weights else ()
    return fitting.FitPlan(
        epochs=params.epochs,
        learning_rate=params.learning_rate or _LEARNING_RATES[config.trained],
        batch_size=params.batch_size,
        patience=params.patience,
        seed=seed,
        class_weights=weights,
    )


def _counts(data: LabelledData, splits: preparing.PreparedSplits) -> dict[str, Any]:
    """Return what the report says of the texts."""
    return {
        "examples": len(data.train),
        "splits": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "made_splits": list(data.made_splits),
        "other_kinds": data.other_kinds,
        "cut": splits.cut,
        "windowed": splits.windowed,
        "misaligned": splits.misaligned,
        "unknown_share": round(splits.unknown_share, 4),
    }


def _tell(data: LabelledData, splits: preparing.PreparedSplits, context: Context, *, max_length: int) -> None:
    """Say what of the texts is not learnt as it stands."""
    said = {
        f"{data.other_kinds} examples of other kinds are left out": data.other_kinds,
        f"of {splits.cut} texts only the first {max_length} tokens are read": splits.cut,
        f"{splits.windowed} texts of more than {max_length} tokens are read in windows": splits.windowed,
        f"the base model has no tokens for {splits.unknown_share:.0%} of what it reads; choose another --base": (
            splits.unknown_share > _MUCH_UNKNOWN
        ),
        f"{splits.misaligned} spans begin or end inside of a word, and cannot be found exactly": splits.misaligned,
    }
    for message, is_so in said.items():
        if is_so:
            context.notice(message)


def _show(step: fitting.FitStep, context: Context) -> None:
    minutes, seconds = divmod(round(step.seconds_left), 60)
    detail = {"loss": f"{step.loss:.3f}", "left": f"{minutes}:{seconds:02d}"}
    if step.validation is not None:
        detail |= {"validation loss": f"{step.validation.loss:.3f}", "validation F1": f"{step.validation.f1:.3f}"}
    context.progress("training", step.step, step.steps, **detail)


def _key(inputs: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()
