"""What a local model offers, whichever library computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pipelines.records import Message

# A conversation to answer, or plain text to continue.
Prompt = str | tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a continuation is chosen.

    Attributes:
        max_tokens: Longest continuation.
        temperature: 0 takes the likeliest token every time.
        stop: The continuation ends before the first of these.
        schema: JSON schema that the continuation must follow.
        starts: First pieces of text to choose from; empty leaves the start free.
        branches: How many continuations a prompt gets, each with another one of `starts`,
            likeliest first.
        seed: Seeds the draw where the temperature is above 0.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    schema: dict[str, object] | None = None
    starts: tuple[str, ...] = ()
    branches: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One continuation of one prompt."""

    text: str
    tokens_in: int
    tokens_out: int
    finish: Literal["stop", "length"]
    cached: bool = False  # came from the ledger, not from the model


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Teacher-forced loss of one answer."""

    nats: float  # summed over the answer's tokens
    tokens: int = field(default=0)


class Engine(Protocol):
    """A loaded model that can be asked in bulk, in a stream, or for its loss.

    An adapter is fixed when an engine is opened.
    """

    @property
    def name(self) -> str:
        """Name that changes whenever the weights do."""

    @property
    def context_tokens(self) -> int:
        """Longest prompt and continuation together."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt is."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Continue every prompt; yield its index and its branches as soon as they are ready."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Continue one prompt, piece by piece; closing the iterator stops the model."""

    def losses(self, conversations: Sequence[tuple[Message, ...]]) -> list[Loss]:
        """Return the loss of each conversation's last message, given the ones before."""
