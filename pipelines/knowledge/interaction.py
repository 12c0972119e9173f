"""How well chunks cover a query, token by token: late interaction on one bit a number.

Each token of the query is matched with the token of the chunk that is likest to it in
context. Of a chunk's token vectors only the signs are kept, 48 bytes a token at 384
numbers in place of 1,536, which costs 0.002 to 0.004 nDCG (BENCHMARKS.md); the query's
vectors stay whole.

Source:
    Khattab and Zaharia 2020, ColBERT, section 3.3, arXiv:2004.12832 (MaxSim); Charikar 2002,
    Similarity Estimation Techniques from Rounding Algorithms, section 3 (signs for cosines).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from pipelines.text import search_terms

if TYPE_CHECKING:
    from pipelines.models.embedder import Embedder

Vectors = NDArray[numpy.float32]

# What a query's function words and punctuation weigh; a word that one chunk of n holds weighs log n.
_STOP_WEIGHT = 1.5
_OTHER_WEIGHT = 0.2
_LEAST_WEIGHT = 0.05


def pack_signs(vectors: Vectors) -> bytes:
    """Return the signs of token vectors, (tokens, size), eight to a byte; size is a multiple of eight."""
    return numpy.packbits(vectors > 0, axis=1).tobytes()


def query_weights(
    query: str, tokens: Sequence[int], embedder: Embedder, *, frequency: Callable[[str], int | None], chunks: int
) -> Vectors:
    """Return how much each token of a query counts: what is rare in the collection says most.

    Args:
        query: The query.
        tokens: Its tokens.
        embedder: Whose tokens they are.
        frequency: How many chunks hold a term; None for a term that says nothing anywhere.
        chunks: How many chunks there are.

    Returns:
        Inverse document frequencies; float, (tokens,).

    Source:
        Robertson and Zaragoza 2009, The Probabilistic Relevance Framework, section 3.2.
    """
    weight: dict[int, float] = {}
    for term in dict.fromkeys(search_terms(query)):
        found = frequency(term)
        idf = _STOP_WEIGHT if found is None else rarity(found, chunks=chunks)
        for token in embedder.tokenize(term):
            weight[token] = max(idf, weight.get(token, 0.0))
    return numpy.array([weight.get(token, _OTHER_WEIGHT) for token in tokens], dtype=numpy.float32)


def rarity(found: int, *, chunks: int) -> float:
    """Return the inverse document frequency of a term that `found` of `chunks` hold."""
    return max(_LEAST_WEIGHT, math.log((chunks + 1) / (found + 0.5)))


def token_matches(query: Vectors, signs: Sequence[bytes]) -> NDArray[numpy.float32]:
    """Return how like each token of a query the likest token of each chunk is.

    Args:
        query: Token vectors; float, (tokens, size), each of length 1.
        signs: What `pack_signs` made of each chunk.

    Returns:
        From -1 to 1; float, (chunks, tokens); -1 throughout for a chunk without tokens.
    """
    size = query.shape[1]
    counts = numpy.array([len(each) * 8 // size for each in signs])
    found = numpy.full((len(signs), len(query)), -1.0, dtype=numpy.float32)
    if not counts.any():
        return found
    bits = numpy.frombuffer(b"".join(signs), dtype=numpy.uint8).reshape(-1, size // 8)
    # With signs s of length sqrt(size), cos(q, s) = (2 q·b - sum(q)) / sqrt(size) for b = (s + 1) / 2.
    products = numpy.unpackbits(bits, axis=1).astype(numpy.float32) @ query.T
    cosines = (2 * products - query.sum(axis=1)) / math.sqrt(size)
    filled = numpy.flatnonzero(counts)
    starts = (numpy.cumsum(counts) - counts)[filled]
    found[filled] = numpy.maximum.reduceat(cosines, starts, axis=0)
    return found
