"""Attention and key-value cache for small models on a CPU.

torch's fused attention on the CPU repeats grouped heads in memory and is slower than two
plain matrix products at the lengths of a RAG prompt (up to about a thousand tokens); the
default cache of transformers copies itself at every token. Both are replaced here through
the extension points of transformers; measured in BENCHMARKS.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import eager_mask

_NAME = "grouped"
_BLOCK = 256  # positions of a causal block


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
    segments: tuple[Segment, ...] | None = None,
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
        segments: What attends to what, instead of a mask; of one sequence only.

    Returns:
        Attended values; float, (batch, queries, heads, size). And no weights.

    Source:
        Ainslie et al. 2023, GQA, section 2.2, arXiv:2305.13245.
    """
    batch, heads, queries, size = query.shape
    groups = key.shape[1]
    per_group = heads // groups
    scale = size**-0.5 if scaling is None else scaling
    if segments is not None:
        return attend_in_segments(query, key, value, segments, scale), None
    if queries == 1:
        # One new token: the heads of a group become the queries of one product.
        folded = query.reshape(batch, groups, per_group, size)
        output = torch.nn.functional.scaled_dot_product_attention(
            folded, key, value, attn_mask=attention_mask, scale=scale
        )
    else:
        folded = (query * scale).reshape(batch, groups, per_group * queries, size)
        output = _attend(
            folded, key, value, attention_mask, queries=queries, dropout=dropout if module.training else 0.0
        )
    return output.reshape(batch, heads, queries, size).transpose(1, 2).contiguous(), None


def _attend(folded: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, queries: int, dropout: float) -> Tensor:
    """Attend to all keys; queries come scaled, the heads of a group side by side."""
    scores = torch.matmul(folded, key.transpose(-1, -2))
    if mask is not None:
        by_head = scores.view(*scores.shape[:2], -1, queries, scores.shape[-1])
        scores = (by_head + mask[:, :, None]).view(scores.shape)
    weights = torch.softmax(scores, dim=-1)
    if dropout:
        weights = torch.nn.functional.dropout(weights, p=dropout)
    return torch.matmul(weights, value)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Positions of a sequence that attend to all of `seen`, and among themselves causally."""

    start: int
    end: int
    seen: tuple[int, int]


def causal_segments(first: int, last: int) -> list[Segment]:
    """Return positions that attend causally as segments: the triangle's empty half is hardly computed."""
    return [
        Segment(start=start, end=min(start + _BLOCK, last), seen=(first, start)) for start in range(first, last, _BLOCK)
    ]


def attend_in_segments(query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], scale: float) -> Tensor:
    """Attend segment by segment, so that no product is computed that a mask would throw away.

    Args:
        query: Float, (1, heads, length, size).
        key: Float, (1, groups, length, size); heads is a multiple of groups.
        value: Float, (1, groups, length, size).
        segments: All positions, in order.
        scale: Factor of the scores.

    Returns:
        Float, (1, length, heads, size).
    """
    output: Tensor = _SegmentedAttention.apply(query[0], key[0], value[0], segments, scale)  # type: ignore[no-untyped-call]
    return output.transpose(0, 1)[None].contiguous()


class _SegmentedAttention(Function):
    """Attention with the gradient written out; what one segment gives to keys that others see is accumulated."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Sequence[Segment],
        scale: float,
    ) -> Tensor:
        """Attend; query and result are (heads, length, size), key and value (groups, length, size)."""
        output = torch.empty_like(query)
        weights = []
        for segment in segments:
            folded = _fold(query, segment, groups=len(key)) * scale
            scores = torch.matmul(folded, _seen(key, segment).transpose(1, 2))
            _hide_later(scores, segment)
            probabilities = torch.softmax(scores, dim=-1)
            _unfold_into(output, torch.matmul(probabilities, _seen(value, segment)), segment)
            weights.append(probabilities)
        ctx.save_for_backward(query, key, value, output, *weights)
        ctx.segments, ctx.scale = segments, scale
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Return the gradients of query, key and value."""
        query, key, value, output, *weights = ctx.saved_tensors
        query_grad = torch.empty_like(query)
        key_grad, value_grad = torch.zeros_like(key), torch.zeros_like(value)
        means = torch.linalg.vecdot(grad, output)  # (heads, length)
        for segment, probabilities in zip(ctx.segments, weights, strict=True):
            given = _fold(grad, segment, groups=len(key))
            mean = means[:, segment.start : segment.end].reshape(len(key), -1, 1)
            _add_seen(value_grad, torch.matmul(probabilities.transpose(1, 2), given), segment)
            scores = torch.matmul(given, _seen(value, segment).transpose(1, 2))
            scores = scores.sub_(mean).mul_(probabilities).mul_(ctx.scale)
            _unfold_into(query_grad, torch.matmul(scores, _seen(key, segment)), segment)
            folded = _fold(query, segment, groups=len(key))
            _add_seen(key_grad, torch.matmul(scores.transpose(1, 2), folded), segment)
        return query_grad, key_grad, value_grad, None, None


def _fold(tensor: Tensor, segment: Segment, *, groups: int) -> Tensor:
    """Return the segment's queries, the heads of a group side by side; (groups, heads / groups * own, size)."""
    return tensor[:, segment.start : segment.end].reshape(groups, -1, tensor.shape[-1])


def _unfold_into(target: Tensor, folded: Tensor, segment: Segment) -> None:
    own = target[:, segment.start : segment.end]
    own.copy_(folded.view(own.shape))


def _seen(tensor: Tensor, segment: Segment) -> Tensor:
    """Return what the segment sees, itself last; (groups, seen + own, size)."""
    first, last = segment.seen
    own = tensor[:, segment.start : segment.end]
    if first == last:
        return own
    if last == segment.start:
        return tensor[:, first : segment.end]
    return torch.cat((tensor[:, first:last], own), dim=1)


def _add_seen(target: Tensor, grad: Tensor, segment: Segment) -> None:
    first, last = segment.seen
    target[:, first:last] += grad[:, : last - first]
    target[:, segment.start : segment.end] += grad[:, last - first :]


def _hide_later(scores: Tensor, segment: Segment) -> None:
    """Keep each position from attending to later ones of its own segment."""
    own = segment.end - segment.start
    if own > 1:
        later = torch.ones(own, own, dtype=torch.bool).triu(1)
        among = scores.view(len(scores), -1, own, scores.shape[-1])[..., scores.shape[-1] - own :]
        among.masked_fill_(later, torch.finfo(scores.dtype).min)


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
