"""Attention and key-value cache for small models on a CPU.

torch's fused attention on the CPU repeats grouped heads in memory and is slower than two
plain matrix products at the lengths of a RAG prompt (up to about a thousand tokens); the
default cache of transformers copies itself at every token. Both are replaced here through
the extension points of transformers; measured in BENCHMARKS.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import eager_mask

_NAME = "grouped"


def register_attention() -> str:
    """Make the attention known to transformers; return its name for `attn_implementation`."""
    AttentionInterface.register(_NAME, grouped_attention)
    AttentionMaskInterface.register(_NAME, eager_mask)
    return _NAME


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,  # noqa: ANN401 - the interface passes whatever a model has
) -> tuple[Tensor, None]:
    """Attend with grouped heads, without repeating keys and values in memory.

    Args:
        module: The attention layer.
        query: Float, (batch, heads, queries, size).
        key: Float, (batch, groups, keys, size); heads is a multiple of groups.
        value: Float, (batch, groups, keys, size).
        attention_mask: Float, added to the scores, (batch, 1, queries, keys).
        scaling: Factor of the scores; 1/sqrt(size) if None.
        dropout: Share of the weights dropped while training.

    Returns:
        Attended values; float, (batch, queries, heads, size). And no weights.

    Source:
        Ainslie et al. 2023, GQA, section 2.2, arXiv:2305.13245.
    """
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1], key.shape[2]
    per_group = heads // groups
    scale = size**-0.5 if scaling is None else scaling
    if queries == 1:
        # One new token: the heads of a group become the queries of one product.
        folded = query.reshape(batch, groups, per_group, size)
        output = torch.nn.functional.scaled_dot_product_attention(
            folded, key, value, attn_mask=attention_mask, scale=scale
        )
    else:
        folded = (query * scale).reshape(batch, groups, per_group * queries, size)
        scores = torch.matmul(folded, key.transpose(-1, -2))
        if attention_mask is not None:
            scores = scores.view(batch, groups, per_group, queries, keys) + attention_mask[:, :, None]
            scores = scores.view(batch, groups, per_group * queries, keys)
        weights = torch.softmax(scores, dim=-1)
        if dropout and module.training:
            weights = torch.nn.functional.dropout(weights, p=dropout)
        output = torch.matmul(weights, value)
    return output.reshape(batch, heads, queries, size).transpose(1, 2).contiguous(), None


class BufferLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, written into a buffer of fixed capacity."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append the states, (batch, groups, new, size); return all so far."""
        if not self.is_initialized:
            batch, groups, _new, size = key_states.shape
            self.lazy_initialization(key_states, value_states)
            self.key_buffer = key_states.new_empty(batch, groups, self.capacity, size)
            self.value_buffer = value_states.new_empty(batch, groups, self.capacity, size)
        end = self.length + key_states.shape[2]
        self.key_buffer[:, :, self.length : end] = key_states
        self.value_buffer[:, :, self.length : end] = value_states
        self.length = end
        self._show()
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return how many positions are filled."""
        return self.length

    def select(self, rows: Tensor) -> None:
        """Keep only the sequences `rows`; integer, (kept,)."""
        self.key_buffer = self.key_buffer[rows]
        self.value_buffer = self.value_buffer[rows]
        self._show()

    def _show(self) -> None:
        self.keys = self.key_buffer[:, :, : self.length]
        self.values = self.value_buffer[:, :, : self.length]


def new_cache(layers: int, *, capacity: int) -> Cache:
    """Return an empty cache of `capacity` positions for a model of `layers` layers."""
    return Cache(layers=[BufferLayer(capacity) for _ in range(layers)])
