"""BERT's forward pass, written out for speed on a CPU.

Against the general implementation: query, key and value are one product; the linear layers
see no padding, since the tokens of all texts of a batch lie one after the other; the softmax
is taken in float32, because in bfloat16 it is several times slower for most lengths.

Source:
    Devlin et al. 2019, BERT, section 3, arXiv:1810.04805; Vaswani et al. 2017, Attention Is
    All You Need, section 3.2, arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class FloatLinear:
    """A linear layer in the type of its weights."""

    weight: torch.Tensor  # (out, in)
    bias: torch.Tensor  # (out,)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the product with the weights, and the bias."""
        return functional.linear(hidden, self.weight, self.bias)


@dataclass(frozen=True)
class FeedForward:
    """Two linear layers with GELU between them."""

    up: Linear
    down: Linear

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what the second layer gives."""
        return self.down(functional.gelu(self.up(hidden)))


@dataclass(frozen=True)
class Layer:
    """A layer of the model, as functions."""

    qkv: Linear  # query, scaled already; key; value
    attended: Linear
    after_attention: Linear
    feed_forward: Linear
    after_feed_forward: Linear


class BertEncoder:
    """A BERT that turns tokens into vectors in context."""

    def __init__(
        self, config: Mapping[str, object], weights: Mapping[str, torch.Tensor], *, dtype: torch.dtype
    ) -> None:
        """Lay out the weights.

        Args:
            config: The fields of the model's `config.json`.
            weights: By the names that transformers gives them in a `BertModel`, in float32.
            dtype: Number type of the computation.
        """
        self._dtype = dtype
        self._heads = int(str(config["num_attention_heads"]))
        self._epsilon = float(str(config["layer_norm_eps"]))
        self._words = weights["embeddings.word_embeddings.weight"].to(dtype)
        kinds = weights["embeddings.token_type_embeddings.weight"]
        self._positions = (weights["embeddings.position_embeddings.weight"] + kinds[0]).to(dtype)
        self._after_embedding = self._norm(weights, "embeddings.LayerNorm")
        count = int(str(config["num_hidden_layers"]))
        self.layers = [self._layer(weights, f"encoder.layer.{number}.") for number in range(count)]

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
        for layer in self.layers:
            hidden = layer.after_attention(layer.attended(attend(layer.qkv(hidden))).add_(hidden))
            hidden = layer.after_feed_forward(layer.feed_forward(hidden).add_(hidden))
        return hidden.float()

    def _layer(self, weights: Mapping[str, torch.Tensor], prefix: str) -> Layer:
        def linear(name: str, *, factor: float = 1.0) -> FloatLinear:
            parts = (weights[f"{prefix}{name}.{part}"] * factor for part in ("weight", "bias"))
            return FloatLinear(*(part.to(self._dtype) for part in parts))

        scale = (self.size / self._heads) ** -0.5
        parts = [
            linear("attention.self.query", factor=scale),
            *map(linear, ("attention.self.key", "attention.self.value")),
        ]
        qkv = FloatLinear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        return Layer(
            qkv=qkv,
            attended=linear("attention.output.dense"),
            after_attention=self._norm(weights, f"{prefix}attention.output.LayerNorm"),
            feed_forward=FeedForward(linear("intermediate.dense"), linear("output.dense")),
            after_feed_forward=self._norm(weights, f"{prefix}output.LayerNorm"),
        )

    def _norm(self, weights: Mapping[str, torch.Tensor], name: str) -> Linear:
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
        scores = torch.bmm(query, key.transpose(1, 2)).float()
        if self._is_padded:
            scores.view(texts, heads, longest, longest).add_(self._penalty)
        attended = torch.bmm(torch.softmax(scores, dim=-1).to(qkv.dtype), value)
        joined = attended.view(texts, heads, longest, width).transpose(1, 2).reshape(texts * longest, heads * width)
        return joined[self._at] if self._is_padded else joined
