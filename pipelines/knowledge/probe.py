"""The process that tries a vector index which was not closed: Chroma's reader can crash on torn files.

It is started as `python -m pipelines.knowledge.probe COLLECTION KEY EMBEDDER`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from pipelines.errors import AssistantError
from pipelines.knowledge.owned import CURRENT, OUTDATED
from pipelines.knowledge.stored import IndexVersion, StoredVectors
from pipelines.lazy import lazy_import

if TYPE_CHECKING:
    from pipelines.knowledge import chroma
else:
    chroma = lazy_import("pipelines.knowledge.chroma", extra="docs")
_SAMPLE = 64
_DAMAGED = 4


def probe(collection: Path, version: IndexVersion) -> int:
    """Return whether the index of a version is sound, and holds all that is stored.

    Of texts spread over the index, each has to have the vector that is stored and to be its own nearest.
    """
    stored = StoredVectors(collection)
    index = chroma.open_folder(collection / "chroma" / version.key, version)
    held, wanted = index.keys(), stored.texts(version.embedder)
    common = sorted(held & wanted)
    sample = common[:: max(1, len(common) // _SAMPLE)]
    found = index.vectors_of(sample)
    for text, vector in zip(*stored.vectors_of(sample, version.embedder), strict=True):
        if text not in found or not numpy.allclose(found[text], vector, atol=1e-3):
            return _DAMAGED
        [nearest] = index.nearest(vector, limit=1)
        if nearest != text and not numpy.allclose(index.vectors_of([nearest])[nearest], vector, atol=1e-3):
            return _DAMAGED
    index.close()
    return CURRENT if held == wanted else OUTDATED


if __name__ == "__main__":
    try:
        sys.exit(probe(Path(sys.argv[1]), IndexVersion(key=sys.argv[2], embedder=sys.argv[3])))
    except AssistantError as error:
        sys.exit(str(error))
