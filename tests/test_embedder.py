"""Tests for the embedder: its own forward pass, 8 bits, and folders of other models."""

from __future__ import annotations

import functools
import json
import os
import shutil
import struct
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from pipelines.errors import SettingsError
from pipelines.models import int8
from pipelines.models.catalog import DEFAULT_EMBEDDER, find_model
from pipelines.models.embedder import LocalEmbedder
from pipelines.models.encoder import Precision
from pipelines.models.packed_e5 import unpack_e5
from pipelines.models.sentence_folder import weights_hash
from tests.test_docs import packaged_embedder

TEXTS = [
    "A deposit is due for every rented bicycle.",
    "Helmets are free.",
    "The shop opens at nine in the morning, except on Sundays.",
    "word " * 400,
    "",
]


def folder_of_embedder() -> Path:
    """Return the folder of the packaged embedder."""
    return find_model(DEFAULT_EMBEDDER, kind="embedding", models_folder=Path("unused"))


@functools.cache
def opened(precision: Precision) -> LocalEmbedder:
    """Return the packaged embedder that computes in this precision."""
    return LocalEmbedder(folder_of_embedder(), name="embedder", precision=precision)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a tiny BERT of random weights."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30_522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder_of_embedder() / name, folder / name)
    describe(folder, pooling="mean")
    return folder


def describe(folder: Path, *, pooling: str, parts: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")) -> None:
    """Write what a sentence-transformers folder says of its model."""
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": "1_Pooling"} for kind in parts]
    (folder / "modules.json").write_text(json.dumps(modules))
    settings = {"pooling_mode_mean_tokens": pooling == "mean", "pooling_mode_cls_token": pooling == "cls"}
    settings["pooling_mode_max_tokens"] = pooling == "max"
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))


def test_both_kinds_of_vectors_come_from_one_pass() -> None:
    """What is embedded together equals what is embedded apart."""
    embedder = opened("float32")
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


def test_the_forward_pass_is_that_of_transformers() -> None:
    """In float32, each token's vector is what the general implementation computes."""
    embedder = opened("float32")
    model = AutoModel.from_pretrained(folder_of_embedder()).eval()
    for text, found in zip(TEXTS, embedder.embed_tokens(TEXTS), strict=True):
        ids = torch.tensor([[101, *found.tokens, 102]])
        with torch.inference_mode():
            hidden = model(input_ids=ids).last_hidden_state[0]
        expected = torch.nn.functional.normalize(hidden, dim=-1)[1:-1].numpy()
        numpy.testing.assert_allclose(found.vectors, expected, atol=1e-4)
        mean = torch.nn.functional.normalize(hidden.mean(dim=0), dim=-1).numpy()
        numpy.testing.assert_allclose(embedder.embed([text])[0], mean, atol=1e-4)


@pytest.mark.parametrize(
    ("precision", "least"),
    [
        ("bfloat16", 0.999),
        pytest.param("int8", 0.985, marks=pytest.mark.skipif(not int8.is_supported(), reason="not in this build")),
    ],
)
def test_fast_vectors_are_close(precision: Precision, least: float) -> None:
    """What is computed in fewer bits hardly differs from float32, whatever else is in the batch."""
    exact, fast = opened("float32").embed(TEXTS), opened(precision).embed(TEXTS)
    assert (exact * fast).sum(axis=1).min() > least
    alone = numpy.concatenate([opened(precision).embed([text]) for text in TEXTS])
    assert (alone * fast).sum(axis=1).min() > 0.9995


def test_large_inputs_do_not_drown_small_ones() -> None:
    """With one input a hundred times the others, smoothing keeps the product close."""
    if not int8.is_supported():
        pytest.skip("not in this build")
    torch.manual_seed(0)
    linear = int8.FloatLinear(torch.randn(64, 32) / 6, torch.zeros(64))
    hidden = torch.randn(200, 32)
    hidden[:, 3] *= 100
    low, high = hidden.amin(dim=0), hidden.amax(dim=0)
    errors = [
        (int8.Int8Linear(linear, low=low, high=high, is_smoothed=is_smoothed)(hidden) - linear(hidden)).norm()
        for is_smoothed in (True, False)
    ]
    assert errors[0] * 2 < errors[1]


def test_the_first_token_can_stand_for_the_text(small: Path, tmp_path: Path) -> None:
    """A folder that pools by cls gives the first token's vector."""
    folder = Path(shutil.copytree(small, tmp_path / "cls"))
    describe(folder, pooling="cls")
    vector = LocalEmbedder(folder, name="small", precision="float32").embed(["Helmets are free."])[0]
    model = AutoModel.from_pretrained(folder).eval()
    tokens = [101, *opened("float32").tokenize("Helmets are free."), 102]
    with torch.inference_mode():
        first = model(input_ids=torch.tensor([tokens])).last_hidden_state[0, 0]
    numpy.testing.assert_allclose(vector, torch.nn.functional.normalize(first, dim=-1).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "parts", "said"),
    [
        ("max", ("Transformer", "Pooling"), "pools its tokens in a way that is not supported"),
        ("mean", ("Transformer", "Pooling", "Dense"), "a part of the kind Dense"),
        ("mean", ("Transformer",), "not a sentence-transformers folder"),
    ],
)
def test_other_models_are_refused(small: Path, tmp_path: Path, pooling: str, parts: tuple[str, ...], said: str) -> None:
    """What would give wrong vectors is refused, with its reason."""
    folder = Path(shutil.copytree(small, tmp_path / "other"))
    describe(folder, pooling=pooling, parts=parts)
    with pytest.raises(SettingsError, match=said) as raised:
        LocalEmbedder(folder, name="other")
    assert raised.value.hint


def test_other_architectures_go_through_transformers(small: Path, tmp_path: Path) -> None:
    """A model with another activation is computed by the general implementation."""
    folder = Path(shutil.copytree(small, tmp_path / "relu"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    vectors = LocalEmbedder(folder, name="relu", precision="float32").embed(TEXTS[:3])
    alone = LocalEmbedder(folder, name="relu", precision="float32").embed(TEXTS[:1])
    numpy.testing.assert_allclose(vectors[0], alone[0], atol=1e-5)
    assert not numpy.allclose(
        alone, LocalEmbedder(small, name="small", precision="float32").embed(TEXTS[:1]), atol=1e-4
    )


def test_prompts_of_the_folder_are_put_in_front(small: Path, tmp_path: Path) -> None:
    """Questions and passages begin as the model was trained, and token vectors leave that out."""
    folder = Path(shutil.copytree(small, tmp_path / "prompts"))
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with_prompts, plain = (LocalEmbedder(each, name="e", precision="float32") for each in (folder, small))
    for kind in ("query", "passage"):
        numpy.testing.assert_allclose(
            with_prompts.embed(["helmets"], kind=kind), plain.embed([f"{kind}: helmets"]), atol=1e-5
        )
    vectors, [tokens] = with_prompts.embed_both(["helmets"])
    numpy.testing.assert_allclose(vectors, plain.embed(["passage: helmets"]), atol=1e-5)
    assert tokens.tokens == plain.tokenize("helmets")
    assert len(tokens.vectors) == len(tokens.tokens)


def test_another_fine_tune_has_another_name(small: Path, tmp_path: Path) -> None:
    """Weights of the same size and form that differ in one number change the name."""
    folder = Path(shutil.copytree(small, tmp_path / "tuned"))
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert weights_hash(folder) != weights_hash(small)
    assert (folder / "model.safetensors").stat().st_size == (small / "model.safetensors").stat().st_size


def test_a_hash_is_remembered_until_a_file_changes(small: Path, tmp_path: Path) -> None:
    """Weights are read again only when the size or the time of a file changed."""
    folder, remembered = Path(shutil.copytree(small, tmp_path / "model")), tmp_path / "hashes.json"
    first = weights_hash(folder, remembered=remembered)
    known = json.loads(remembered.read_text())
    known[str(folder.resolve())]["hash"] = "remember"
    remembered.write_text(json.dumps(known))
    assert weights_hash(folder, remembered=remembered) == "remember"
    os.utime(folder / "model.safetensors", (1, 1))
    assert weights_hash(folder, remembered=remembered) == first
    remembered.write_text("[torn")
    assert weights_hash(folder, remembered=remembered) == first


def test_a_packed_model_is_unpacked(tmp_path: Path) -> None:
    """The file's vocabulary and weights come out as a folder that embeds Chinese."""
    file = tmp_path / "packed.bin"
    file.write_bytes(packed())
    unpack_e5(file, tmp_path / "model")
    embedder = LocalEmbedder(tmp_path / "model", name="packed", precision="float32")
    assert embedder.tokenize("门 店") == [5, 6]
    assert embedder.embed(["门店"], kind="query").shape == (1, 32)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert weights["embeddings.word_embeddings.weight"][0, :4].tolist() == [-8.0, -7.0, -6.0, -5.0]
    assert weights["encoder.layer.0.output.dense.weight"].shape == (32, 64)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    assert tokenizer("门").input_ids == [0, 5, 2]


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """What is no packed model says so."""
    (tmp_path / "packed.bin").write_bytes(b"GGUF and more")
    with pytest.raises(SettingsError, match="not a model of the kind expected"):
        unpack_e5(tmp_path / "packed.bin", tmp_path / "model")


def packed() -> bytes:
    """Return a tiny model in the packed form: 7 words, 1 layer of size 32."""
    hidden, inner = 32, 64
    pieces = [piece.encode() for piece in ("<s>", "<pad>", "</s>", "<unk>", "▁", "▁门", "▁店")]
    starts = numpy.cumsum([0, *map(len, pieces)])
    head = b"E5S1" + struct.pack("<I7ifi", 1, hidden, 1, 2, inner, len(pieces), 16, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, int(starts[-1])) + starts.astype("<u4").tobytes()
    head += numpy.array([0, 0, 0, 0, -3, -1, -1], "<f4").tobytes() + b"".join(pieces) + struct.pack("<iI", 0, 0)
    matrices = {"emb.word": len(pieces) * hidden}
    matrices |= {f"l0.{name}.w": hidden * hidden for name in ("q", "k", "v", "ao")}
    matrices |= {f"l0.{name}.w": hidden * inner for name in ("fi", "fo")}
    plain = {"emb.pos": 16 * hidden, "emb.type": 2 * hidden, "l0.fi.b": inner}
    plain |= {f"{name}.{part}": hidden for name in ("emb.ln", "l0.aln", "l0.oln") for part in "wb"}
    plain |= {f"l0.{name}.b": hidden for name in ("q", "k", "v", "ao", "fo")}
    block = struct.pack("<e", 1.0) + bytes(range(16))  # low halves 0 to 15, high halves 0
    sizes = [(name, count, 1) for name, count in matrices.items()] + [(name, count, 0) for name, count in plain.items()]
    at = len(head) + 4 + sum(2 + len(name) + 21 for name, _count, _kind in sizes)
    listed, data = struct.pack("<i", len(sizes)), b""
    for name, count, kind in sizes:
        content = block * (count // 32) if kind else numpy.ones(count, "<f4").tobytes()
        listed += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(content))
        at, data = at + len(content), data + content
    return head + listed + data
