"""Adapters as peft saves them, merged into the weights of a model that answers.

LoRA, rsLoRA, DoRA and AdaLoRA change the weights of layers, so they can be merged; what
learns positions before the prompt (`learnt_prompt`) cannot. peft itself takes seconds to
import, so answering does without it; tests hold the results against peft's own.

Source:
    Hu et al. 2021, LoRA, section 4.1, arXiv:2106.09685.
    Kalajdzievski 2023, rsLoRA, section 3, arXiv:2312.03732.
    Liu et al. 2024, DoRA, section 4.1, arXiv:2402.09353.
    Zhang et al. 2023, AdaLoRA, section 3.1, arXiv:2303.10512.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.errors import DataError

WEIGHTS_FILE = "adapter_model.safetensors"
FULL = "FULL"  # a full fine-tuning: the file holds all weights, and not a change
CONFIG_FILE = "adapter_config.json"
_PREFIX = "base_model.model."
LEARNT_PROMPTS = frozenset({"PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"})
_PROMPT_LEARNING = LEARNT_PROMPTS | {"MULTITASK_PROMPT_TUNING", "CPT", "ADAPTION_PROMPT"}
# Begun so, training moves a part of the base's weights into the adapter: what it adds is
# no longer to be added to the base as it was.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# With its rank, AdaLoRA divides by this much more, against a division by zero.
_ADALORA_MARGIN = 1e-5


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What an adapter does to the weight of one layer."""

    layer: str
    down: Tensor  # float32, (rank, in)
    up: Tensor  # float32, (out, rank)
    scale: float
    magnitude: Tensor | None = None  # float32, (out,): length of each row, for DoRA

    def apply(self, weight: Tensor) -> Tensor:
        """Return the changed weight; float32, (out, in)."""
        changed: Tensor = weight.float() + self.scale * (self.up @ self.down)
        if self.magnitude is None:
            return changed
        lengths: Tensor = torch.linalg.vector_norm(changed, dim=1)
        return changed * (self.magnitude / lengths)[:, None]


def adapter_name(folder: Path) -> str:
    """Return a short name that changes with the adapter's weights.

    Raises:
        DataError: There is no adapter in the folder.
    """
    try:
        digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes())
    except OSError as error:
        raise DataError(f"there is no adapter in {folder}", path=folder) from error
    return digest.hexdigest()[:12]


@torch.no_grad()
def merge_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Put the adapter's change into the weights of `model`, in place; or the weights of a full fine-tuning.

    Raises:
        DataError: The adapter is of a kind that cannot be merged, or of another model.
    """
    if read_config(folder).get("peft_type") == FULL:
        _replace_weights(model, folder)
        return
    for change in read_changes(folder):
        try:
            weight = model.get_submodule(change.layer).weight
        except AttributeError as error:
            raise DataError(
                f"the adapter in {folder} is for another model: no layer {change.layer}", path=folder
            ) from error
        if weight.shape != (change.up.shape[0], change.down.shape[1]):
            raise DataError(
                f"the adapter in {folder} is for another model: {change.layer} differs in size", path=folder
            )
        weight.copy_(change.apply(weight))


def read_changes(folder: Path) -> list[LayerChange]:
    """Return what the adapter in `folder` does to each layer, by the layer's name.

    Raises:
        DataError: It cannot be read, or is of a kind that cannot be merged.
    """
    config, weights = read_config(folder), read_weights(folder)
    _check_kind(config, folder)
    is_adaptive = config["peft_type"] == "ADALORA"
    end = "lora_A" if is_adaptive else "lora_A.weight"
    layers = [key.removesuffix(end) for key in weights if key.endswith(f".{end}")]
    read = _read_adaptive if is_adaptive else _read_plain
    changes = [read(weights, layer, config) for layer in layers]
    if not changes or weights:
        left = next(iter(weights), "nothing at all")
        raise DataError(
            f"the adapter in {folder} holds more than LoRA layers, and cannot be merged: {left}", path=folder
        )
    return changes


def _replace_weights(model: PreTrainedModel, folder: Path) -> None:
    parameters = dict(model.named_parameters())
    weights = read_weights(folder)
    if weights.keys() != parameters.keys() or any(
        weights[name].shape != each.shape for name, each in parameters.items()
    ):
        raise DataError(f"the weights in {folder} are for another model", path=folder)
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration that peft saved with an adapter.

    Raises:
        DataError: It cannot be read.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return config
    except (OSError, ValueError) as error:
        raise DataError(f"the adapter in {folder} cannot be read: {error}", path=folder) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return an adapter's tensors by their names.

    Raises:
        DataError: They cannot be read.
    """
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise DataError(f"the adapter in {folder} cannot be read: {error}", path=folder) from error


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse what cannot be merged into the weights of a fresh base."""
    kind = config.get("peft_type")
    if kind in _PROMPT_LEARNING:
        raise DataError(
            f"the adapter in {folder} is of the kind {kind}: it learns positions before the prompt and "
            "changes no weights, so there is nothing to merge or to export",
            path=folder,
            hint="Train a LoRA or DoRA adapter to export one; peft reads a learnt prompt from its own folder.",
        )
    began = str(config.get("init_lora_weights")).lower()
    if kind not in {"LORA", "ADALORA"} or config.get("fan_in_fan_out") or began.startswith(_CHANGES_BASE):
        raise DataError(
            f"the adapter in {folder} is not a LoRA adapter of an unchanged base (kind {kind}, begun with {began})",
            path=folder,
            hint="Save it converted to a plain LoRA adapter, or train one.",
        )


def _read_plain(weights: dict[str, Tensor], layer: str, config: Mapping[str, Any]) -> LayerChange:
    """Take one layer of LoRA, rsLoRA or DoRA out of `weights`."""
    down, up = (weights.pop(f"{layer}{name}.weight").float() for name in ("lora_A", "lora_B"))
    name = layer.removeprefix(_PREFIX).removesuffix(".")
    alpha, rank = _of_layer(config.get("alpha_pattern"), name, config["lora_alpha"]), down.shape[0]
    magnitude = weights.pop(f"{layer}lora_magnitude_vector", None)
    return LayerChange(
        layer=name,
        down=down,
        up=up,
        scale=alpha / (rank**0.5 if config.get("use_rslora") else rank),
        magnitude=None if magnitude is None else magnitude.float().flatten(),
    )


def _read_adaptive(weights: dict[str, Tensor], layer: str, config: Mapping[str, Any]) -> LayerChange:
    """Take one layer of AdaLoRA out of `weights`; its singular values go into the down-projection."""
    down, up, values = (weights.pop(f"{layer}{name}").float() for name in ("lora_A", "lora_B", "lora_E"))
    # Ranks are pruned, but the scale stays that of the rank that training began with.
    rank = config["init_r"]
    alpha = config["lora_alpha"] if config["lora_alpha"] > 0 else rank
    name = layer.removeprefix(_PREFIX).removesuffix(".")
    return LayerChange(layer=name, down=down * values, up=up, scale=alpha / (rank + _ADALORA_MARGIN))


def _of_layer(pattern: Mapping[str, int] | None, layer: str, usual: int) -> int:
    """Return what a pattern of peft's says for a layer: the first expression that its name ends with."""
    found = (value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", layer))
    return next(found, usual)
