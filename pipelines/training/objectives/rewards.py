"""Rules that reward an answer, for GRPO: no model judges, so nothing can be talked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.quotes import cited_quotes
from pipelines.records import Message
from pipelines.text import words
from pipelines.training.catalog import RewardName
from pipelines.training.objectives.policy import Reward


def find_reward(name: RewardName) -> Reward:
    """Return the rule of that name."""
    return {"match": reward_match, "citation": reward_citation}[name]


def reward_match(prompt: Sequence[Message], answer: str, wanted: str) -> float:
    """Return the F1 of the words of the answer and of the wanted one."""
    del prompt
    said, sought = Counter(words(answer)), Counter(words(wanted))
    common = (said & sought).total()
    return 2 * common / (said.total() + sought.total()) if common else 0.0


def reward_citation(prompt: Sequence[Message], answer: str, wanted: str) -> float:
    """Return the share of quotes that stand in the prompt, times the match with the wanted answer."""
    shown = " ".join(words(" ".join(message.content for message in prompt)))
    quotes = [" ".join(words(quote)) for quote in cited_quotes(answer)]
    proved = sum(quote in shown for quote in quotes) / len(quotes) if quotes else 0.0
    return 0.5 * proved + 0.5 * reward_match(prompt, answer, wanted)
