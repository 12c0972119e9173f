"""Tests for the embedder."""

from __future__ import annotations

import numpy

from tests.test_docs import packaged_embedder

TEXTS = [
    "A deposit is due for every rented bicycle.",
    "Helmets are free.",
    "The shop opens at nine, except on Sundays.",
]


def test_both_kinds_of_vectors_come_from_one_pass() -> None:
    """What is embedded together equals what is embedded apart."""
    embedder = packaged_embedder()
    vectors, tokens = embedder.embed_both(TEXTS)
    numpy.testing.assert_allclose(vectors, embedder.embed(TEXTS), atol=1e-5)
    for both, alone in zip(tokens, embedder.embed_tokens(TEXTS), strict=True):
        assert both.tokens == alone.tokens
        numpy.testing.assert_allclose(both.vectors, alone.vectors, atol=1e-5)


def test_its_limits_are_told() -> None:
    """Size and limit are the model's, and tokens are counted past the limit."""
    embedder = packaged_embedder()
    assert embedder.embed(TEXTS).shape == (len(TEXTS), embedder.size)
    assert embedder.max_tokens == 256
    assert embedder.has_tokens
    assert len(embedder.tokenize("bicycle " * 1_000)) == 1_000
    [cut] = embedder.embed_tokens(["bicycle " * 1_000])
    assert len(cut.tokens) == embedder.max_tokens - 2
