"""Vectors from an OpenAI-compatible endpoint (`/v1/embeddings`), where one was set.

Without the setting no text of a document leaves the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Sequence

import numpy

from pipelines.errors import LLMOutputError, SettingsError
from pipelines.models.embedder import TextKind, TokenVectors, Vectors
from pipelines.models.transport import Failure, Transport
from pipelines.settings import Endpoint

_BATCH = 64  # texts of one call
_CONCURRENCY = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
# Nothing tells the limit of a model behind an endpoint; this one is kept by all that are in use.
_MAX_TOKENS = 512
# About what common vocabularies make of a text: Chinese characters, and at most four letters of a word.
_PIECE = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,4}|[^\w\s]"
)


class RemoteEmbedder:
    """An `Embedder` behind an endpoint."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float, retries: int) -> None:
        """Remember the endpoint; nothing is sent yet.

        Args:
            endpoint: Where texts go, with the key that was given for it.
            timeout_s: Longest wait for one answer.
            retries: Attempts after the first.
        """
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._retries = retries
        self._size = 0

    @property
    def name(self) -> str:
        """Name that changes with the address and the model; what the endpoint changes cannot be seen."""
        where = hashlib.sha256(f"{self._endpoint.url} {self._endpoint.model}".encode()).hexdigest()
        return f"{self._endpoint.model}-{where[:8]}"

    @property
    def size(self) -> int:
        """Numbers in a vector; the endpoint is asked once."""
        if not self._size:
            self.embed(["size"])
        return self._size

    @property
    def max_tokens(self) -> int:
        """Tokens, as `tokenize` counts them, that are surely not cut off."""
        return _MAX_TOKENS

    @property
    def has_tokens(self) -> bool:
        """An endpoint gives no vectors of tokens."""
        return False

    def embed(self, texts: Sequence[str], *, kind: TextKind = "passage") -> Vectors:
        """Return one vector per text; float, (texts, size), each of length 1.

        Raises:
            LLMError: The endpoint did not answer, or with something else.
        """
        del kind  # the protocol has no word for it
        if not texts:
            return numpy.zeros((0, self.size), dtype=numpy.float32)
        vectors = asyncio.run(self._embed_all(texts))
        self._size = vectors.shape[1]
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Raise an error: an endpoint gives no vectors of tokens."""
        raise SettingsError(
            f"{self._endpoint.url} gives no vectors of single tokens",
            hint="Use a local embedder for this: unset ASSISTANT_EMBEDDER_URL.",
        )

    def embed_both(self, texts: Sequence[str], *, kind: TextKind = "passage") -> tuple[Vectors, list[TokenVectors]]:
        """Raise an error: an endpoint gives no vectors of tokens."""
        return self.embed([], kind=kind), self.embed_tokens(texts)

    def tokenize(self, text: str) -> list[int]:
        """Return about as many tokens as the endpoint's model makes of a text."""
        return [zlib.crc32(piece.encode()) for piece in _PIECE.findall(text)]

    async def _embed_all(self, texts: Sequence[str]) -> Vectors:
        starts = range(0, len(texts), _BATCH)
        free = asyncio.Semaphore(_CONCURRENCY)
        transport = Transport(
            self._endpoint, timeout_s=self._timeout_s, connections=_CONCURRENCY, role="embedder", route="embeddings"
        )
        async with transport:
            parts = await asyncio.gather(
                *(self._embed_batch(texts[start : start + _BATCH], transport, free) for start in starts)
            )
        if len({part.shape[1] for part in parts}) > 1:
            raise self._odd("vectors of several sizes")
        return numpy.concatenate(parts)

    async def _embed_batch(self, texts: Sequence[str], transport: Transport, free: asyncio.Semaphore) -> Vectors:
        # An empty text is refused by many endpoints.
        body = {"model": self._endpoint.model, "input": [text or " " for text in texts], "encoding_format": "float"}
        async with free:
            for attempt in itertools.count():
                said = await transport.send(body)
                if not isinstance(said, Failure):
                    return self._read(said, len(texts))
                if not said.is_passing or attempt >= self._retries:
                    raise said.error
                wait_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S)
                await asyncio.sleep(max(wait_s, said.retry_after_s or 0.0))
        raise AssertionError("the loop ends by itself")

    def _read(self, data: bytes, count: int) -> Vectors:
        try:
            lines = sorted(json.loads(data)["data"], key=lambda line: int(line["index"]))
            vectors = numpy.array([line["embedding"] for line in lines], dtype=numpy.float32)
            if [line["index"] for line in lines] != list(range(count)) or vectors.ndim != 2:
                raise ValueError("not one vector per text")
        except (ValueError, KeyError, TypeError) as error:
            raise self._odd(str(error)) from error
        lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
        if not (numpy.isfinite(lengths).all() and (lengths > 0).all()):
            raise self._odd("vectors without a direction")
        normalized: Vectors = vectors / lengths
        return normalized

    def _odd(self, what: str) -> LLMOutputError:
        return LLMOutputError(
            f"{self._endpoint.url} answered, but not with an embedding for each text: {what}",
            raw=what,
            endpoint=self._endpoint.url,
            model=self._endpoint.model,
            hint="Does ASSISTANT_EMBEDDER_MODEL name a model for embeddings at that endpoint?",
        )
