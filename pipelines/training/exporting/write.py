"""Writes each format of a student, and loads it again to compare it.

A student is merged from a fresh base in float32, never from the quantized one that it was
trained on: what was rounded there would stay in the weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.models.adapter import CONFIG_FILE, WEIGHTS_FILE, merge_adapter, read_changes
from pipelines.models.local import load_tokenizer
from pipelines.training.exporting import compare, gguf_file
from pipelines.training.exporting.compare import Comparison, Conversations
from pipelines.training.exporting.formats import WHOLE_GGUF, ExportFormat
from pipelines.training.exporting.gguf_layout import find_layout
from pipelines.training.exporting.gguf_tokenizer import check_tokenizer
from pipelines.training.exporting.modelfile import write_modelfile
from pipelines.training.exporting.place import unwritable
from pipelines.training.exporting.turns import read_turns

MODELFILE = "Modelfile"
# Ollama keeps this many tokens of a conversation at most in memory; more are of no use on a CPU.
_CONTEXT_TOKENS = 8192
_PRECISIONS: Mapping[ExportFormat, gguf_file.Precision] = {
    ExportFormat.GGUF_F16: "f16",
    ExportFormat.GGUF_Q8_0: "q8_0",
    ExportFormat.GGUF_Q4_0: "q4_0",
}
# Bytes a weight, at most: the embedding of a Q4_0 file has eight bits.
_BYTES = {
    ExportFormat.MERGED: 4.0,
    ExportFormat.GGUF_F16: 2.0,
    ExportFormat.GGUF_Q8_0: 34 / 32,
    ExportFormat.GGUF_Q4_0: 0.8,
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What is exported, and where it lies."""

    name: str  # of the adapter
    base_name: str
    base: Path
    adapter: Path
    gguf: ExportFormat | None  # that a Modelfile stands on


@dataclass(frozen=True, kw_only=True)
class Student:
    """A base with its adapter, merged in memory in float32."""

    sources: Sources
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    conversations: Conversations

    @property
    def loss(self) -> float | None:
        """Loss of the original, which every export is held against."""
        return compare.mean_loss(self.model, self.tokenizer, self.conversations)


def check_formats(sources: Sources, formats: Collection[ExportFormat]) -> None:
    """Refuse, before any work, what cannot be exported.

    Raises:
        SettingsError: The base's architecture or tokenizer has no form in GGUF.
        DataError: The adapter cannot be merged, or the chat template has no form in a Modelfile.
    """
    changes = read_changes(sources.adapter)
    if set(formats) <= {ExportFormat.ADAPTER, ExportFormat.MERGED}:
        return
    tokenizer = load_tokenizer(sources.base)
    find_layout(_config(sources.base))
    check_tokenizer(tokenizer)
    if ExportFormat.GGUF_ADAPTER in formats:
        gguf_file.check_plain(changes)
    if ExportFormat.OLLAMA in formats:
        read_turns(tokenizer)


def open_student(sources: Sources, conversations: Conversations) -> Student:
    """Merge the adapter into a fresh base.

    Raises:
        DataError: The adapter is another base's.
    """
    model = compare.load_precise(sources.base)
    merge_adapter(model, sources.adapter)
    return Student(sources=sources, model=model, tokenizer=load_tokenizer(sources.base), conversations=conversations)


def needed_bytes(student: Student, formats: Collection[ExportFormat]) -> int:
    """Return how much space formats take, roughly and rather too much."""
    adapter = (student.sources.adapter / WEIGHTS_FILE).stat().st_size
    weights = student.model.num_parameters()
    return round(sum(weights * _BYTES[each] if each in _BYTES else adapter for each in formats)) + (1 << 24)


def write_format(kind: ExportFormat, student: Student, folder: Path) -> Comparison:
    """Write one format into `folder`, and compare what was written with the original.

    Raises:
        TrainingError: It cannot be written, for want of space for example.
    """
    try:
        return _WRITERS[kind](student, folder)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise unwritable(folder, error) from error


def gguf_name(kind: ExportFormat, name: str) -> str:
    """Return the name of a GGUF file."""
    return f"{name}-{kind.removeprefix('gguf-')}.gguf"


def _write_adapter(student: Student, folder: Path) -> Comparison:
    sources = student.sources
    shutil.copyfile(sources.adapter / WEIGHTS_FILE, folder / WEIGHTS_FILE)
    config = json.loads((sources.adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    # Where the base lies on this machine is of no use elsewhere, and nobody's business.
    config["base_model_name_or_path"] = sources.base_name
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return compare.compare_adapter(folder, sources.base, student.tokenizer, student.conversations)


def _write_merged(student: Student, folder: Path) -> Comparison:
    # In float32: bfloat16 would round away a good part of what the adapter changes.
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    return compare.compare_folder(folder, student.tokenizer, student.conversations)


def _write_gguf(kind: ExportFormat) -> Callable[[Student, Path], Comparison]:
    def write(student: Student, folder: Path) -> Comparison:
        name = student.sources.name
        path = folder / gguf_name(kind, name)
        gguf_file.write_model(path, student.model, student.tokenizer, precision=_PRECISIONS[kind], name=name)
        return compare.compare_gguf(path, student.tokenizer, student.conversations)

    return write


def _write_gguf_adapter(student: Student, folder: Path) -> Comparison:
    sources = student.sources
    path = folder / gguf_name(ExportFormat.GGUF_ADAPTER, sources.name)
    alpha = json.loads((sources.adapter / CONFIG_FILE).read_text(encoding="utf-8"))["lora_alpha"]
    changes = read_changes(sources.adapter)
    gguf_file.write_adapter(path, changes, student.model.config, alpha=alpha, name=sources.name)
    return compare.compare_gguf_adapter(path, sources.base, student.tokenizer, student.conversations)


def _write_ollama(student: Student, folder: Path) -> Comparison:
    """Write a Modelfile; its loss is that of its GGUF file."""
    assert student.sources.gguf is not None  # formats.read_formats adds one
    turns = read_turns(student.tokenizer)
    text = write_modelfile(
        turns,
        gguf=f"../{student.sources.gguf}/{gguf_name(student.sources.gguf, student.sources.name)}",
        stop=student.tokenizer.eos_token,
        context_tokens=min(student.model.config.max_position_embeddings, _CONTEXT_TOKENS),
    )
    (folder / MODELFILE).write_text(text, encoding="utf-8")
    same = compare.is_same_prompt(turns, student.tokenizer, student.conversations)
    return Comparison(loss=None, tokens_equal=same)


_WRITERS: Mapping[ExportFormat, Callable[[Student, Path], Comparison]] = {
    ExportFormat.ADAPTER: _write_adapter,
    ExportFormat.MERGED: _write_merged,
    **{kind: _write_gguf(kind) for kind in WHOLE_GGUF},
    ExportFormat.GGUF_ADAPTER: _write_gguf_adapter,
    ExportFormat.OLLAMA: _write_ollama,
}


def _config(base: Path) -> PretrainedConfig:
    return AutoConfig.from_pretrained(base, local_files_only=True)
