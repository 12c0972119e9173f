"""A reward model: one number for an answer, higher for the better of two.

Source:
    Ouyang et al. 2022, InstructGPT, equation 1, arXiv:2203.02155 (after Bradley and Terry 1952).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipelines.errors import DataError, TrainingError
from pipelines.models import packing
from pipelines.models.packing import Pack, pack_examples
from pipelines.models.render import render_example
from pipelines.records import Message
from pipelines.training.objectives.objective import Losses, Objective
from pipelines.training.place import why_unwritten
from pipelines.training.student import Student

HEAD_FILE = "reward_head.safetensors"
_MAX_TOKENS = 2048


class RewardObjective(Objective):
    """The better answer of a pair shall be worth more; a linear head on its last token says how much."""

    together = 2

    def __init__(self, hidden_size: int, *, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.head = torch.nn.Parameter(torch.randn(hidden_size, generator=generator) * hidden_size**-0.5)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the head."""
        return [self.head]

    def weight(self, pack: Pack) -> float:
        """Return the number of pairs."""
        return len(pack.branches) / 2

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss summed over the pairs."""
        better, worse = (student.answer_hidden(pack).float() @ self.head).view(-1, 2).unbind(1)
        margin = better - worse
        measures = {"accuracy": float((margin > 0).sum()), "margin": float(margin.detach().sum())}
        return Losses(total=-logsigmoid(margin).sum(), measures=measures)

    def save(self, folder: Path) -> None:
        """Write the head beside the adapter."""
        try:
            save_file({"reward": self.head.detach().clone()}, folder / HEAD_FILE)
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"the reward head cannot be written to {folder}: {why_unwritten(error)}",
                hint="Free some disk space and run the same command again.",
            ) from error


@torch.inference_mode()
def score_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[tuple[Message, ...]],
    *,
    folder: Path,
) -> list[float]:
    """Return the reward of the last message of each conversation.

    Args:
        model: The base model with the adapter of `folder` merged in.
        tokenizer: Its tokenizer.
        conversations: The conversations, each with an answer at its end.
        folder: Adapter folder with the reward's head.

    Raises:
        DataError: The folder holds no reward model.
    """
    try:
        head: Tensor = load_file(folder / HEAD_FILE)["reward"]
    except (OSError, KeyError, SafetensorError) as error:
        raise DataError(
            f"{folder} holds no reward model", path=folder, hint="Train one with --objective reward."
        ) from error
    rendered = [render_example(tokenizer, conversation) for conversation in conversations]
    scores: dict[int, float] = {}
    for pack in pack_examples(rendered, max_tokens=_MAX_TOKENS):
        hidden = packing.hidden_states(model, packing.collate(pack))[0]
        for branch in pack.branches:
            scores[branch.index] = float(hidden[branch.end - 1].float() @ head)
    return [scores[number] for number in range(len(rendered))]
