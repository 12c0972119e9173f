"""Tests for vectors from an endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

from pipelines.errors import LLMOutputError, LLMStatusError, SettingsError
from pipelines.models.provider import Models
from pipelines.models.remote_embedder import RemoteEmbedder
from pipelines.settings import Endpoint, Settings
from tests.fake_openai import FakeOpenAI, Recorded, Reply, refused

KEY = "sk-secret"


def embedder_at(fake: FakeOpenAI, *, retries: int = 0) -> RemoteEmbedder:
    """Return the embedder behind the fake endpoint."""
    endpoint = Endpoint(url=fake.url, model="fake-embedder", key=KEY)  # type: ignore[arg-type]
    return RemoteEmbedder(endpoint, timeout_s=10, retries=retries)


def by_length(request: Recorded) -> Reply:
    """Answer with a vector of two numbers for each text, in reverse order."""
    lines = [{"index": index, "embedding": [len(text), 1]} for index, text in enumerate(request.json["input"])]
    return Reply(body=json.dumps({"data": lines[::-1]}))


def test_vectors_come_in_the_order_of_the_texts(fake_openai: FakeOpenAI) -> None:
    """Many texts take several calls, and each vector has length 1 and its text's place."""
    fake_openai.respond = by_length
    embedder = embedder_at(fake_openai)
    texts = ["a" * (1 + number % 7) for number in range(150)]
    vectors = embedder.embed(texts)
    numpy.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [len(text) for text in texts], rtol=1e-5)
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert {request.path for request in fake_openai.requests} == {"/v1/embeddings"}
    assert [request.headers["authorization"] for request in fake_openai.requests] == [f"Bearer {KEY}"] * 3
    assert embedder.size == 2
    assert embedder.embed([]).shape == (0, 2)


def test_a_busy_endpoint_is_asked_again(fake_openai: FakeOpenAI) -> None:
    """What passes is tried again; what does not is told, without the key."""
    fake_openai.replies.extend([refused(503, retry_after="0"), by_length])
    assert embedder_at(fake_openai, retries=1).embed(["a"]).shape == (1, 2)
    fake_openai.replies.append(refused(401, f"bad key {KEY}"))
    with pytest.raises(LLMStatusError, match=r"bad key \*\*\*") as raised:
        embedder_at(fake_openai, retries=3).embed(["a"])
    assert "ASSISTANT_EMBEDDER_KEY" in raised.value.hint


@pytest.mark.parametrize(
    "body", ['{"data": []}', '{"data": [{"index": 0, "embedding": [0, 0]}]}', "no", '{"data": [{"index": 0}]}', "[]"]
)
def test_what_is_no_embedding_is_refused(fake_openai: FakeOpenAI, body: str) -> None:
    """An answer in another form is an error, never a vector."""
    fake_openai.replies.append(Reply(body=body))
    with pytest.raises(LLMOutputError, match="not with an embedding for each text"):
        embedder_at(fake_openai).embed(["a"])


def test_it_has_no_vectors_of_tokens(fake_openai: FakeOpenAI) -> None:
    """What needs a local model says so; tokens are counted all the same."""
    embedder = embedder_at(fake_openai)
    assert not embedder.has_tokens
    with pytest.raises(SettingsError, match="no vectors of single tokens"):
        embedder.embed_tokens(["a"])
    assert len(embedder.tokenize("Opening hours: 上午九点")) == 4 + 1 + 4


def test_nothing_is_sent_unless_an_endpoint_is_set(fake_openai: FakeOpenAI, tmp_path: Path) -> None:
    """The setting decides, and the name tells which endpoint made the vectors."""
    fake_openai.respond = by_length
    settings = Settings(embedder_url=fake_openai.url, embedder_model="fake-embedder", models_folder=tmp_path)
    models = Models(settings, calls=tmp_path / "calls.sqlite")
    assert models.open_embedder().embed(["a"]).shape == (1, 2)
    assert models.open_embedder().name.startswith("fake-embedder-")
    assert models.open_embedder("all-minilm-l6-v2").size == 384
    assert len(fake_openai.requests) == 1
    local = Models(Settings(models_folder=tmp_path), calls=tmp_path / "calls.sqlite")
    assert local.open_embedder().name.startswith("all-minilm-l6-v2-")
