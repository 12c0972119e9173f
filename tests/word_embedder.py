"""An embedder of single words that needs no model, and a process that adds documents with it, to be killed."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy

from pipelines.knowledge.add import ADD_DOCUMENTS, AddDocumentsParams
from pipelines.lazy import lazy_import
from pipelines.models.catalog import DEFAULT_EMBEDDER
from pipelines.models.provider import Models
from pipelines.operation import Context, open_context
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.models import embedder
    from pipelines.models.embedder import Embedder, TokenVectors, Vectors
else:
    embedder = lazy_import("pipelines.models.embedder", extra="train")  # it brings torch
chroma = lazy_import("pipelines.knowledge.chroma", extra="docs")
READY = "ready"


class WordEmbedder:
    """Adds up a fixed random direction for each word, so texts with the same words are near each other."""

    has_tokens = False
    max_tokens = 1_000

    def __init__(self, name: str = "words-1", *, size: int = 24, before: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.size = size
        self.embedded = 0
        self._before = before

    def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage") -> Vectors:
        """Return the normalized sums."""
        del kind
        self._before()
        self.embedded += len(texts)
        sums = [sum(map(self._direction, text.lower().split()), numpy.full(self.size, 1e-6)) for text in texts]
        vectors = numpy.asarray(sums, dtype=numpy.float32).reshape(-1, self.size)
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return nothing: words are not in a context."""
        return [embedder.TokenVectors([], numpy.zeros((0, self.size), dtype=numpy.float32)) for _ in texts]

    def embed_both(
        self, texts: Sequence[str], *, kind: Literal["query", "passage"] = "passage"
    ) -> tuple[Vectors, list[TokenVectors]]:
        """Return the vectors of texts, and nothing of their tokens."""
        return self.embed(texts, kind=kind), self.embed_tokens(texts)

    def tokenize(self, text: str) -> list[int]:
        """Return a number for each word."""
        return [len(word) for word in text.split()]

    def _direction(self, word: str) -> numpy.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.name}{word}".encode()).digest()[:8], "big")
        return numpy.random.default_rng(seed).standard_normal(self.size)


class WordModels(Models):
    """Models whose embedders are those of the test, by name; the first one is the default."""

    def __init__(self, folder: Path, **embedders: WordEmbedder) -> None:
        super().__init__(Settings(), calls=folder / "calls.sqlite")
        self._words = embedders

    def open_embedder(self, name: str = DEFAULT_EMBEDDER) -> Embedder:
        """Return an embedder of the test."""
        found: Embedder = self._words.get(name) or next(iter(self._words.values()))  # type: ignore[assignment]
        return found


def with_words(context: Context, **embedders: WordEmbedder) -> Context:
    """Return a context like `context`, but with these embedders."""
    return dataclasses.replace(context, models=WordModels(context.workspace.root, **embedders))


def main(workspace: Path, folder: Path) -> None:
    """Add a folder as soon as everything is imported, and say so before."""
    context = with_words(open_context(workspace), words=WordEmbedder())
    assert chroma.open_folder
    print(READY, flush=True)  # noqa: T201 - it is how the parent learns of it
    ADD_DOCUMENTS.start(AddDocumentsParams(folder=folder), context)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
