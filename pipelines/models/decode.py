"""Many continuations at once: prompts computed in groups, then one token a step for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerFast

from pipelines.models.attention import new_cache
from pipelines.models.constraint import SchemaConstraint
from pipelines.models.engine import Completion, Sampling
from pipelines.models.learnt_prompt import LearntPrompt
from pipelines.models.prefix import PrefixGroup


@dataclass(kw_only=True)
class Row:
    """One continuation while it grows."""

    index: int  # of the prompt, in the caller's list
    branch: int
    tokens_in: int
    generator: torch.Generator
    constraint: SchemaConstraint | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""  # "stop" or "length" once it has ended


@dataclass(kw_only=True)
class Prefilled:
    """Rows whose prompts have been computed: cache, mask, and logits of the next token."""

    rows: list[Row]
    cache: Cache
    mask: Tensor  # integer, (rows, capacity): which cache positions belong to the row
    positions: Tensor  # integer, (rows,): position of the next token
    logits: Tensor  # float, (rows, vocabulary)


class Decoder:
    """Runs a causal language model over many prompts at once."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        end_tokens: frozenset[int],
        prompt: LearntPrompt | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._layers = int(model.config.num_hidden_layers)
        self._prompt = prompt
        self._before = prompt.tokens if prompt else 0  # virtual tokens that precede every sequence

    def prefill(
        self, groups: Sequence[PrefixGroup], prompts: Sequence[Sequence[int]], rows: list[Row], *, new: int
    ) -> Prefilled:
        """Compute the prompts of `rows`, which stand in the groups' order, once per prefix.

        Args:
            groups: Groups of indices into `prompts`.
            prompts: Token sequences.
            rows: One row per member of the groups.
            new: How many tokens will follow at most.
        """
        lengths = [self._before + len(prompts[row.index]) for row in rows]
        length = max(lengths)
        capacity = length + new
        caches, logits = [], []
        for group in groups:
            cache, last = self._prefill_group(group, prompts)
            caches.append(cache)
            logits.append(last)
        mask = torch.zeros(len(rows), capacity, dtype=torch.long)
        positions = torch.tensor(lengths)
        for number, own in enumerate(lengths):
            mask[number, length - own : length] = 1
        merged = self._merge(caches, groups, prompts, length=length, capacity=capacity)
        return Prefilled(rows=rows, cache=merged, mask=mask, positions=positions, logits=torch.cat(logits))

    def step(self, state: Prefilled, tokens: Tensor) -> None:
        """Feed one token to every row; integer, (rows,)."""
        past = state.cache.get_seq_length()
        state.mask[:, past] = 1
        output = self._model(
            input_ids=tokens[:, None],
            attention_mask=state.mask[:, : past + 1],
            position_ids=state.positions[:, None],
            past_key_values=state.cache,
            use_cache=True,
        )
        state.positions += 1
        state.logits = output.logits[:, -1].float()

    def choose(self, state: Prefilled, sampling: Sampling) -> Tensor:
        """Choose the next token of every row; integer, (rows,)."""
        for number, row in enumerate(state.rows):
            if row.constraint is not None and not row.finish:
                row.constraint.forbid(state.logits[number])
        chosen = state.logits.argmax(dim=-1)
        if sampling.temperature > 0:
            weights = torch.softmax(state.logits / sampling.temperature, dim=-1)
            for number, row in enumerate(state.rows):
                chosen[number] = torch.multinomial(weights[number], 1, generator=row.generator)[0]
        return chosen

    def accept(self, state: Prefilled, tokens: Tensor, sampling: Sampling) -> None:
        """Append the chosen tokens to their rows and mark the rows that have ended."""
        for row, token in zip(state.rows, tokens.tolist(), strict=True):
            if row.finish:
                continue
            if token in self._end_tokens:
                row.finish = "stop"
                continue
            if row.constraint is not None:
                row.constraint.accept(token)
            row.tokens.append(token)
            if sampling.stop:
                row.text = self._tokenizer.decode(row.tokens)
                if any(stop in row.text for stop in sampling.stop):
                    row.finish = "stop"
            if not row.finish and len(row.tokens) >= sampling.max_tokens:
                row.finish = "length"

    def complete(self, row: Row, sampling: Sampling) -> Completion:
        """Return what a row that has ended says."""
        text = self._tokenizer.decode(row.tokens)
        ends = [text.index(stop) for stop in sampling.stop if stop in text]
        return Completion(
            text=text[: min(ends)] if ends else text,
            tokens_in=row.tokens_in,
            tokens_out=len(row.tokens),
            finish="length" if row.finish == "length" else "stop",
        )

    @staticmethod
    def keep(state: Prefilled, numbers: Sequence[int]) -> None:
        """Drop all rows but those at `numbers`; repeating one makes copies of it."""
        chosen = torch.tensor(numbers)
        for layer in state.cache.layers:
            layer.select(chosen)
        state.rows = [state.rows[number] for number in numbers]
        state.mask = state.mask[chosen]
        state.positions = state.positions[chosen]
        state.logits = state.logits[chosen]

    def _prefill_group(self, group: PrefixGroup, prompts: Sequence[Sequence[int]]) -> tuple[Cache, Tensor]:
        """Compute a group: its prefix once, then what each member adds, padded on the left."""
        members, shared = group.members, self._before + group.length
        longest = max(len(prompts[index]) for index in members) - group.length
        cache = new_cache(self._layers, capacity=shared + longest)
        if shared:
            prefix = self._prefill_shared(prompts[members[0]][: group.length])
            for layer, source in zip(cache.layers, prefix.layers, strict=True):
                expanded = (len(members), -1, -1, -1)
                layer.update(source.keys.expand(expanded), source.values.expand(expanded))
        tokens = torch.zeros(len(members), longest, dtype=torch.long)
        mask = torch.ones(len(members), shared + longest, dtype=torch.long)
        for number, index in enumerate(members):
            own = prompts[index][group.length :]
            tokens[number, longest - len(own) :] = torch.tensor(own)
            mask[number, shared : shared + longest - len(own)] = 0
        positions = (mask.cumsum(dim=1) - 1)[:, shared:].clamp(min=0)
        output = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache, output.logits[:, -1].float()

    def _prefill_shared(self, tokens: Sequence[int]) -> Cache:
        """Compute what a group shares, after the learnt prompt if there is one."""
        capacity = len(tokens)
        cache = (
            self._prompt.begin_cache(capacity=capacity) if self._prompt else new_cache(self._layers, capacity=capacity)
        )
        if tokens:
            self._model(input_ids=torch.tensor([tokens]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache

    def _merge(
        self,
        caches: Sequence[Cache],
        groups: Sequence[PrefixGroup],
        prompts: Sequence[Sequence[int]],
        *,
        length: int,
        capacity: int,
    ) -> Cache:
        """Copy the groups' caches into one, every row ending at position `length`."""
        merged = new_cache(self._layers, capacity=capacity)
        rows = sum(len(group.members) for group in groups)
        for number, layer in enumerate(merged.layers):
            sample = caches[0].layers[number].keys
            keys = sample.new_zeros(rows, sample.shape[1], length, sample.shape[3])
            values = torch.zeros_like(keys)
            row = 0
            for cache, group in zip(caches, groups, strict=True):
                source = cache.layers[number]
                for member, index in enumerate(group.members):
                    shared, own = self._before + group.length, len(prompts[index]) - group.length
                    places = ((0, shared, length - shared - own), (-own, None, length - own))
                    for start, end, place in places:
                        part_keys = source.keys[member, :, start:end]
                        keys[row, :, place : place + part_keys.shape[1]] = part_keys
                        values[row, :, place : place + part_keys.shape[1]] = source.values[member, :, start:end]
                    row += 1
            layer.update(keys, values)
        return merged
