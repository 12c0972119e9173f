"""How what is trained is attached to a base model, and what is known against each way.

Sources:
    QLoRA: Dettmers et al. 2023, arXiv:2305.14314. LoRA: Hu et al. 2021, arXiv:2106.09685.
    DoRA: Liu et al. 2024, arXiv:2402.09353. rsLoRA: Kalajdzievski 2023, arXiv:2312.03732.
    AdaLoRA: Zhang et al. 2023, arXiv:2303.10512. Prefix tuning: Li and Liang 2021,
    arXiv:2101.00190. Prompt tuning: Lester et al. 2021, arXiv:2104.08691. P-tuning: Liu et
    al. 2021, arXiv:2103.10385.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import peft
import torch
from transformers import PreTrainedModel

from pipelines.errors import SettingsError
from pipelines.models.hardware import fast_dtype
from pipelines.models.local import load_model
from pipelines.models.packing import attends_in_segments
from pipelines.training.catalog import METHODS, Method, MethodName
from pipelines.training.fused import fuse_layers
from pipelines.training.quantize import add_adapter, dequantize_once, load_quantized
from pipelines.training.student import Student

_VIRTUAL_TOKENS = 20
_P_TUNING_HIDDEN = 256


def open_student(
    folder: Path, *, method: MethodName, rank: int, steps: int, seed: int, has_memory: bool = True
) -> Student:
    """Load a base model and attach what the method trains.

    Args:
        folder: Hugging Face folder of the base model.
        method: How to train it.
        rank: Rank of the adapter, for methods that have one.
        steps: Steps of the whole run, for methods with a schedule of their own.
        seed: Seed of the first weights.
        has_memory: Whether quantized weights may be dequantized once and kept, which is quicker.

    Raises:
        SettingsError: The model is of a kind whose attention is its own.
    """
    chosen = METHODS[method]
    model = _load(folder, chosen, has_memory=has_memory)
    if not attends_in_segments(model):
        raise SettingsError(
            f"models of the kind {model.config.model_type} cannot be trained by the loop for CPUs",
            hint="Choose a model of the Llama, Qwen or SmolLM family, or pass --engine trl.",
        )
    if method == "full":
        for parameter in model.parameters():
            parameter.requires_grad_(requires_grad=True)
        return Student(model)
    if method in ("qlora", "lora", "rslora"):
        student = Student(add_adapter(model, rank=rank, seed=seed, use_rslora=method == "rslora"))
    else:
        torch.manual_seed(seed)
        student = Student(peft.get_peft_model(model, _config(method, model, rank=rank, steps=steps)))
    fuse_layers(student)
    return student


def _load(folder: Path, method: Method, *, has_memory: bool) -> PreTrainedModel:
    if not method.is_quantized:
        model = load_model(folder)
        for parameter in model.parameters():
            parameter.requires_grad_(requires_grad=False)
        return model
    model = load_quantized(folder)
    if has_memory:
        dequantize_once(model)
    return model


def _config(method: MethodName, model: PreTrainedModel, *, rank: int, steps: int) -> peft.PeftConfig:
    task: Literal["CAUSAL_LM"] = "CAUSAL_LM"
    if method == "dora":
        return peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=task, use_dora=True)
    if method == "adalora":
        return peft.AdaLoraConfig(
            init_r=rank + rank // 2,
            target_r=rank,
            lora_alpha=2 * rank,
            tinit=max(1, steps // 10),
            tfinal=max(1, steps // 4),
            deltaT=max(1, steps // 50),
            total_step=max(4, steps),
            target_modules=linear_names(model),
            task_type=task,
        )
    if method == "prefix":
        return peft.PrefixTuningConfig(num_virtual_tokens=_VIRTUAL_TOKENS, task_type=task)
    if method == "prompt":
        return peft.PromptTuningConfig(num_virtual_tokens=_VIRTUAL_TOKENS, task_type=task)
    return peft.PromptEncoderConfig(
        num_virtual_tokens=_VIRTUAL_TOKENS, encoder_hidden_size=_P_TUNING_HIDDEN, task_type=task
    )


def linear_names(model: PreTrainedModel) -> list[str]:
    """Return the names, without their place, of the linear layers but the head."""
    head = model.get_output_embeddings()
    found = {name.rsplit(".", 1)[-1] for name, each in model.named_modules() if _is_linear(each) and each is not head}
    return sorted(found)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def compute_dtype() -> str:
    """Return the number type of the forward and backward pass, as people write it."""
    return "bf16" if fast_dtype() is torch.bfloat16 else "fp32"
