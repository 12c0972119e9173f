"""Sentence-transformers folders: how the model in one pools, what it prepends, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import SettingsError

Pooling = Literal["mean", "cls"]
_KNOWN = ("Transformer", "Pooling", "Normalize")
_DEFAULT_MAX_TOKENS = 512
# What decides the vectors.
_DECIDING = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")


@dataclass(frozen=True, kw_only=True)
class SentenceFolder:
    """What the files beside the weights say."""

    path: Path
    config: dict[str, Any]
    pooling: Pooling
    max_tokens: int
    query_prefix: str
    passage_prefix: str


def read_sentence_folder(path: Path) -> SentenceFolder:
    """Read the description of a model.

    Raises:
        SettingsError: It is no such folder, or works in a way that is not supported.
    """
    try:
        modules = json.loads((path / "modules.json").read_text(encoding="utf-8"))
        config = _read(path / "config.json")
        kinds = {str(module["type"]).rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
        if unknown := [kind for kind in kinds if kind not in _KNOWN]:
            raise SettingsError(
                f"the model in {path} has a part of the kind {unknown[0]}, which is not supported",
                hint=f"Supported are models of these parts alone: {', '.join(_KNOWN)}.",
            )
        pooling = _pooling(path, _read(path / kinds["Pooling"] / "config.json"))
        limits = _read_if_there(path / "sentence_bert_config.json")
        prompts = _read_if_there(path / "config_sentence_transformers.json").get("prompts") or {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{path} is not a sentence-transformers folder: {error}",
            hint="Give the folder that SentenceTransformer.save_pretrained wrote.",
        ) from error
    return SentenceFolder(
        path=path,
        config=config,
        pooling=pooling,
        max_tokens=int(limits.get("max_seq_length") or _room(config)),
        query_prefix=str(prompts.get("query", "")),
        passage_prefix=str(prompts.get("passage", prompts.get("document", ""))),
    )


def weights_hash(path: Path, *, remembered: Path | None = None) -> str:
    """Return a hash of the files that decide the vectors, 8 hexadecimal digits.

    Reading the weights takes a moment, so the hash is remembered in the file `remembered` for as
    long as names, sizes and times of change stay the same.
    """
    files = sorted({file for pattern in _DECIDING for file in path.rglob(pattern) if file.is_file()})
    state = [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    known = _remembered(remembered)
    key = str(path.resolve())
    if known.get(key, {}).get("files") == state:
        return str(known[key]["hash"])
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            whole.update(f"{file.relative_to(path)}\0".encode() + hashlib.file_digest(opened, "sha256").digest())
    found = whole.hexdigest()[:8]
    if remembered is not None:
        _remember(remembered, {**known, key: {"files": state, "hash": found}})
    return found


def _pooling(path: Path, config: dict[str, Any]) -> Pooling:
    chosen = [name for name, is_on in config.items() if name.startswith("pooling_mode_") and is_on is True]
    named = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "mean": "mean", "cls": "cls"}
    found = [named.get(name) for name in chosen or [str(config.get("pooling_mode"))]]
    if found == ["mean"]:
        return "mean"
    if found == ["cls"]:
        return "cls"
    raise SettingsError(
        f"the model in {path} pools its tokens in a way that is not supported: {', '.join(chosen) or 'unknown'}",
        hint="Supported are the mean of the tokens, and the first token (cls).",
    )


def _room(config: dict[str, Any]) -> int:
    return min(_DEFAULT_MAX_TOKENS, int(config.get("max_position_embeddings", _DEFAULT_MAX_TOKENS)))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _read_if_there(path: Path) -> dict[str, Any]:
    return _read(path) if path.is_file() else {}


def _remembered(path: Path | None) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(path: Path, known: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")
    written.write_text(json.dumps(known), encoding="utf-8")
    written.replace(path)
