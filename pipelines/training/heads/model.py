"""A small model with a linear head: an encoder pooled by its mean, a causal model by its last token.

What is trained is either a LoRA adapter (`lora`) or every weight but the embeddings (`full`), and
the head in both cases. LoRA is the default: it was not worse, and is a sixteenth of the weights.
They are kept in float32, in one file; the rest is the base model's.

Source:
    Hu et al. 2021, LoRA, section 4.1, arXiv:2106.09685.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from pipelines.errors import DataError, SettingsError, TrainingError
from pipelines.lazy import lazy_import
from pipelines.models.hardware import fast_dtype
from pipelines.training.heads.encoding import Item, Probabilities
from pipelines.training.heads.labelled import HeadKind, Trained
from pipelines.training.place import HEAD_WEIGHTS, why_unwritten
from pipelines.workspace import replacing

if TYPE_CHECKING:
    import peft
else:
    peft = lazy_import("peft", extra="train")

WEIGHTS_FILE = HEAD_WEIGHTS
_CONFIG = "head"  # in the file's metadata
_RANK = 16
_DROPOUT = 0.1
_BATCH_TOKENS = 4_096


class HeadConfig(BaseModel):
    """What has to be known to load a head again."""

    kind: HeadKind
    labels: tuple[str, ...]
    base: str
    trained: Trained
    max_length: int

    @property
    def classes(self) -> int:
        """Numbers that the head gives for a text or a word: labels, or BIO tags."""
        return len(self.labels) if self.kind == "classification" else 1 + 2 * len(self.labels)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    tokens: torch.Tensor  # long, (items, length)
    mask: torch.Tensor  # long, (items, length)
    rows: torch.Tensor  # long, (places,): item of each place to judge
    places: torch.Tensor  # long, (places,)


class Head(torch.nn.Module):
    """A base model that judges texts or words."""

    def __init__(self, folder: Path, config: HeadConfig, *, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.config = config
        self.backbone, self._is_causal = _load_backbone(folder)
        if config.max_length > int(self.backbone.config.max_position_embeddings):
            raise SettingsError(
                f"{config.base} reads at most {self.backbone.config.max_position_embeddings} tokens, "
                f"not {config.max_length}",
                hint="Choose a smaller --max-length.",
            )
        self.backbone.requires_grad_(False)
        self._choose_trained(config.trained)
        self.dropout = torch.nn.Dropout(_DROPOUT)
        self.classifier = torch.nn.Linear(int(self.backbone.config.hidden_size), config.classes)
        torch.nn.init.normal_(self.classifier.weight, std=0.02)
        torch.nn.init.zeros_(self.classifier.bias)

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return what training changes, by name."""
        return {name: each for name, each in self.named_parameters() if each.requires_grad}

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        """Return the logits of each text, or of each place of each item; float32, (targets, classes)."""
        batch = _collate(items)
        hidden = self.backbone(input_ids=batch.tokens, attention_mask=batch.mask).last_hidden_state.float()
        if self.config.kind == "tokens":
            judged = hidden[batch.rows, batch.places]
        elif self._is_causal:
            judged = hidden[torch.arange(len(items)), batch.mask.sum(dim=1) - 1]
        else:
            weights = batch.mask[..., None].float()
            judged = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        logits: torch.Tensor = self.classifier(self.dropout(judged))
        return logits

    def _choose_trained(self, trained: Trained) -> None:
        if trained == "lora":
            config = peft.LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules="all-linear", lora_dropout=0.0)
            peft.inject_adapter_in_model(config, self.backbone)
            for parameter in self.backbone.parameters():
                parameter.data = parameter.data.to(fast_dtype())
            return
        self.backbone.requires_grad_(True)
        self.backbone.get_input_embeddings().requires_grad_(False)


def _is_causal(config: PretrainedConfig) -> bool:
    return any("CausalLM" in name for name in config.architectures or ())


def _load_config(folder: Path) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{folder} does not hold a model that transformers can load: {error}") from error


def _load_backbone(folder: Path) -> tuple[PreTrainedModel, bool]:
    """Return the model without its own head, and whether it only looks back."""
    config = _load_config(folder)
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=fast_dtype())
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"{folder} does not hold a model that transformers can load: {reason}") from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # made for another task, and never asked
    return model, _is_causal(config)


def _collate(items: Sequence[Item]) -> _Batch:
    longest = max(len(item.tokens) for item in items)
    tokens = torch.zeros(len(items), longest, dtype=torch.long)
    mask = torch.zeros(len(items), longest, dtype=torch.long)
    for row, item in enumerate(items):
        tokens[row, : len(item.tokens)] = torch.tensor(item.tokens)
        mask[row, : len(item.tokens)] = 1
    return _Batch(
        tokens=tokens,
        mask=mask,
        rows=torch.tensor([row for row, item in enumerate(items) for _ in item.places], dtype=torch.long),
        places=torch.tensor([place for item in items for place in item.places], dtype=torch.long),
    )


@torch.inference_mode()
def judge(head: Head, items: Sequence[Item]) -> list[Probabilities]:
    """Return the probabilities of each item; float, (1 or its places, classes)."""
    head.eval()
    found: dict[int, Probabilities] = {}
    for numbers in _by_length(items):
        batch = [items[number] for number in numbers]
        probabilities = torch.softmax(head(batch), dim=-1).numpy()
        sizes = [1 if head.config.kind == "classification" else len(item.places) for item in batch]
        found.update(zip(numbers, numpy.split(probabilities, numpy.cumsum(sizes)[:-1])))
    return [found[number] for number in range(len(items))]


def _by_length(items: Sequence[Item]) -> Iterator[list[int]]:
    """Yield the numbers of items of like length, as many as are computed at once."""
    batch: list[int] = []
    for number in sorted(range(len(items)), key=lambda at: len(items[at].tokens)):
        if batch and len(items[number].tokens) * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


# ---- files


def save_head(head: Head, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the head, with `weights` as its trained parameters, so that it is there whole or not at all.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        with replacing(folder / WEIGHTS_FILE, "wb") as file:
            file.write(save(weights, metadata={_CONFIG: head.config.model_dump_json()}))
    except OSError as error:
        raise TrainingError(
            f"the head cannot be written to {folder}: {why_unwritten(error)}",
            hint="Free some disk space and run the same command again.",
        ) from error


def read_config(folder: Path) -> HeadConfig:
    """Return what kind of head a folder holds.

    Raises:
        DataError: It holds none.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise DataError(
            f"there is no trained head in {folder}", path=folder, hint="Train one with: assistant train head DATASET"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return HeadConfig.model_validate_json(file.metadata()[_CONFIG])
    except (OSError, SafetensorError, KeyError, TypeError, ValidationError) as error:
        raise DataError(f"{path} cannot be read: {error}", path=path, hint="Train the head again.") from error


def load_head(folder: Path, config: HeadConfig, *, base_folder: Path) -> Head:
    """Return the head that was saved in `folder`, ready to judge.

    Raises:
        DataError: Its weights cannot be read, or are those of another base model.
    """
    head = Head(base_folder, config, seed=0)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the weights in {folder} cannot be read: {error}", path=folder, hint="Train the head again."
        ) from error
    parameters = head.trained_parameters()
    if {name: each.shape for name, each in weights.items()} != {name: each.shape for name, each in parameters.items()}:
        raise DataError(f"the head in {folder} was trained on another model than {config.base}", path=folder)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return head.eval()
