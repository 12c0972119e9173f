"""Sentence embeddings by a transformer with mean pooling (sentence-transformers folders)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from pipelines.errors import SettingsError
from pipelines.models.hardware import fast_dtype

Vectors = NDArray[numpy.float32]
_BATCH_TOKENS = 8_192


class Embedder(Protocol):
    """Turns texts into vectors of length 1."""

    @property
    def name(self) -> str:
        """Name that changes whenever the vectors would."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1."""


class LocalEmbedder:
    """An `Embedder` over a sentence-transformers folder with mean pooling.

    Source:
        Reimers and Gurevych 2019, Sentence-BERT, section 3, arXiv:1908.10084.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        self._check_pooling(folder)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=fast_dtype())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{folder} does not hold an embedding model: {error}") from error
        self._model.eval()
        weights = (folder / "model.safetensors").stat()
        digest = hashlib.sha256(f"{weights.st_size}:{(folder / 'config.json').read_text()}".encode())
        self._name = f"{name}-{digest.hexdigest()[:8]}"
        limits = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
        self._max_tokens = int(limits["max_seq_length"])

    @property
    def name(self) -> str:
        """Name that changes whenever the vectors would."""
        return self._name

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1."""
        encoded = [
            self._tokenizer(text, truncation=True, max_length=self._max_tokens, split_special_tokens=True).input_ids
            for text in texts
        ]
        vectors = numpy.zeros((len(texts), int(self._model.config.hidden_size)), dtype=numpy.float32)
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
        batch: list[int] = []
        for index in order:
            if batch and len(encoded[index]) * (len(batch) + 1) > _BATCH_TOKENS:
                vectors[batch] = self._embed_batch([encoded[i] for i in batch])
                batch = []
            batch.append(index)
        if batch:
            vectors[batch] = self._embed_batch([encoded[i] for i in batch])
        return vectors

    def _embed_batch(self, encoded: Sequence[Sequence[int]]) -> Vectors:
        longest = max(map(len, encoded))
        tokens = torch.zeros(len(encoded), longest, dtype=torch.long)
        mask = torch.zeros(len(encoded), longest, dtype=torch.long)
        for row, sequence in enumerate(encoded):
            tokens[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
        weights = mask[..., None].float()
        pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return torch.nn.functional.normalize(pooled, dim=-1).numpy()

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
