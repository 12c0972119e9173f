"""Conversations as tokens, the same in training and in use.

A chat template puts control tokens between messages. Text that comes from documents or
people may contain the same character sequences; it must stay text. So the template is
rendered with place-holders, only its own pieces may become control tokens, and every
message is encoded as plain text. That also tells exactly which tokens an answer is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from pipelines.errors import DataError
from pipelines.records import Message

# Private-use characters: no template and no tokenizer gives them a meaning.
_PLACE = "\ue000{}\ue001"
_PLACES = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A conversation that ends in an answer, as tokens."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]  # ends with the token that ends a turn


def render_prompt(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> list[int]:
    """Encode a conversation up to the place where the answer begins."""
    return _encode(tokenizer, messages, open_answer=True)


def render_example(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> Rendered:
    """Encode a conversation whose last message is the answer to be learnt.

    Raises:
        DataError: The last message is not the assistant's, or the template does not
            continue its own prompt, so that training would differ from use.
    """
    if not messages or messages[-1].role != "assistant":
        raise DataError("a training conversation must end with the assistant's message")
    prompt = render_prompt(tokenizer, messages[:-1])
    whole = _encode(tokenizer, messages, open_answer=False)
    if whole[: len(prompt)] != prompt:
        raise DataError("the chat template renders the prompt differently once an answer follows")
    end = end_token(tokenizer)
    answer = whole[len(prompt) :]
    if end not in answer:
        raise DataError("the chat template does not close the answer with the end token")
    last = len(answer) - answer[::-1].index(end)
    return Rendered(prompt=tuple(prompt), answer=tuple(answer[:last]))


def end_token(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return the token that ends an answer."""
    return int(tokenizer.eos_token_id)


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Encode plain text; nothing in it becomes a control token."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)


def _encode(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], *, open_answer: bool) -> list[int]:
    turns = [{"role": message.role, "content": _PLACE.format(i)} for i, message in enumerate(messages)]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_answer)
    tokens: list[int] = []
    # re.split with one group alternates the template's own text and a message's number.
    for position, piece in enumerate(_PLACES.split(rendered)):
        if position % 2:
            tokens += encode_text(tokenizer, messages[int(piece)].content)
        elif piece:
            tokens += tokenizer(piece, add_special_tokens=False).input_ids
    return tokens
