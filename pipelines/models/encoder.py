"""BERT's forward pass, written out for speed on a CPU.

Against the general implementation: query, key and value are one product; the linear layers
see no padding, since texts of like length share a batch and their tokens lie one after the
other; weights are laid out once for the processor; the softmax is taken in float32, because
in bfloat16 it is several times slower for most lengths.

Source:
    Devlin et al. 2019, BERT, section 3, arXiv:1810.04805; Vaswani et al. 2017, Attention Is
    All You Need, section 3.2, arXiv:1706.03762.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel

from pipelines.models.calibration import SENTENCES
from pipelines.models.hardware import fast_dtype
from pipelines.models.sentence_folder import SentenceFolder

Precision = Literal["float32", "bfloat16", "int8"]
Linear = Callable[[torch.Tensor], torch.Tensor]
Norm = Callable[[torch.Tensor], torch.Tensor]
# The fourth stays as it is: what it takes in has few large values, which 8 bits render badly.
_QUANTIZED = ("qkv", "attended", "up")
_WORTHWHILE = 1.2


class Encoder(Protocol):
    """Turns tokens into vectors in context."""

    @property
    def size(self) -> int:
        """Numbers in a vector."""

    def __call__(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the vectors of all tokens of some texts, one after the other; float, (tokens, size)."""


def open_encoder(
    folder: SentenceFolder,
    *,
    encode: Callable[[Sequence[str]], list[list[int]]],
    precision: Precision | None = None,
) -> Encoder:
    """Load the model of a folder; a BERT by the code here, others by transformers.

    Args:
        folder: Where the model is.
        encode: Turns texts into its tokens.
        precision: Of the computation; None takes what is fastest on this machine.
    """
    chosen = precision or fast_precision()
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": fast_dtype()}[chosen]
    weights = folder.path / "model.safetensors"
    if not (_is_plain_bert(folder.config) and weights.is_file()):
        return GeneralEncoder(AutoModel.from_pretrained(folder.path, local_files_only=True, dtype=dtype))
    tensors = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(weights).items()}
    encoder = BertEncoder(folder.config, tensors, dtype=dtype)
    if chosen == "int8":
        encoder.quantize(encode(SENTENCES))
    return encoder


def _is_plain_bert(config: Mapping[str, object]) -> bool:
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


@functools.cache
def fast_precision() -> Precision:
    """Return what matrix products are fastest in; 8 bits where they win clearly."""
    dtype = fast_dtype()
    plain: Precision = "bfloat16" if dtype is torch.bfloat16 else "float32"
    if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return plain
    weight, bias, hidden = torch.ones(1536, 384), torch.ones(1536), torch.ones(512, 384, dtype=dtype)
    single = FloatLinear(weight.to(dtype), bias.to(dtype))
    small = Int8Linear(single.weight, single.bias, low=torch.zeros(384), high=torch.ones(384))
    return "int8" if _seconds(small, hidden) * _WORTHWHILE < _seconds(single, hidden) else plain


def _seconds(linear: Linear, hidden: torch.Tensor) -> float:
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        linear(hidden)
        best = min(best, time.perf_counter() - started)
    return best


class GeneralEncoder:
    """Any model that transformers knows."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self._model.config.hidden_size)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the vectors of all tokens of some texts, one after the other; float, (tokens, size)."""
        rows = [torch.tensor(text) for text in texts]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
        found: torch.Tensor = hidden[mask.bool()].float()
        return found


@dataclass
class _Layer:
    qkv: Linear
    attended: Linear
    after_attention: Norm
    up: Linear
    down: Linear
    after_feed_forward: Norm


class BertEncoder:
    """A BERT that turns tokens into vectors in context."""

    def __init__(
        self, config: Mapping[str, object], weights: Mapping[str, torch.Tensor], *, dtype: torch.dtype
    ) -> None:
        """Lay out the weights.

        Args:
            config: The fields of the model's `config.json`.
            weights: By the names that transformers gives them in a `BertModel`.
            dtype: Number type of the computation.
        """
        self._dtype = dtype
        self._heads = int(str(config["num_attention_heads"]))
        self._epsilon = float(str(config["layer_norm_eps"]))
        self._words = weights["embeddings.word_embeddings.weight"].to(dtype)
        kinds = weights["embeddings.token_type_embeddings.weight"]
        self._positions = (weights["embeddings.position_embeddings.weight"] + kinds[0]).to(dtype)
        self._after_embedding = self._norm(weights, "embeddings.LayerNorm")
        self._layers = [self._layer(weights, number) for number in range(int(str(config["num_hidden_layers"])))]

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self._words.shape[1])

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the vectors of all tokens of some texts, one after the other; float, (tokens, size)."""
        lengths = [len(text) for text in texts]
        places = torch.cat([torch.arange(length) for length in lengths])
        tokens = torch.tensor([token for text in texts for token in text])
        hidden = self._after_embedding(self._words[tokens] + self._positions[places])
        attend = _Attention(lengths, heads=self._heads)
        for layer in self._layers:
            hidden = layer.after_attention(layer.attended(attend(layer.qkv(hidden))).add_(hidden))
            inner = functional.gelu(layer.up(hidden))
            hidden = layer.after_feed_forward(layer.down(inner).add_(hidden))
        return hidden.float()

    def quantize(self, texts: Sequence[Sequence[int]]) -> None:
        """Compute the linear layers in 8 bits from now on, with the ranges that inputs have in `texts`."""
        seen = [{name: _Ranged(getattr(layer, name)) for name in _QUANTIZED} for layer in self._layers]
        for layer, watched in zip(self._layers, seen, strict=True):
            vars(layer).update(watched)
        self(texts)
        for layer, watched in zip(self._layers, seen, strict=True):
            vars(layer).update({name: ranged.quantized() for name, ranged in watched.items()})

    def _layer(self, weights: Mapping[str, torch.Tensor], number: int) -> _Layer:
        def linear(*names: str) -> Linear:
            prefix = f"encoder.layer.{number}."
            parts = [(weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]) for name in names]
            weight, bias = (torch.cat(part).to(self._dtype) for part in zip(*parts, strict=True))
            return FloatLinear(weight, bias)

        prefix = f"encoder.layer.{number}."
        return _Layer(
            qkv=linear(*(f"attention.self.{name}" for name in ("query", "key", "value"))),
            attended=linear("attention.output.dense"),
            after_attention=self._norm(weights, f"{prefix}attention.output.LayerNorm"),
            up=linear("intermediate.dense"),
            down=linear("output.dense"),
            after_feed_forward=self._norm(weights, f"{prefix}output.LayerNorm"),
        )

    def _norm(self, weights: Mapping[str, torch.Tensor], name: str) -> Norm:
        weight, bias = (weights[f"{name}.{part}"].to(self._dtype) for part in ("weight", "bias"))
        return lambda hidden: functional.layer_norm(hidden, weight.shape, weight, bias, self._epsilon)


class _Attention:
    """Attention among the tokens of each text, for texts of these lengths.

    Only here are texts padded to the longest.
    """

    def __init__(self, lengths: Sequence[int], *, heads: int) -> None:
        self._heads = heads
        self._texts, self._longest = len(lengths), max(lengths)
        self._is_padded = min(lengths) < self._longest
        self._is_text = torch.arange(self._longest) < torch.tensor(lengths)[:, None]
        self._at = self._is_text.flatten().nonzero()[:, 0]
        self._penalty = torch.zeros(self._texts, 1, 1, self._longest).masked_fill(
            ~self._is_text[:, None, None], float("-inf")
        )

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return what the tokens attend to, (tokens, size), for their (tokens, 3 * size)."""
        texts, longest, heads = self._texts, self._longest, self._heads
        if self._is_padded:
            qkv = qkv.new_zeros(texts * longest, qkv.shape[1]).index_copy_(0, self._at, qkv)
        width = qkv.shape[1] // (3 * heads)
        parts = qkv.view(texts, longest, 3, heads, width).permute(2, 0, 3, 1, 4)
        query, key, value = parts.contiguous().view(3, texts * heads, longest, width)
        scores = torch.bmm(query, key.transpose(1, 2)).float().mul_(width**-0.5)
        if self._is_padded:
            scores.view(texts, heads, longest, longest).add_(self._penalty)
        attended = torch.bmm(torch.softmax(scores, dim=-1).to(qkv.dtype), value)
        joined = attended.view(texts, heads, longest, width).transpose(1, 2).reshape(texts * longest, heads * width)
        return joined[self._at] if self._is_padded else joined


class FloatLinear:
    """A linear layer in the type of its weights."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the product with the weights, and the bias."""
        return functional.linear(hidden, self.weight, self.bias)


class _Ranged:
    """A linear layer that remembers the range of each of its inputs."""

    def __init__(self, inner: FloatLinear) -> None:
        self._inner = inner
        self._low = torch.zeros(inner.weight.shape[1])
        self._high = torch.zeros(inner.weight.shape[1])

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self._low = torch.minimum(self._low, hidden.float().amin(dim=0))
        self._high = torch.maximum(self._high, hidden.float().amax(dim=0))
        return self._inner(hidden)

    def quantized(self) -> Int8Linear:
        """Return the layer in 8 bits."""
        return Int8Linear(self._inner.weight, self._inner.bias, low=self._low, high=self._high)


class Int8Linear:
    """A linear layer in 8 bits: one scale for each row of the weights, one for all inputs.

    A few inputs are far larger than the others, and would leave these with few levels; each
    input is divided by the root of its range over that of its weights, which take that up.

    Source:
        Jacob et al. 2018, section 2, arXiv:1712.05877; Xiao et al. 2023, SmoothQuant, section 4,
        arXiv:2211.10438.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, low: torch.Tensor, high: torch.Tensor) -> None:
        """Round the weights; `low` and `high`, (in,), is the range of each input."""
        self._dtype = weight.dtype
        weight = weight.float()
        largest = torch.maximum(-low, high).clamp(min=1e-4)
        smooth = (largest / weight.abs().amax(dim=0).clamp(min=1e-4)).sqrt()
        least, most = float((low / smooth).min()), float((high / smooth).max())
        self._scale = (most - least) / 255
        self._zero = round(-least / self._scale)
        self._factors = (1 / (smooth * self._scale)).to(self._dtype)
        weight = weight * smooth
        self._scales = weight.abs().amax(dim=1) / 127
        rounded = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(rounded), dtype=torch.int32)
        self._bias = bias.float()

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return about the product with the weights, and the bias."""
        rounded = hidden.mul(self._factors).add_(self._zero).round_().clamp_(0, 255).to(torch.uint8)
        scales = (self._scale, self._zero, self._weight, self._scales, self._zeros, self._bias)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, *scales, 1.0, 0, self._dtype, "none", [], ""
        )
        return product
