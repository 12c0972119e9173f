"""A vector index on a Chroma server: its processes share one index, and the server owns the files."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipelines.errors import DataError, SettingsError
from pipelines.knowledge.stored import IndexVersion, StoredVectors, Vectors
from pipelines.lazy import lazy_import
from pipelines.operation import Context

if TYPE_CHECKING:
    from pipelines.knowledge import chroma
else:
    chroma = lazy_import("pipelines.knowledge.chroma", extra="docs")


class ServedIndex:
    """The index of one version on the server at `url`."""

    def __init__(self, url: str, version: IndexVersion) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError(
                f"chroma_url must begin with http:// or https://, got {url!r}", hint="Set ASSISTANT_CHROMA_URL."
            )
        self._url = url.rstrip("/")
        self._version = version

    def nearest(self, vector: Vectors, *, limit: int, stamp: str) -> list[str] | None:
        """Return the keys of the nearest texts, best first; None where the index does not hold what `stamp` names."""
        if self._index.stamp != stamp:
            del self._index  # its stamp is as old as our look at it
        if self._index.stamp != stamp:
            return None
        try:
            return self._index.nearest(vector, limit=limit)
        except DataError:
            del self._index  # it may have been removed and made again
            raise

    def fill(self, stored: StoredVectors, context: Context) -> bool:
        """Make the index hold what is stored; it is always free for that."""
        stamp = stored.stamp(self._version.embedder)
        if self._index.stamp == stamp and self._index.count() == stored.count(self._version.embedder):
            return True
        for done, total in self._index.bring_to(stored):
            context.progress("filling the vector index", done, total)
        self._index.write_stamp(stamp)
        return True

    def drop(self) -> bool:
        """Remove the index; it is always free for that."""
        chroma.drop_from_server(self._url, self._version)
        return True

    def holder(self) -> str:
        """Return who has the index open."""
        return self._url

    @functools.cached_property
    def _index(self) -> chroma.ChromaIndex:
        return chroma.open_server(self._url, self._version)
