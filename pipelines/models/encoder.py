"""The models that turn tokens into vectors, opened in what this machine computes fastest in."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from safetensors.torch import load_file
from transformers import AutoModel, PreTrainedModel

from pipelines.models import int8
from pipelines.models.bert import BertEncoder, FloatLinear, Linear
from pipelines.models.calibration import SENTENCES
from pipelines.models.hardware import fast_dtype
from pipelines.models.sentence_folder import SentenceFolder

Precision = Literal["float32", "bfloat16", "int8"]
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
        int8.quantize(encoder, encode(SENTENCES))
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
    if not int8.is_supported():
        return plain
    single = FloatLinear(torch.ones(1536, 384, dtype=dtype), torch.ones(1536, dtype=dtype))
    small = int8.Int8Linear(single, low=torch.zeros(384), high=torch.ones(384))
    hidden = torch.ones(512, 384, dtype=dtype)
    return "int8" if _seconds(small, hidden) * _WORTHWHILE < _seconds(single, hidden) else plain


def _seconds(linear: Linear, hidden: torch.Tensor) -> float:
    best = float("inf")
    for _ in range(8):
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
