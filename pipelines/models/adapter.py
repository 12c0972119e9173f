"""LoRA adapters as peft saves them, merged into the weights of a model that answers.

peft itself takes seconds to import, so answering does without it; a test holds the result
against peft's own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from pipelines.errors import DataError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
_PREFIX = "base_model.model."


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
    """Add the adapter's change to the weights of `model`, in place.

    Raises:
        DataError: The adapter is of a kind that cannot be merged, or of another model.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError) as error:
        raise DataError(f"the adapter in {folder} cannot be read: {error}", path=folder) from error
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("rank_pattern"):
        raise DataError(f"the adapter in {folder} is not a plain LoRA adapter", path=folder)
    rank = config["r"]
    scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    for key in [key for key in weights if key.endswith(".lora_A.weight")]:
        layer = key.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        down, up = weights[key].float(), weights[key.replace(".lora_A.", ".lora_B.")].float()
        try:
            weight = model.get_submodule(layer).weight
        except AttributeError as error:
            raise DataError(f"the adapter in {folder} is for another model: no layer {layer}", path=folder) from error
        if weight.shape != (up.shape[0], down.shape[1]):
            raise DataError(f"the adapter in {folder} is for another model: {layer} differs in size", path=folder)
        weight.copy_(weight.float() + scale * (up @ down))
