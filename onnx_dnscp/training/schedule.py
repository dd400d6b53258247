"""Learning rate over the steps of one phase."""

from __future__ import annotations

import math


def cosine(step: int, num_steps: int, base: float) -> float:
    """Learning rate of step `step` (0 .. num_steps-1): from `base` down to nearly 0 along half a cosine.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, one period.
    """
    return base * 0.5 * (1.0 + math.cos(math.pi * step / max(1, num_steps)))
