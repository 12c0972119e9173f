"""An engine whose answers go through the ledger, so that none is computed twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from pipelines.models.engine import Completion, Engine, Loss, Prompt, Sampling
from pipelines.models.ledger import Call, Ledger, call_key
from pipelines.records import Message


class CachedEngine:
    """An `Engine` that asks the ledger first and stores whatever it computes."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger

    @property
    def name(self) -> str:
        """Name that changes whenever the weights do."""
        return self._engine.name

    @property
    def context_tokens(self) -> int:
        """Longest prompt and continuation together."""
        return self._engine.context_tokens

    def count_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt is."""
        return self._engine.count_tokens(prompt)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, tuple[Completion, ...]]]:
        """Continue every prompt: first those that the ledger knows, then the others."""
        keys = [self._key(prompt, sampling) for prompt in prompts]
        known = self._ledger.find(keys)
        missing = []
        for index, key in enumerate(keys):
            if key in known:
                stored = json.loads(known[key].response)
                yield index, tuple(Completion(**{**value, "cached": True}) for value in stored)
            else:
                missing.append(index)
        for position, completions in self._engine.generate([prompts[index] for index in missing], sampling):
            index = missing[position]
            self._store(keys[index], completions)
            yield index, completions

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str]:
        """Continue one prompt, piece by piece; what is said to a person is not stored."""
        return self._engine.stream(prompt, sampling)

    def losses(self, conversations: Sequence[tuple[Message, ...]]) -> list[Loss]:
        """Return the loss of each conversation's last message, given the ones before."""
        keys = [self._key(conversation, "loss") for conversation in conversations]
        known = self._ledger.find(keys)
        missing = [index for index, key in enumerate(keys) if key not in known]
        for index, loss in zip(missing, self._engine.losses([conversations[index] for index in missing]), strict=True):
            known[keys[index]] = self._call(keys[index], dataclasses.asdict(loss), 0, 0)
        self._ledger.store(known[keys[index]] for index in missing)
        return [Loss(**json.loads(known[key].response)) for key in keys]

    def _key(self, prompt: Prompt, how: Sampling | str) -> str:
        said = prompt if isinstance(prompt, str) else [message.model_dump() for message in prompt]
        return call_key(self.name, [said, how if isinstance(how, str) else dataclasses.asdict(how)])

    def _store(self, key: str, completions: Sequence[Completion]) -> None:
        tokens_in = max(completion.tokens_in for completion in completions)
        tokens_out = sum(completion.tokens_out for completion in completions)
        value = [dataclasses.asdict(completion) for completion in completions]
        self._ledger.store([self._call(key, value, tokens_in, tokens_out)])

    def _call(self, key: str, value: object, tokens_in: int, tokens_out: int) -> Call:
        return Call(
            key=key,
            model=self.name,
            response=json.dumps(value),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=0.0,
        )
