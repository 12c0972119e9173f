"""Turns texts into vectors: the protocol, and models in folders of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from pipelines.errors import SettingsError
from pipelines.models.encoder import Precision, open_encoder
from pipelines.models.sentence_folder import read_sentence_folder, weights_hash

Vectors = NDArray[numpy.float32]
TextKind = Literal["query", "passage"]
# Larger batches leave the processor's cache; smaller ones leave its units idle.
_BATCH_TOKENS = 1_024


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

    def embed_both(self, texts: Sequence[str], *, kind: TextKind = "passage") -> tuple[Vectors, list[TokenVectors]]:
        """Return what `embed` returns and the vectors of the tokens with it, in one pass."""

    def tokenize(self, text: str) -> list[int]:
        """Return all tokens of a text, without special ones."""


class LocalEmbedder:
    """An `Embedder` over a sentence-transformers folder.

    Source:
        Reimers and Gurevych 2019, Sentence-BERT, section 3, arXiv:1908.10084.
    """

    def __init__(
        self, folder: Path, *, name: str, precision: Precision | None = None, remembered: Path | None = None
    ) -> None:
        """Load the model.

        Args:
            folder: Sentence-transformers folder, pooling by mean or by the first token.
            name: What its own name begins with.
            precision: Of the computation; None takes what is fastest on this machine.
            remembered: File that remembers hashes of weights.

        Raises:
            SettingsError: The folder does not hold such a model.
        """
        self._folder = read_sentence_folder(folder)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
            self._encoder = open_encoder(self._folder, encode=self._encode, precision=precision)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise SettingsError(f"{folder} does not hold an embedding model: {error}") from error
        self._name = f"{name}-{weights_hash(folder, remembered=remembered)}"

    @property
    def name(self) -> str:
        """Name that changes whenever the vectors would, but for the rounding of the computation."""
        return self._name

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        return self._encoder.size

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that its vector stands for, special ones counted; the rest is cut off."""
        return self._folder.max_tokens

    @property
    def has_tokens(self) -> bool:
        """Tokens have vectors of their own."""
        return True

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1."""
        prefix = self._prefix(kind)
        vectors = numpy.zeros((len(texts), self.size), dtype=numpy.float32)
        for index, hidden in self._run(self._encode([prefix + text for text in texts])):
            vectors[index] = self._pooled(hidden)
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the tokens of each text with their vectors."""
        return self._embed_tokens(self._encode(texts), prefix=0)[1]

    def embed_both(self, texts: Sequence[str], *, kind: TextKind = "passage") -> tuple[Vectors, list[TokenVectors]]:
        """Return the vectors of texts and those of their tokens, in one pass."""
        prefix = self._prefix(kind)
        return self._embed_tokens(self._encode([prefix + text for text in texts]), prefix=len(self.tokenize(prefix)))

    def tokenize(self, text: str) -> list[int]:
        """Return all tokens of a text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _prefix(self, kind: TextKind) -> str:
        return self._folder.query_prefix if kind == "query" else self._folder.passage_prefix

    def _embed_tokens(self, encoded: Sequence[list[int]], *, prefix: int) -> tuple[Vectors, list[TokenVectors]]:
        vectors = numpy.zeros((len(encoded), self.size), dtype=numpy.float32)
        found: dict[int, TokenVectors] = {}
        for index, hidden in self._run(encoded):
            vectors[index] = self._pooled(hidden)
            inner = slice(1 + prefix, len(hidden) - 1)  # between the tokens that begin and end a text
            unit = torch.nn.functional.normalize(hidden[inner], dim=-1).numpy()
            found[index] = TokenVectors(encoded[index][inner], unit)
        return vectors, [found[index] for index in range(len(encoded))]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text between those that begin and end it, cut to the limit."""
        whole = (encoded.ids for encoded in self._tokenizer.encode_batch_fast(list(texts)))
        return [ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]] for ids in whole]

    def _run(self, encoded: Sequence[Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the index and the tokens' vectors, (tokens, size), of each text, not in order."""
        for batch in _batches([len(each) for each in encoded]):
            hidden = self._encoder([encoded[index] for index in batch])
            yield from zip(batch, torch.split(hidden, [len(encoded[index]) for index in batch]), strict=True)

    def _pooled(self, hidden: torch.Tensor) -> Vectors:
        pooled = hidden.mean(dim=0) if self._folder.pooling == "mean" else hidden[0]
        vector: Vectors = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return vector


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices of texts of like length, as many as fit a batch."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and lengths[index] * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
