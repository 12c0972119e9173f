"""Models and adapters as GGUF files, written and quantized without a compiler.

Quantized are the matrices; norms and biases stay in float32. Q4_0 leaves the embedding at
Q8_0: where it is also the head, four bits there cost more than everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.errors import DataError
from pipelines.models.adapter import LayerChange
from pipelines.training.exporting.gguf_layout import Naming, find_layout, metadata
from pipelines.training.exporting.gguf_tokenizer import add_tokenizer

Precision = Literal["f16", "q8_0", "q4_0"]
_KINDS = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
_DOWN, _UP = ".lora_a", ".lora_b"


def write_model(
    path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, precision: Precision, name: str
) -> None:
    """Write a model with its tokenizer and chat template.

    Args:
        path: File to write.
        model: The model, in float32.
        tokenizer: Its tokenizer.
        precision: What its matrices are rounded to.
        name: What the file calls the model.

    Raises:
        SettingsError: Its architecture or tokenizer is not supported.
        OSError: The file cannot be written.
    """
    config = model.config
    naming = Naming(config)
    kind, file_type = _KINDS[precision]
    writer = gguf.GGUFWriter(path, find_layout(config).name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_numbers(writer, config)
    add_tokenizer(writer, tokenizer, config)
    for parameter, tensor in model.state_dict().items():
        if config.tie_word_embeddings and parameter == "lm_head.weight":
            continue  # llama.cpp takes the embedding where there is no head
        values = naming.to_gguf(parameter, tensor.float().numpy())
        chosen = _kind_of(parameter, values.shape, kind)
        writer.add_tensor(naming.name(parameter), quantize(values, chosen), raw_dtype=chosen)
    _finish(writer)


def write_adapter(
    path: Path, changes: Sequence[LayerChange], config: PretrainedConfig, *, alpha: float, name: str
) -> None:
    """Write an adapter that llama.cpp applies to a GGUF file of the base.

    Args:
        path: File to write.
        changes: What the adapter does to each layer.
        config: That of the base model.
        alpha: The adapter's alpha; llama.cpp multiplies by alpha / rank.
        name: What the file calls the adapter.

    Raises:
        DataError: The adapter is more than low-rank matrices.
        OSError: The file cannot be written.
    """
    check_plain(changes)
    naming = Naming(config)
    writer = gguf.GGUFWriter(path, find_layout(config).name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for change in changes:
        rank = change.down.shape[0]
        # What a layer's scale differs from alpha / rank, its up-projection makes up for.
        up = change.up * (change.scale * rank / alpha)
        target = naming.name(f"{change.layer}.weight")
        writer.add_tensor(target + _DOWN, np.ascontiguousarray(change.down.numpy()))
        writer.add_tensor(target + _UP, naming.to_gguf(change.layer, np.ascontiguousarray(up.numpy())))
    _finish(writer)


def read_adapter(path: Path, config: PretrainedConfig, layers: Sequence[str]) -> list[LayerChange]:
    """Read back what `write_adapter` wrote, for the layers of the base model."""
    naming = Naming(config)
    reader = gguf.GGUFReader(path)
    alpha = float(reader.fields[gguf.Keys.Adapter.LORA_ALPHA].contents())
    tensors = {tensor.name: torch.from_numpy(np.array(tensor.data)) for tensor in reader.tensors}
    changes = []
    for layer in layers:
        target = naming.name(f"{layer}.weight")
        if target + _DOWN in tensors:
            down, up = tensors[target + _DOWN], tensors[target + _UP]
            up = torch.from_numpy(naming.from_gguf(layer, up.numpy()))
            changes.append(LayerChange(layer=layer, down=down, up=up, scale=alpha / down.shape[0]))
    return changes


def check_plain(changes: Sequence[LayerChange]) -> None:
    """Refuse an adapter that GGUF has no form for.

    Raises:
        DataError: It is more than low-rank matrices.
    """
    if any(change.magnitude is not None for change in changes):
        raise DataError(
            "a DoRA adapter has no form of its own in GGUF: its magnitudes change whole weights",
            hint="Leave gguf-adapter out of --formats; the GGUF files of the whole model hold it.",
        )


def _kind_of(parameter: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    """Return what one tensor is rounded to."""
    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if kind is gguf.GGMLQuantizationType.Q4_0 and ("embed_tokens" in parameter or "lm_head" in parameter):
        kind = gguf.GGMLQuantizationType.Q8_0
    block, _size = gguf.GGML_QUANT_SIZES[kind]
    return kind if shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def _add_numbers(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    for key, value in metadata(config):
        if isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)


def _finish(writer: gguf.GGUFWriter) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
