"""Keeps a continuation inside a JSON schema, by ruling out tokens that would leave it."""

from __future__ import annotations

import json

import llguidance
import llguidance.hf
import numpy
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pipelines.errors import LLMOutputError


class SchemaConstraint:
    """The state of one continuation under a JSON schema."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    def forbid(self, logits: Tensor) -> None:
        """Set the logits, (vocabulary,), of all tokens that may not come next to -inf."""
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
        allowed = torch.from_numpy(numpy.unpackbits(bits, bitorder="little").astype(bool))
        known = min(allowed.shape[0], logits.shape[0])
        logits[:known].masked_fill_(~allowed[:known], float("-inf"))
        logits[known:] = float("-inf")

    def accept(self, token: int) -> None:
        """Take note of the token that was chosen.

        Raises:
            LLMOutputError: The token does not fit, which means that constraint and
                tokenizer disagree.
        """
        if not self._matcher.consume_token(token):
            raise LLMOutputError(f"token {token} left the schema: {self._matcher.get_error()}", raw="")


class SchemaCompiler:
    """Makes constraints for one tokenizer; slow to build, cheap to use."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, end_token: int) -> None:
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, eos_token=end_token)

    def start(self, schema: dict[str, object]) -> SchemaConstraint:
        """Begin a continuation that must follow `schema`.

        Raises:
            ValueError: The schema uses something that cannot be enforced.
        """
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        matcher = llguidance.LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(f"schema cannot be enforced: {matcher.get_error()}")
        return SchemaConstraint(matcher)
