"""The methods and objectives of training: what each is for and what is known against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MethodName = Literal["qlora", "lora", "dora", "rslora", "adalora", "prefix", "prompt", "p-tuning", "full"]
ObjectiveName = Literal["sft", "dpo", "kto", "orpo", "reward", "grpo"]
RewardName = Literal["match", "citation"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to train.

    Attributes:
        is_quantized: The base model is in NF4, double-quantized.
        is_prompt: It learns virtual tokens before every sequence, and changes no weights.
        learning_rate: Highest rate, where none is given.
        caveat: What to know before choosing it.
    """

    is_quantized: bool = False
    is_prompt: bool = False
    learning_rate: float
    caveat: str


# The caveats are of `benchmarks/training_methods.py` (BENCHMARKS.md).
METHODS: dict[MethodName, Method] = {
    "qlora": Method(is_quantized=True, learning_rate=7e-4, caveat="the default"),
    "lora": Method(learning_rate=7e-4, caveat="on a CPU as quick as qlora, and no smaller in memory"),
    "dora": Method(learning_rate=7e-4, caveat="half the speed, 1.9 times the memory of qlora; same loss"),
    "rslora": Method(learning_rate=3e-4, caveat="as lora at low ranks; its scale is meant for high ones"),
    "adalora": Method(learning_rate=5e-3, caveat="0.6 times the speed, 1.7 times the memory of qlora; same loss"),
    "prefix": Method(is_prompt=True, learning_rate=1e-2, caveat="learns least: loss 0.045, qlora 0.001; no export"),
    "prompt": Method(is_prompt=True, learning_rate=3e-2, caveat="learns less: loss 0.014, qlora 0.001; no export"),
    "p-tuning": Method(is_prompt=True, learning_rate=3e-3, caveat="learns less: loss 0.016, qlora 0.001; no export"),
    "full": Method(learning_rate=5e-5, caveat="0.7 times the speed, 2.2 times the memory of qlora"),
}


@dataclass(frozen=True, kw_only=True)
class ObjectiveKind:
    """One thing to minimise.

    Attributes:
        needs_pairs: It learns from pairs of a better and a worse answer.
        rate: Its learning rate, as a share of the method's for supervised fine-tuning.
        meaning: What it is.
    """

    needs_pairs: bool
    rate: float
    meaning: str


OBJECTIVES: dict[ObjectiveName, ObjectiveKind] = {
    "sft": ObjectiveKind(needs_pairs=False, rate=1.0, meaning="supervised fine-tuning on answers"),
    "dpo": ObjectiveKind(needs_pairs=True, rate=0.1, meaning="direct preference optimisation"),
    "kto": ObjectiveKind(needs_pairs=True, rate=0.1, meaning="prospect-theoretic optimisation of good and bad answers"),
    "orpo": ObjectiveKind(needs_pairs=True, rate=0.3, meaning="answers and preferences at once, by odds ratios"),
    "reward": ObjectiveKind(needs_pairs=True, rate=0.3, meaning="a reward model: a number for an answer"),
    "grpo": ObjectiveKind(needs_pairs=False, rate=0.1, meaning="group-relative policy optimisation with a rule"),
}


def default_rate(method: MethodName, objective: ObjectiveName) -> float:
    """Return the highest learning rate where none is given."""
    return METHODS[method].learning_rate * OBJECTIVES[objective].rate
