"""The optimizer's settings and the learning rate of a step, the same in both engines."""

from __future__ import annotations

import math

BETAS = (0.9, 0.95)
CLIP = 1.0  # largest norm of a gradient
WARMUP = 0.06  # share of the steps
LOWEST_RATE = 0.05  # share of the highest


def rate_share(step: int, *, steps: int) -> float:
    """Return the share of the learning rate at a step, from 0: warm-up, then a cosine to a twentieth."""
    warmup = min(1.0, (step + 1) / (WARMUP * steps + 1))
    return warmup * max(LOWEST_RATE, 0.5 * (1 + math.cos(math.pi * step / steps)))
