"""Which model embeds a new collection."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.errors import DataError
from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.collection import opened_vectors
from pipelines.knowledge.reindex import REINDEX_DOCUMENTS, ReindexDocumentsParams
from pipelines.models.catalog import MULTILINGUAL_EMBEDDER
from pipelines.operation import Context
from pipelines.settings import Settings
from tests.word_embedder import WordEmbedder, with_words

_ENGLISH, _CHINESE = "The lamp is lit at dusk.", "黄昏时点灯。早上关灯。"


def model_of(context: Context, folder: Path, **more: str) -> str:
    """Add a folder; return the model that its collection was begun with."""
    add_documents(AddDocumentsParams.model_validate({"folder": folder, **more}), context)
    with opened_vectors(context.workspace.knowledge("default")) as stored:
        serving = stored.serving()
    assert serving is not None
    return serving.model


@pytest.fixture
def context(context: Context) -> Context:
    """Embedders that cost nothing: the default one, and one under the multilingual one's name."""
    return with_words(context, english=WordEmbedder(), **{MULTILINGUAL_EMBEDDER: WordEmbedder("words-zh")})


@pytest.mark.parametrize(
    ("texts", "model"),
    [
        ([_ENGLISH] * 5, ""),
        ([_CHINESE] * 5, MULTILINGUAL_EMBEDDER),
        ([_ENGLISH] * 7 + [_CHINESE] * 3, MULTILINGUAL_EMBEDDER),
        ([_ENGLISH] * 29 + [_CHINESE], ""),
    ],
)
def test_the_language_of_the_documents_decides(context: Context, tmp_path: Path, texts: list[str], model: str) -> None:
    """A fifth of Chinese is enough; a stray document is not."""
    (tmp_path / "shelf").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "shelf" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    assert model_of(context, tmp_path / "shelf") == model


def test_what_is_asked_for_goes_before(context: Context, tmp_path: Path) -> None:
    """A model that is named, or set, is taken whatever the language; another one later is refused."""
    path = tmp_path / "lamp.txt"
    path.write_text(_CHINESE, encoding="utf-8")
    assert model_of(context, path, embedder="english") == "english"
    assert model_of(context, path, embedder="english") == "english"
    with pytest.raises(DataError, match="was embedded by english"):
        model_of(context, path, embedder=MULTILINGUAL_EMBEDDER)


def test_a_setting_goes_before_the_language(context: Context, tmp_path: Path) -> None:
    """Who has set a model gets it."""
    path = tmp_path / "lamp.txt"
    path.write_text(_CHINESE, encoding="utf-8")
    assert model_of(dataclasses.replace(context, settings=Settings(embedder_model="english")), path) == ""


def test_the_model_that_made_the_vectors_may_be_named(context: Context, tmp_path: Path) -> None:
    """Who asks for the default model by its name gets it."""
    path = tmp_path / "lamp.txt"
    path.write_text(_ENGLISH, encoding="utf-8")
    assert model_of(context, path) == ""
    assert model_of(context, path, embedder="english") == ""


def test_a_model_that_is_a_folder_is_found_from_anywhere(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered by its whole path, whatever the current folder is."""
    path, model = tmp_path / "lamp.txt", tmp_path / "model"
    path.write_text(_ENGLISH, encoding="utf-8")
    model.mkdir()
    (model / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert model_of(context, path, embedder="model") == str(model)
    REINDEX_DOCUMENTS.start(ReindexDocumentsParams(embedder="./model"), context)
    assert model_of(context, path, embedder="model") == str(model)
