"""Vectors in Chroma: the only file that knows chromadb.

Chroma is given our own vectors under the hashes of their texts, and nothing else: it never loads an
embedding model, and no text reaches a server. Its embedding functions are never built from what a
collection says of itself (CVE-2026-45829), because none is ever asked for.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import chromadb
import chromadb.config
import httpx
import numpy
from chromadb.api.client import Client
from chromadb.api.collection_configuration import CreateHNSWConfiguration
from chromadb.errors import ChromaError, NotFoundError

from pipelines.errors import DataError
from pipelines.knowledge.stored import IndexVersion, StoredVectors, Vectors

# Chroma's own advice is 50 to 250 a call; SQLite's limit on variables would allow 5,461.
_BATCH = 250
# Chroma's defaults (16, 100, 100) found 98.6% of the nearest 50 of 10,000, and 44% for one query; these, 99.9% and 88%.
_HNSW: CreateHNSWConfiguration = {"space": "cosine", "max_neighbors": 32, "ef_construction": 200, "ef_search": 200}
_NAME = "assistant-{}"  # others may keep collections on the same server
_AGAIN = "Make it again with: assistant docs reindex"


class ChromaIndex:
    """One Chroma collection: vectors of texts, under their keys."""

    def __init__(self, client: Client, version: IndexVersion, *, where: str) -> None:
        self._client = client
        self._where = where
        self._embedder = version.embedder
        with self._explaining():
            self._collection = client.get_or_create_collection(
                _NAME.format(version.key),
                embedding_function=None,
                configuration={"hnsw": _HNSW},
                metadata={"embedder": version.embedder},
            )
        found = (self._collection.metadata or {}).get("embedder")
        if found != version.embedder:
            raise DataError(f"the vectors in {where} were made by {found}, not by {version.embedder}", hint=_AGAIN)

    def close(self) -> None:
        """Let go of all files."""
        self._client.close()

    @property
    def stamp(self) -> str:
        """What the vectors were brought to at last, as `StoredVectors.stamp` names it."""
        return str((self._collection.metadata or {}).get("stamp", ""))

    def write_stamp(self, stamp: str) -> None:
        """Take note of what the vectors were brought to."""
        with self._explaining():
            self._collection.modify(metadata={"embedder": self._embedder, "stamp": stamp})

    def count(self) -> int:
        """Return how many vectors there are."""
        with self._explaining():
            return int(self._collection.count())

    def keys(self) -> set[str]:
        """Return the keys of all texts."""
        with self._explaining():
            return set(self._collection.get(include=[])["ids"])

    def vectors_of(self, keys: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors under `keys`."""
        with self._explaining():
            found = self._collection.get(ids=list(keys), include=["embeddings"])
        return dict(zip(found["ids"], numpy.asarray(found["embeddings"], dtype=numpy.float32), strict=True))

    def upsert(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Store vectors, (keys, size), under `keys`."""
        with self._explaining():
            self._collection.upsert(ids=list(keys), embeddings=vectors)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete the vectors under `keys`."""
        with self._explaining():
            for start in range(0, len(keys), _BATCH):
                self._collection.delete(ids=list(keys[start : start + _BATCH]))

    def nearest(self, vector: Vectors, *, limit: int) -> list[str]:
        """Return the keys of the vectors nearest to one of shape (size,), nearest first."""
        with self._explaining():
            count = self._collection.count()
            if not count:
                return []
            found = self._collection.query(query_embeddings=vector[None], n_results=min(limit, count), include=[])
        return list(found["ids"][0])

    def bring_to(self, stored: StoredVectors) -> Iterator[tuple[int, int]]:
        """Make this hold what is stored, and nothing else; yield how many of how many are written."""
        wanted, held = stored.texts(self._embedder), self.keys()
        self.delete(sorted(held - wanted))
        lacking = sorted(wanted - held)
        for start in range(0, len(lacking), _BATCH):
            self.upsert(*stored.vectors_of(lacking[start : start + _BATCH], self._embedder))
            yield min(start + _BATCH, len(lacking)), len(lacking)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn what Chroma raises into our own error."""
        try:
            yield
        except NotFoundError as error:
            raise DataError(f"the vector index in {self._where} was removed meanwhile", hint=_AGAIN) from error
        except (ChromaError, ValueError, OSError, httpx.HTTPError) as error:
            raise DataError(f"the vector index in {self._where} failed: {error}", hint=_AGAIN) from error


def open_folder(folder: Path, version: IndexVersion) -> ChromaIndex:
    """Open the index in `folder`, making it if there is none; only one process may."""
    try:
        client = cast(Client, chromadb.PersistentClient(path=str(folder), settings=_silent()))
    except (ChromaError, ValueError, OSError) as error:
        raise DataError(f"the vector index {folder} cannot be opened: {error}", path=folder) from error
    try:
        return ChromaIndex(client, version, where=str(folder))
    except DataError:
        client.close()
        raise


def open_server(url: str, version: IndexVersion) -> ChromaIndex:
    """Open the index on the Chroma server at `url`, making it if there is none.

    Raises:
        DataError: Nothing answers there, or no Chroma server.
    """
    return ChromaIndex(_connect(url), version, where=url)


def drop_from_server(url: str, version: IndexVersion) -> None:
    """Delete the index of `version` from the Chroma server at `url`."""
    with contextlib.suppress(NotFoundError):
        _connect(url).delete_collection(_NAME.format(version.key))


@functools.cache
def _connect(url: str) -> Client:
    try:
        client = chromadb.HttpClient(host=url, ssl=url.startswith("https://"), settings=_silent())
    except (ChromaError, ValueError, OSError, httpx.HTTPError) as error:
        raise DataError(
            f"no Chroma server answers at {url}: {error}",
            hint="Start it (chroma run), correct ASSISTANT_CHROMA_URL, or unset it to keep the index in the workspace.",
        ) from error
    return cast(Client, client)


def _silent() -> chromadb.config.Settings:
    return chromadb.config.Settings(anonymized_telemetry=False)
