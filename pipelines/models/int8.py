"""A BERT's linear layers in 8 bits: twice the speed of bfloat16 where the processor has VNNI.

Source:
    Jacob et al. 2018, Quantization and Training of Neural Networks, section 2, arXiv:1712.05877;
    Xiao et al. 2023, SmoothQuant, section 4, arXiv:2211.10438; Dettmers et al. 2022, LLM.int8(),
    section 3.2, arXiv:2208.07339.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import torch

from pipelines.models.bert import BertEncoder, FeedForward, FloatLinear, Layer

_LEAST = 1e-4
# Inner values of a feed-forward layer that are far larger than the others, and stay as they are.
_FEW = 16
# How much larger the others may be than they were seen to be.
_MARGIN = 1.2


def is_supported() -> bool:
    """Whether this build of torch can compute so."""
    return hasattr(torch.ops.onednn, "qlinear_pointwise")


def quantize(encoder: BertEncoder, texts: Sequence[Sequence[int]]) -> None:
    """Compute the linear layers in 8 bits from now on, with the ranges that inputs have in `texts`.

    The ranges are fixed, so that a vector does not depend on what else is in its batch.
    """
    watched = [_watched(layer) for layer in encoder.layers]
    encoder.layers = watched
    encoder(texts)
    encoder.layers = [_quantized(layer) for layer in watched]


class Int8Linear:
    """A linear layer in 8 bits: one scale for each row of the weights, one for all inputs."""

    def __init__(self, linear: FloatLinear, *, low: torch.Tensor, high: torch.Tensor, is_smoothed: bool = True) -> None:
        """Round the weights.

        Args:
            linear: The layer.
            low: Smallest value of each input; float, (in,).
            high: Largest value of each input; float, (in,).
            is_smoothed: A few inputs that are far larger than the others would leave these with
                few levels; divide each input by the root of its range over that of its weights,
                which take that up.
        """
        self.dtype = linear.weight.dtype
        weight = linear.weight.float()
        smooth = torch.ones(weight.shape[1])
        if is_smoothed:
            smooth = (torch.maximum(-low, high).clamp(_LEAST) / weight.abs().amax(dim=0).clamp(_LEAST)).sqrt()
        least, most = float((low / smooth).min()), float((high / smooth).max())
        self.scale = max(most - least, _LEAST) / 255
        self.zero = round(-least / self.scale)
        self._factors = (1 / (smooth * self.scale)).to(self.dtype)
        weight = weight * smooth
        scales = weight.abs().amax(dim=1).clamp(_LEAST / 127) / 127
        packed = torch.ops.onednn.qlinear_prepack((weight / scales[:, None]).round().to(torch.int8), None)
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._weights = (self.scale, self.zero, packed, scales, zeros, linear.bias.float())

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return about the product with the weights, and the bias."""
        return self.of_rounded(self.round(hidden))

    def round(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the inputs as numbers from 0 to 255."""
        return hidden.mul(self._factors).add_(self.zero).round_().clamp_(0, 255).to(torch.uint8)

    def of_rounded(self, rounded: torch.Tensor) -> torch.Tensor:
        """Return the product for inputs that are rounded already."""
        product = torch.ops.onednn.qlinear_pointwise(rounded, *self._weights, 1.0, 0, self.dtype, "none", [], "")
        return cast(torch.Tensor, product)

    def gelu_for(self, hidden: torch.Tensor, then: Int8Linear) -> torch.Tensor:
        """Return GELU of the product, rounded for the layer that comes then."""
        rounded = self.round(hidden)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, *self._weights, then.scale, then.zero, None, "gelu", [], "none"
        )
        return cast(torch.Tensor, product)


@dataclasses.dataclass(frozen=True)
class _Int8FeedForward:
    """Both layers in 8 bits, and what passes between them too, but for a few large values."""

    up: Int8Linear
    down: Int8Linear
    few: FeedForward

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.down.of_rounded(self.up.gelu_for(hidden, self.down)).add_(self.few(hidden))


class _Watched:
    """A linear layer that remembers the range of each of its inputs."""

    def __init__(self, linear: FloatLinear) -> None:
        self.linear = linear
        self.low = torch.zeros(linear.weight.shape[1])
        self.high = torch.zeros(linear.weight.shape[1])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self.low = torch.minimum(self.low, hidden.float().amin(dim=0))
        self.high = torch.maximum(self.high, hidden.float().amax(dim=0))
        return self.linear(hidden)

    def quantized(self) -> Int8Linear:
        return Int8Linear(self.linear, low=self.low, high=self.high)


def _watched(layer: Layer) -> Layer:
    watch = {name: _Watched(cast(FloatLinear, getattr(layer, name))) for name in ("qkv", "attended")}
    inner = cast(FeedForward, layer.feed_forward)
    ends = FeedForward(*(_Watched(cast(FloatLinear, each)) for each in (inner.up, inner.down)))
    return dataclasses.replace(layer, **watch, feed_forward=ends)


def _quantized(layer: Layer) -> Layer:
    inner = cast(FeedForward, layer.feed_forward)
    return dataclasses.replace(
        layer,
        qkv=cast(_Watched, layer.qkv).quantized(),
        attended=cast(_Watched, layer.attended).quantized(),
        feed_forward=_quantized_ends(cast(_Watched, inner.up), cast(_Watched, inner.down)),
    )


def _quantized_ends(up: _Watched, down: _Watched) -> _Int8FeedForward:
    """Return a feed-forward layer in 8 bits.

    What GELU gives cannot be smoothed, because the layer before it rounds its results with one
    scale; so the inner values that reach furthest are computed apart, with their own weights.
    """
    few = down.high.topk(min(_FEW, len(down.high) // 4)).indices
    others = torch.ones_like(down.high).index_fill_(0, few, 0)
    bias = down.linear.bias
    return _Int8FeedForward(
        up.quantized(),
        Int8Linear(
            FloatLinear(down.linear.weight * others.to(bias.dtype), bias),
            low=down.low,
            high=down.high * others * _MARGIN,
            is_smoothed=False,
        ),
        FeedForward(
            FloatLinear(up.linear.weight[few].contiguous(), up.linear.bias[few]),
            FloatLinear(down.linear.weight[:, few].contiguous(), torch.zeros_like(bias)),
        ),
    )
