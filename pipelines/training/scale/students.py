"""The model that a run trains, loaded for the machine it runs on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from pipelines.errors import SettingsError
from pipelines.models.attention import register_attention
from pipelines.models.hardware import fast_dtype
from pipelines.training.quantize import dequantize_once, keep_gradients
from pipelines.training.scale.contract import RunConfig

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a run computes with."""

    is_cpu: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, config: RunConfig) -> Machine:
        """Choose device and number type."""
        is_cpu = config.device == "cpu" or not torch.cuda.is_available()
        if config.dtype != "auto":
            return cls(is_cpu=is_cpu, dtype=_DTYPES[config.dtype])
        if is_cpu:
            return cls(is_cpu=True, dtype=fast_dtype())
        # Compute capability 8.0 and above; older GPUs emulate bfloat16, slowly.
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(is_cpu=False, dtype=torch.bfloat16 if has_bfloat16 else torch.float16)


def load_student(config: RunConfig, machine: Machine) -> PreTrainedModel:
    """Load the base model; where ZeRO-3 is on, the training arguments must exist already.

    Raises:
        SettingsError: The folder does not hold such a model.
    """
    options: dict[str, object] = {}
    if config.method == "qlora":
        options["quantization_config"] = _quantization(machine)
    # All weights of a full fine-tuning are masters of their own, under autocast.
    dtype = torch.float32 if config.method == "full" else machine.dtype
    attention = register_attention() if machine.is_cpu else "sdpa"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            config.base, local_files_only=True, dtype=dtype, attn_implementation=attention, **options
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingsError(f"{config.base} holds no causal language model that can be loaded: {reason}") from error
    if config.method == "qlora":
        keep_gradients(model)
        if machine.is_cpu:
            dequantize_once(model)
    return model


def adapter_config(config: RunConfig) -> peft.LoraConfig | None:
    """Return the adapter to attach, the one of `quantize.add_adapter`; None to train all weights."""
    if config.method == "full":
        return None
    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.scale,
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def keep_masters(model: torch.nn.Module) -> None:
    """Keep what is trained in float32: TRL turns a quantized model's adapter to bfloat16.

    Near 0.04, neighbouring bfloat16 numbers differ by more than most steps of the
    optimizer, which would be lost. Must be called before the optimizer is made.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def save_student(model: torch.nn.Module, state: dict[str, torch.Tensor], folder: Path, *, dtype: torch.dtype) -> None:
    """Write an adapter in float32, or a whole model in `dtype`, as the other engine does."""
    if isinstance(model, peft.PeftModel):
        state = {name: value.float() for name, value in state.items() if "lora_" in name}
    else:
        tied = getattr(model, "all_tied_weights_keys", {})  # copies of what is there under another name
        state = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in state.items()
            if name not in tied
        }
    model.save_pretrained(str(folder), state_dict=state)  # type: ignore[operator]
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card


def _quantization(machine: Machine) -> BitsAndBytesConfig:
    is_sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=machine.dtype,
        # Bytes cannot be sharded; the same bits, called floating point, can
        # (bitsandbytes' documentation, FSDP-QLoRA).
        bnb_4bit_quant_storage=machine.dtype if is_sharded else torch.uint8,
    )
