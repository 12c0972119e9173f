"""Examples packed around what they share, for training and for teacher-forced loss.

A pack is one sequence: a prefix once, then for each example the rest of its prompt and its
answer. The attention mask lets an example see the prefix and itself only, and positions
restart after the prefix, so every example is computed exactly as if it stood alone.
"""

from __future__ import annotations

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
    sequences = [example.prompt + example.answer for example in examples]
    # The last token of the prompt predicts the first of the answer, so it is never shared.
    shareable = [len(example.prompt) - 1 for example in examples]
    groups = group_by_prefix(sequences, shareable=shareable, max_members=max_members, max_tokens=max_tokens)
    packs = []
    for group in groups:
        tokens = list(sequences[group.members[0]][: group.length])
        branches = []
        for index in group.members:
            start = len(tokens)
            tokens += sequences[index][group.length :]
            end = len(tokens)
            answer = end - len(examples[index].answer)
            branches.append(Branch(index=index, start=start, answer=answer, end=end))
        packs.append(Pack(tokens=tuple(tokens), prefix=group.length, branches=tuple(branches)))
    return packs


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
    backbone = model.get_decoder()
    hidden = backbone(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
    ).last_hidden_state
    logits: Tensor = model.get_output_embeddings()(hidden[batch.predicts])
    return logits


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
