"""GRPO: the student samples answers and learns from those that a rule rewards more than the others.

A prompt's answers stand in one pack, so what they share is computed once. One update is made
from each set of answers, so that the clipped ratio of the paper is 1 and its gradient is that
of the log-probability.

Source:
    Shao et al. 2024, DeepSeekMath, equations 3 and 4, arXiv:2402.03300. Advantages are not
    divided by their deviation: Liu et al. 2025, section 3.1, arXiv:2503.20783.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pipelines.models.engine import Completion, Sampling
from pipelines.models.local import LocalEngine
from pipelines.models.packing import Pack, pack_groups
from pipelines.models.render import Rendered, encode_text, end_token
from pipelines.records import Message
from pipelines.training.objectives.objective import Losses, Objective
from pipelines.training.student import Student

# Says what an answer to a conversation is worth, given the answer that was wanted; 0 to 1.
Reward = Callable[[Sequence[Message], str, str], float]

_KL_WEIGHT = 0.02
_TEMPERATURE = 1.0


class GroupRelativePolicy(Objective):
    """The loss is a policy gradient; the number that validation reports is 1 - mean reward of greedy answers."""

    def __init__(
        self,
        engine: LocalEngine,
        conversations: Sequence[tuple[Message, ...]],
        *,
        reward: Reward,
        samples: int,
        max_tokens: int,
        seed: int,
    ) -> None:
        self._engine = engine
        self._conversations = conversations
        self._reward = reward
        self._samples = samples
        self._max_tokens = max_tokens
        self._seed = seed
        self._advantages: dict[int, float] = {}
        self._rewards: dict[int, float] = {}

    def begin_step(self, student: Student, packs: Sequence[Pack], *, step: int) -> Sequence[Pack]:
        """Sample answers to the prompts of the packs, reward them, and return them as packs."""
        return self._sample(student, packs, samples=self._samples, temperature=_TEMPERATURE, seed=self._seed + step)

    def begin_validation(self, student: Student, packs: Sequence[Pack]) -> Sequence[Pack]:
        """Answer the prompts of the packs greedily, and return the answers as packs."""
        return self._sample(student, packs, samples=1, temperature=0.0, seed=self._seed)

    def weight(self, pack: Pack) -> float:
        """Return the number of answers."""
        return len(pack.branches)

    def loss(self, student: Student, pack: Pack) -> Losses:
        """Return the loss summed over the answers."""
        rewards = [self._rewards[branch.index] for branch in pack.branches]
        measures = {"reward": sum(rewards)}
        if not torch.is_grad_enabled():
            return Losses(total=torch.tensor(float(len(rewards)) - sum(rewards)), measures=measures)
        logits, targets = student.supervised_logits(pack)
        now = -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        with student.as_reference():
            reference_logits, _targets = student.supervised_logits(pack)
            before = -torch.nn.functional.cross_entropy(reference_logits.float(), targets, reduction="none")
        gap = before - now
        divergence = torch.exp(gap) - gap - 1  # an estimate of KL that is never negative (Schulman 2020)
        sizes = [branch.end - branch.answer for branch in pack.branches]
        advantages = torch.tensor([self._advantages[branch.index] for branch in pack.branches])
        each = _KL_WEIGHT * divergence - torch.repeat_interleave(advantages, torch.tensor(sizes)) * now
        # A constant length as divisor keeps long bad answers from counting less than short ones.
        return Losses(total=each.sum() / self._max_tokens, measures=measures)

    def _sample(
        self, student: Student, packs: Sequence[Pack], *, samples: int, temperature: float, seed: int
    ) -> list[Pack]:
        student.model.eval()
        asked = [branch.index for pack in packs for branch in pack.branches]
        groups: list[list[Rendered]] = []
        self._rewards, self._advantages = {}, {}
        answers: list[list[Completion]] = [[] for _ in asked]
        for number in range(samples):
            sampling = Sampling(max_tokens=self._max_tokens, temperature=temperature, seed=seed * samples + number)
            prompts = [self._conversations[index][:-1] for index in asked]
            for place, (completion,) in self._engine.generate(prompts, sampling):
                answers[place].append(completion)
        for index, said in zip(asked, answers, strict=True):
            conversation = self._conversations[index]
            rewards = [self._reward(conversation[:-1], answer.text, conversation[-1].content) for answer in said]
            mean = sum(rewards) / len(rewards)
            for place, reward in enumerate(rewards, len(self._rewards)):
                self._rewards[place], self._advantages[place] = reward, reward - mean
            groups.append([self._render(conversation, answer) for answer in said])
        student.model.train()
        return pack_groups(groups, max_tokens=max(len(pack.tokens) for pack in packs) * samples)

    def _render(self, conversation: tuple[Message, ...], answer: Completion) -> Rendered:
        tokenizer = self._engine.tokenizer
        prompt = self._engine.encode(conversation[:-1])
        # An answer that was cut did not choose to end, and is not to be rewarded for it.
        said = encode_text(tokenizer, answer.text)
        has_ended = answer.finish == "stop" or not said
        return Rendered(prompt=tuple(prompt), answer=(*said, end_token(tokenizer)) if has_ended else tuple(said))
