"""Examples packed around what they share, for training and for teacher-forced loss.

A pack is one sequence: a prefix once, then for each example the rest of its prompt and its
answer. The attention mask lets an example see the prefix and itself only, and positions
restart after the prefix, so every example is computed exactly as if it stood alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.models.prefix import group_by_prefix
from pipelines.models.render import Rendered


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One example of a pack: where its own tokens and its answer stand."""

    index: int  # of the example, in the caller's list
    start: int
    answer: int  # first token of the answer
    end: int


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A prefix and the branches that continue it."""

    tokens: tuple[int, ...]
    prefix: int
    branches: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Packs as tensors, padded on the right to the longest."""

    input_ids: Tensor  # integer, (packs, length)
    position_ids: Tensor  # integer, (packs, length)
    attention_mask: Tensor  # float, (packs, 1, length, length); added to the scores
    predicts: Tensor  # boolean, (packs, length): positions whose next token is supervised
    targets: Tensor  # integer, (supervised,): those next tokens, row by row


def pack_examples(examples: Sequence[Rendered], *, max_tokens: int, max_members: int = 16) -> list[Pack]:
    """Pack examples that share the beginning of their prompt.

    Args:
        examples: The examples, as tokens.
        max_tokens: Most tokens of a pack; a single example may be longer.
        max_members: Most examples of a pack.
    """
    return pack_groups([[example] for example in examples], max_tokens=max_tokens, max_members=max_members)


def pack_groups(
    groups: Sequence[Sequence[Rendered]], *, max_tokens: int, max_members: int = 16, start: int = 0
) -> list[Pack]:
    """Pack groups of answers to one prompt, each group whole, with others that share its beginning.

    Args:
        groups: Answers to the same prompt, as a pair of a better and a worse one is.
        max_tokens: Most tokens of a pack; a single group may be longer.
        max_members: Most groups of a pack.
        start: Index of the first answer of the first group; the others follow.

    Returns:
        The packs; the branches of a group stand side by side, in its order.
    """
    sequences = [group[0].prompt + tuple(token for each in group for token in each.answer) for group in groups]
    # The last token of the prompt predicts the first of the answer, so it is never shared.
    shareable = [len(group[0].prompt) - 1 for group in groups]
    firsts = list(itertools.accumulate((len(group) for group in groups), initial=start))
    packs = []
    for together in group_by_prefix(sequences, shareable=shareable, max_members=max_members, max_tokens=max_tokens):
        prefix = together.length or shareable[together.members[0]]
        tokens = list(sequences[together.members[0]][:prefix])
        branches = []
        for member in together.members:
            for index, example in enumerate(groups[member], firsts[member]):
                begin = len(tokens)
                tokens += (example.prompt + example.answer)[prefix:]
                answer = len(tokens) - len(example.answer)
                branches.append(Branch(index=index, start=begin, answer=answer, end=len(tokens)))
        packs.append(Pack(tokens=tuple(tokens), prefix=prefix, branches=tuple(branches)))
    return packs


def split_pack(pack: Pack, *, max_tokens: int, together: int = 1) -> list[Pack]:
    """Return the pack as several of at most `max_tokens`, each with the prefix, for want of memory.

    Args:
        pack: The pack.
        max_tokens: Most tokens of a part; a part of one group may be longer.
        together: How many branches belong together.
    """
    groups = [pack.branches[first : first + together] for first in range(0, len(pack.branches), together)]
    parts: list[list[Branch]] = []
    size = max_tokens
    for group in groups:
        own = group[-1].end - group[0].start
        if not parts or size + own > max_tokens:
            parts.append([])
            size = pack.prefix
        parts[-1] += group
        size += own
    return [_part(pack, branches) for branches in parts] if len(parts) > 1 else [pack]


def _part(pack: Pack, branches: Sequence[Branch]) -> Pack:
    """Return the pack with some of its branches, which stand side by side."""
    shift = branches[0].start - pack.prefix
    moved = tuple(
        Branch(index=each.index, start=each.start - shift, answer=each.answer - shift, end=each.end - shift)
        for each in branches
    )
    tokens = pack.tokens[: pack.prefix] + pack.tokens[branches[0].start : branches[-1].end]
    return Pack(tokens=tokens, prefix=pack.prefix, branches=moved)


def collate(packs: Sequence[Pack], *, dtype: torch.dtype) -> Batch:
    """Turn packs into tensors; `dtype` is that of the attention mask."""
    length = max(len(pack.tokens) for pack in packs)
    shape = (len(packs), length)
    input_ids = torch.zeros(shape, dtype=torch.long)
    position_ids = torch.zeros(shape, dtype=torch.long)
    seen = torch.eye(length, dtype=torch.bool).repeat(len(packs), 1, 1)
    predicts = torch.zeros(shape, dtype=torch.bool)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for row, pack in enumerate(packs):
        input_ids[row, : len(pack.tokens)] = torch.tensor(pack.tokens)
        position_ids[row, : pack.prefix] = torch.arange(pack.prefix)
        seen[row, : pack.prefix, : pack.prefix] = causal[: pack.prefix, : pack.prefix]
        for branch in pack.branches:
            size = branch.end - branch.start
            own = slice(branch.start, branch.end)
            position_ids[row, own] = torch.arange(pack.prefix, pack.prefix + size)
            seen[row, own, : pack.prefix] = True
            seen[row, own, own] = causal[:size, :size]
            predicts[row, branch.answer - 1 : branch.end - 1] = True
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return Batch(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=mask[:, None],
        predicts=predicts,
        targets=input_ids.roll(-1, dims=1)[predicts],
    )


def supervised_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the logits where an answer's token comes next; float, (supervised, vocabulary).

    The head is applied there only: it is the largest matrix of a small model, and most
    positions belong to prompts.
    """
    logits: Tensor = model.get_output_embeddings()(hidden_states(model, batch)[batch.predicts])
    return logits


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the last hidden states; float, (packs, length, size)."""
    hidden: Tensor = (
        model.get_decoder()(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
        )
    ).last_hidden_state
    return hidden


def answer_losses(model: PreTrainedModel, pack: Pack) -> Iterator[tuple[int, float, int]]:
    """Yield, for each example of a pack, its index, the loss of its answer in nats, and its tokens."""
    batch = collate([pack], dtype=model.dtype)
    logits = supervised_logits(model, batch).float()
    losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    done = 0
    for branch in pack.branches:
        tokens = branch.end - branch.answer
        yield branch.index, float(losses[done : done + tokens].sum()), tokens
        done += tokens
