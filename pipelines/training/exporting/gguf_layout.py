"""Which models can be written as GGUF, and what llama.cpp calls their parts.

llama.cpp computes rotary positions on neighbouring pairs of a head's rows for the Llama
architecture, and on its two halves for the Qwen ones. Hugging Face weights are laid out
for halves, so the rows of query and key are reordered for Llama; that changes nothing of
what a model computes.

Source:
    Su et al. 2021, RoFormer, section 3.4.2, arXiv:2104.09864.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import gguf
import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from pipelines.errors import SettingsError

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How llama.cpp wants one architecture."""

    architecture: gguf.MODEL_ARCH
    has_paired_rows: bool  # rotary positions turn neighbouring rows, not halves

    @property
    def name(self) -> str:
        """Name of the architecture in GGUF."""
        return str(gguf.MODEL_ARCH_NAMES[self.architecture])


_LAYOUTS: Mapping[str, Layout] = {
    "llama": Layout(architecture=gguf.MODEL_ARCH.LLAMA, has_paired_rows=True),
    "qwen2": Layout(architecture=gguf.MODEL_ARCH.QWEN2, has_paired_rows=False),
    "qwen3": Layout(architecture=gguf.MODEL_ARCH.QWEN3, has_paired_rows=False),
}


def find_layout(config: PretrainedConfig) -> Layout:
    """Return how a model is written as GGUF.

    Raises:
        SettingsError: This is not known for its architecture, or for one of its features.
    """
    layout = _LAYOUTS.get(config.model_type)
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    unusual = {
        f"the architecture {config.model_type}": layout is None,
        f"{rope} scaling of its positions": rope != "default",
        "its activation": getattr(config, "hidden_act", None) != "silu",
        "a sliding window": bool(getattr(config, "use_sliding_window", False)),
    }
    reasons = [reason for reason, is_so in unusual.items() if is_so]
    if layout is None or reasons:
        raise SettingsError(
            f"the base model cannot be written as GGUF: {', '.join(reasons)} is not supported",
            hint=f"Export it as merged or adapter; GGUF is written for {', '.join(_LAYOUTS)} models.",
        )
    return layout


class Naming:
    """The names and the row orders of one model's tensors in GGUF."""

    def __init__(self, config: PretrainedConfig) -> None:
        self._layout = find_layout(config)
        self._config = config
        self._names = gguf.get_tensor_name_map(self._layout.architecture, config.num_hidden_layers)

    def name(self, name: str) -> str:
        """Return the GGUF name of a parameter.

        Raises:
            SettingsError: llama.cpp knows of no such parameter.
        """
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise SettingsError(f"llama.cpp knows no parameter {name} in a {self._layout.name} model")
        return str(found)

    def to_gguf(self, name: str, values: Floats) -> Floats:
        """Return the rows of a parameter in llama.cpp's order."""
        return _pair_rows(values, self._heads(name)) if self._heads(name) else values

    def from_gguf(self, name: str, values: Floats) -> Floats:
        """Return the rows of a parameter in Hugging Face's order; undoes `to_gguf`."""
        return _halve_rows(values, self._heads(name)) if self._heads(name) else values

    def _heads(self, name: str) -> int:
        """Return into how many heads the rows are to be reordered; 0 leaves them."""
        if not self._layout.has_paired_rows:
            return 0
        if ".q_proj" in name:
            return int(self._config.num_attention_heads)
        return int(self._config.num_key_value_heads) if ".k_proj" in name else 0


def _pair_rows(values: Floats, heads: int) -> Floats:
    halves = values.reshape(heads, 2, -1, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _halve_rows(values: Floats, heads: int) -> Floats:
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)


def metadata(config: PretrainedConfig) -> Iterator[tuple[str, int | float]]:
    """Yield what llama.cpp has to know of a model's shape, as GGUF keys and values."""
    keys, name = gguf.Keys, find_layout(config).name
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values: tuple[tuple[str, int | float], ...] = (
        (keys.LLM.BLOCK_COUNT, config.num_hidden_layers),
        (keys.LLM.CONTEXT_LENGTH, config.max_position_embeddings),
        (keys.LLM.EMBEDDING_LENGTH, config.hidden_size),
        (keys.LLM.FEED_FORWARD_LENGTH, config.intermediate_size),
        (keys.LLM.VOCAB_SIZE, config.vocab_size),
        (keys.Attention.HEAD_COUNT, config.num_attention_heads),
        (keys.Attention.HEAD_COUNT_KV, config.num_key_value_heads),
        (keys.Attention.KEY_LENGTH, head),
        (keys.Attention.VALUE_LENGTH, head),
        (keys.Attention.LAYERNORM_RMS_EPS, float(config.rms_norm_eps)),
        (keys.Rope.DIMENSION_COUNT, head),
        (keys.Rope.FREQ_BASE, float(config.rope_parameters["rope_theta"])),
    )
    for key, value in values:
        yield key.format(arch=name), value
