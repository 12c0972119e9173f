"""A base model in NF4 with a LoRA adapter on every linear layer: QLoRA.

Source:
    Dettmers et al. 2023, QLoRA, section 3, arXiv:2305.14314.
"""

from __future__ import annotations

from pathlib import Path

import bitsandbytes
import peft
import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from pipelines.models.hardware import fast_dtype
from pipelines.models.local import load_model


def load_quantized(folder: Path) -> PreTrainedModel:
    """Load a base model with its linear layers in NF4, double-quantized."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=fast_dtype(),
    )
    model = load_model(folder, quantization_config=config)
    keep_gradients(model)
    return model


def keep_gradients(model: torch.nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights for inference.

    On a CPU with AVX512-BF16, the first forward pass in eval mode repacks a `Linear4bit` in
    place, for a product that has no gradient; back in train mode, the gradient of its input
    is silently lost (bitsandbytes 0.50.2). Must be called before the first forward pass.
    """
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def dequantize_once(model: PreTrainedModel) -> None:
    """Replace each 4-bit layer by one that holds the values it dequantizes to at every pass.

    The numbers are the same and so is what is learnt; only memory is traded for time.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, bitsandbytes.nn.Linear4bit):
            continue
        weight = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
        plain = torch.nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
        plain.weight = torch.nn.Parameter(weight.to(fast_dtype()), requires_grad=False)
        if module.bias is not None:
            plain.bias = torch.nn.Parameter(module.bias.data, requires_grad=False)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain)
    model.is_quantized = False
    model.is_loaded_in_4bit = False
    model.hf_quantizer = None


def add_adapter(model: PreTrainedModel, *, rank: int, seed: int, use_rslora: bool = False) -> peft.PeftModel:
    """Attach a fresh LoRA adapter to every linear layer but the head.

    Its weights are kept in the model's number type, for speed; the optimizer holds their
    float32 masters.
    """
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        use_rslora=use_rslora,
    )
    return peft.get_peft_model(model, config, autocast_adapter_dtype=False)
