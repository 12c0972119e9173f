"""The order of examples in the second engine, the same in any number of processes."""

from __future__ import annotations

import random
from collections.abc import Iterator

from torch.utils.data import Sampler


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
