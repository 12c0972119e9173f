"""Examples packed around what they share, for training and for teacher-forced loss.

A pack is one sequence: a prefix once, then for each example the rest of its prompt and its
answer. An example attends to the prefix and itself only, and positions restart after the
prefix, so every example is computed exactly as if it stood alone. Packs are joined in turn:
few large products are quicker than many small ones.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.models.attention import Segment, causal_segments
from pipelines.models.prefix import group_by_prefix
from pipelines.models.render import Rendered


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One example of a pack: where its own tokens and its answer stand, and the prefix that it sees."""

    index: int  # of the example, in the caller's list
    start: int
    answer: int  # first token of the answer
    end: int
    prefix: tuple[int, int]  # first token of its prefix, and the one after the last


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Prefixes and the branches that continue them, in one sequence."""

    tokens: tuple[int, ...]
    prefixes: tuple[tuple[int, int], ...]
    branches: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A pack as tensors."""

    input_ids: Tensor  # integer, (1, length)
    position_ids: Tensor  # integer, (1, length)
    segments: tuple[Segment, ...]  # what attends to what
    predicts: Tensor  # boolean, (1, length): positions whose next token is supervised
    targets: Tensor  # integer, (supervised,): those next tokens


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
                branches.append(Branch(index=index, start=begin, answer=answer, end=len(tokens), prefix=(0, prefix)))
        packs.append(Pack(tokens=tuple(tokens), prefixes=((0, prefix),), branches=tuple(branches)))
    return packs


def join_packs(packs: Sequence[Pack]) -> Pack:
    """Return several packs as one sequence, in which none sees another."""
    if len(packs) == 1:
        return packs[0]
    starts = list(itertools.accumulate((len(pack.tokens) for pack in packs), initial=0))
    return Pack(
        tokens=tuple(itertools.chain.from_iterable(pack.tokens for pack in packs)),
        prefixes=tuple(
            (first + by, last + by) for by, pack in zip(starts, packs, strict=False) for first, last in pack.prefixes
        ),
        branches=tuple(_moved(each, by) for by, pack in zip(starts, packs, strict=False) for each in pack.branches),
    )


def fill_pack(pack: Pack, *, multiple: int) -> Pack:
    """Return a pack with a prefix that nothing continues, so that its length is a multiple of `multiple`.

    Sequences of few different lengths reuse memory and compiled products.
    """
    missing = -len(pack.tokens) % multiple
    filler = Pack(tokens=(0,) * missing, prefixes=((0, missing),), branches=())
    return join_packs([pack, filler]) if missing else pack


def split_pack(pack: Pack, *, max_tokens: int, together: int = 1) -> list[Pack]:
    """Return the pack as several of at most `max_tokens`, each with the prefix, for want of memory.

    Args:
        pack: The pack.
        max_tokens: Most tokens of a part; a part of one group may be longer.
        together: How many branches belong together.
    """
    groups = [pack.branches[first : first + together] for first in range(0, len(pack.branches), together)]
    [(_start, prefix)] = pack.prefixes
    parts: list[list[Branch]] = []
    size = max_tokens
    for group in groups:
        own = group[-1].end - group[0].start
        if not parts or size + own > max_tokens:
            parts.append([])
            size = prefix
        parts[-1] += group
        size += own
    return [_part(pack, branches) for branches in parts] if len(parts) > 1 else [pack]


def _part(pack: Pack, branches: Sequence[Branch]) -> Pack:
    """Return the pack with some of its branches, which stand side by side."""
    [(_start, prefix)] = pack.prefixes
    tokens = pack.tokens[:prefix] + pack.tokens[branches[0].start : branches[-1].end]
    by = prefix - branches[0].start
    moved = tuple(dataclasses.replace(_moved(each, by), prefix=(0, prefix)) for each in branches)
    return Pack(tokens=tokens, prefixes=pack.prefixes, branches=moved)


def _moved(branch: Branch, by: int) -> Branch:
    first, last = branch.prefix
    return Branch(
        index=branch.index,
        start=branch.start + by,
        answer=branch.answer + by,
        end=branch.end + by,
        prefix=(first + by, last + by),
    )


def collate(pack: Pack) -> Batch:
    """Turn a pack into tensors."""
    input_ids = torch.tensor([pack.tokens])
    position_ids = torch.zeros_like(input_ids)
    predicts = torch.zeros_like(input_ids, dtype=torch.bool)
    for first, last in pack.prefixes:
        position_ids[0, first:last] = torch.arange(last - first)
    for branch in pack.branches:
        length = branch.prefix[1] - branch.prefix[0]
        position_ids[0, branch.start : branch.end] = torch.arange(length, length + branch.end - branch.start)
        predicts[0, branch.answer - 1 : branch.end - 1] = True
    return Batch(
        input_ids=input_ids,
        position_ids=position_ids,
        segments=_segments(pack),
        predicts=predicts,
        targets=input_ids.roll(-1, dims=1)[predicts],
    )


def _segments(pack: Pack) -> tuple[Segment, ...]:
    """Return what attends to what; a prefix with a single branch is one run of text with it."""
    shared = Counter(branch.prefix for branch in pack.branches)
    segments: list[Segment] = []
    for first, last in pack.prefixes:
        if shared[first, last] != 1:
            segments += causal_segments(first, last)
    for branch in pack.branches:
        if shared[branch.prefix] > 1:
            segments.append(Segment(start=branch.start, end=branch.end, seen=branch.prefix))
        else:
            segments += causal_segments(branch.prefix[0], branch.end)
    return tuple(sorted(segments, key=lambda segment: segment.start))


def supervised_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the logits where an answer's token comes next; float, (supervised, vocabulary).

    The head is applied there only: it is the largest matrix of a small model, and most
    positions belong to prompts.
    """
    logits: Tensor = model.get_output_embeddings()(hidden_states(model, batch)[batch.predicts])
    return logits


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the last hidden states; float, (1, length, size)."""
    hidden: Tensor = (
        model.get_decoder()(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=torch.zeros(1, 1, 1, 1),  # the segments say it all
            segments=batch.segments,
            use_cache=False,
        )
    ).last_hidden_state
    return hidden


@torch.no_grad()
def attends_in_segments(model: PreTrainedModel) -> bool:
    """Whether the model's layers pass on what attends to what, so that no position sees a later one."""
    tokens = (1, 2, 3, 4)
    states = []
    for last in (5, 6):
        branch = Branch(index=0, start=4, answer=4, end=5, prefix=(0, 4))
        pack = Pack(tokens=(*tokens, last), prefixes=((0, 4),), branches=(branch,))
        states.append(hidden_states(model, collate(pack))[0, : len(tokens)])
    return bool(torch.equal(*states))


def answer_losses(model: PreTrainedModel, pack: Pack) -> Iterator[tuple[int, float, int]]:
    """Yield, for each example of a pack, its index, the loss of its answer in nats, and its tokens."""
    batch = collate(pack)
    yield from split_losses(pack, supervised_logits(model, batch), batch.targets)


def split_losses(pack: Pack, logits: Tensor, targets: Tensor) -> Iterator[tuple[int, float, int]]:
    """Yield, for each example of a pack, its index, the loss of its answer in nats, and its tokens.

    Args:
        pack: The pack.
        logits: Before each answer token; float, (supervised, vocabulary).
        targets: Those tokens; integer, (supervised,).
    """
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    done = 0
    for branch in pack.branches:
        tokens = branch.end - branch.answer
        yield branch.index, float(losses[done : done + tokens].sum()), tokens
        done += tokens
