"""A tokenizer as GGUF metadata, so that llama.cpp splits text as training did.

llama.cpp holds the expressions that split text before byte pairs are merged under names.
The name is found from the tokenizer's own expressions and not from the model's: a tokenizer
that splits otherwise than the model's first one did is written as what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gguf
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from pipelines.errors import SettingsError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES, _DIGITS = "bytes", "digits"
_SPLITTERS: Mapping[tuple[str, ...], str] = {
    (_BYTES,): "gpt-2",
    (_DIGITS, _BYTES): "smollm",
    (_CONTRACTIONS + r"\p{N}" + _REST,): "qwen2",
    (_CONTRACTIONS + r"\p{N}{1,3}" + _REST,): "llama-bpe",
}


def check_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse a tokenizer that llama.cpp would not follow.

    Raises:
        SettingsError: It is not of byte pairs, or splits text in a way that has no name.
    """
    _splitter(_specification(tokenizer))


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, config: PretrainedConfig) -> None:
    """Write tokens, merges, control tokens and the chat template into a GGUF file."""
    specification = _specification(tokenizer)
    tokens, types = _tokens(specification, size=config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitter(specification))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = specification["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    for add, token in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
    ):
        if token is not None:
            add(token)
    # The chat template writes every control token itself; none may come twice.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _specification(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return loaded


def _tokens(specification: Mapping[str, Any], *, size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Return every token with its type, by id; ids that no token has are filled."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, number in specification["model"]["vocab"].items():
        tokens[number], types[number] = token, gguf.TokenType.NORMAL
    for added in specification["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    return tokens, types


def _splitter(specification: Mapping[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer splits text."""
    steps = _steps(specification["pre_tokenizer"] or {})
    if specification["model"]["type"] != "BPE" or steps not in _SPLITTERS:
        raise SettingsError(
            "the base model's tokenizer cannot be written as GGUF: "
            f"{specification['model']['type']}, splitting by {', '.join(steps) or 'nothing'}",
            hint="Export it as merged or adapter.",
        )
    return _SPLITTERS[steps]


def _steps(part: Mapping[str, Any]) -> tuple[str, ...]:
    """Return how text is split, step by step: an expression, or a word for it."""
    match part:
        case {"type": "Sequence", "pretokenizers": inner}:
            return tuple(step for each in inner for step in _steps(each))
        case {"type": "Digits", "individual_digits": True}:
            return (_DIGITS,)
        case {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}:
            return (expression,)
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": uses_regex}:
            return (_BYTES,) if uses_regex else ()
    return (str(part.get("type", "nothing")),)
