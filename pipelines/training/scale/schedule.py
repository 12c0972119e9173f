"""How both engines step: the same order of examples, learning rate, optimizer and clipping."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from torch.utils.data import Sampler

BETAS = (0.9, 0.95)
CLIP = 1.0
WARMUP = 0.06
LOWEST_RATE = 0.05


def rate_share(step: int, *, steps: int) -> float:
    """Return the share of the learning rate at a step, from 0: warm-up, then a cosine to a twentieth."""
    warmup = min(1.0, (step + 1) / (WARMUP * steps + 1))
    return warmup * max(LOWEST_RATE, 0.5 * (1 + math.cos(math.pi * step / steps)))


class EpochOrder(Sampler[int]):
    """The order of the examples in each epoch; blanks that only fill the last batch come last.

    With blanks every batch is whole, so any number of processes shares the same examples
    between them, and none is repeated.
    """

    def __init__(self, examples: int, *, blanks: int, seed: int) -> None:
        self._examples = examples
        self._blanks = blanks
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, from 0, is about to begin."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._examples + self._blanks

    def __iter__(self) -> Iterator[int]:
        order = list(range(self._examples))
        random.Random(f"{self._seed}:{self._epoch}").shuffle(order)
        yield from order
        yield from range(self._examples, self._examples + self._blanks)
