"""Sentence embeddings by a transformer with mean pooling (sentence-transformers folders)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from pipelines.errors import SettingsError
from pipelines.models.hardware import fast_dtype

Vectors = NDArray[numpy.float32]
TextKind = Literal["query", "passage"]
_BATCH_TOKENS = 8_192


class TokenVectors(NamedTuple):
    """A text as its tokens, each with its vector in context; without special tokens."""

    tokens: list[int]
    vectors: Vectors  # float, (tokens, size), each of length 1


class Embedder(Protocol):
    """Turns texts into vectors of length 1."""

    @property
    def name(self) -> str:
        """Name that changes whenever the vectors would."""

    @property
    def size(self) -> int:
        """Numbers in a vector."""

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that its vector stands for, special ones counted; the rest is cut off."""

    @property
    def has_tokens(self) -> bool:
        """Whether tokens have vectors of their own; without, `embed_tokens` and `embed_both` raise."""

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1.

        Some models are trained to embed what is asked otherwise than what is searched: `kind`
        says which of both the texts are.
        """

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the tokens of each text with their vectors."""

    def embed_both(self, texts: Sequence[str]) -> tuple[Vectors, list[TokenVectors]]:
        """Return what `embed` and `embed_tokens` do, for passages, at the cost of one of them."""

    def tokenize(self, text: str) -> list[int]:
        """Return all tokens of a text, without special ones."""


class LocalEmbedder:
    """An `Embedder` over a sentence-transformers folder with mean pooling.

    Source:
        Reimers and Gurevych 2019, Sentence-BERT, section 3, arXiv:1908.10084.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        self._check_pooling(folder)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
            self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=fast_dtype())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{folder} does not hold an embedding model: {error}") from error
        self._model.eval()
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        weights = (folder / "model.safetensors").stat()
        digest = hashlib.sha256(f"{weights.st_size}:{(folder / 'config.json').read_text()}".encode())
        self._name = f"{name}-{digest.hexdigest()[:8]}"
        limits = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
        self._max_tokens = int(limits["max_seq_length"])

    @property
    def name(self) -> str:
        """Name that changes whenever the vectors would."""
        return self._name

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self._model.config.hidden_size)

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that its vector stands for, special ones counted; the rest is cut off."""
        return self._max_tokens

    @property
    def has_tokens(self) -> bool:
        """Tokens have vectors of their own."""
        return True

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1."""
        del kind  # this model was trained to embed both alike
        vectors = self._no_vectors(len(texts))
        for indices, hidden, mask in self._run(self._encode(texts)):
            vectors[indices] = _pooled(hidden, mask)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the tokens of each text with their vectors."""
        return self.embed_both(texts)[1]

    def embed_both(self, texts: Sequence[str]) -> tuple[Vectors, list[TokenVectors]]:
        """Return what `embed` and `embed_tokens` do, at the cost of one of them."""
        encoded = self._encode(texts)
        vectors = self._no_vectors(len(texts))
        found: dict[int, TokenVectors] = {}
        for indices, hidden, mask in self._run(encoded):
            vectors[indices] = _pooled(hidden, mask)
            unit = torch.nn.functional.normalize(hidden, dim=-1).numpy()
            for row, index in enumerate(indices):
                inner = slice(1, len(encoded[index]) - 1)  # between the tokens that begin and end a text
                found[index] = TokenVectors(encoded[index][inner], unit[row, inner])
        return vectors, [found[index] for index in range(len(texts))]

    def tokenize(self, text: str) -> list[int]:
        """Return all tokens of a text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _no_vectors(self, count: int) -> Vectors:
        return numpy.zeros((count, self.size), dtype=numpy.float32)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text between those that begin and end it, cut to the limit."""
        whole = (encoded.ids for encoded in self._tokenizer.encode_batch_fast(list(texts)))
        return [ids if len(ids) <= self._max_tokens else [*ids[: self._max_tokens - 1], ids[-1]] for ids in whole]

    @torch.inference_mode()
    def _run(self, encoded: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Yield, for batches of texts of like length, their indices, last layer and mask."""
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        batch: list[int] = []
        for index in order:
            if batch and len(encoded[index]) * (len(batch) + 1) > _BATCH_TOKENS:
                yield batch, *self._run_batch([encoded[i] for i in batch])
                batch = []
            batch.append(index)
        if batch:
            yield batch, *self._run_batch([encoded[i] for i in batch])

    def _run_batch(self, encoded: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, encoded))
        tokens = torch.zeros(len(encoded), longest, dtype=torch.long)
        mask = torch.zeros(len(encoded), longest, dtype=torch.long)
        for row, sequence in enumerate(encoded):
            tokens[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        return self._model(input_ids=tokens, attention_mask=mask).last_hidden_state.float(), mask

    @staticmethod
    def _check_pooling(folder: Path) -> None:
        try:
            pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{folder} is not a sentence-transformers folder: {error}") from error
        if not pooling.get("pooling_mode_mean_tokens"):
            raise SettingsError(
                f"the model in {folder} does not pool by the mean of its tokens, which is all that is supported"
            )


def _pooled(hidden: torch.Tensor, mask: torch.Tensor) -> Vectors:
    """Return the mean over the tokens of each text, of length 1."""
    weights = mask[..., None].float()
    means = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(means, dim=-1).numpy()
