"""Learning rate over the steps of one phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx_dnscp.errors import RequestError


@dataclass(frozen=True)
class Schedule:
    """The learning rate rises linearly to `base` while it warms up, and falls to nearly 0 along half a cosine.

    Attributes:
        base: The highest learning rate.
        num_steps: Of the phase.
        warmup: Steps until `base` is reached; the first of them has base / warmup. 0 starts with `base`.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2 (gradual warm-up); Loshchilov and Hutter
    2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, one period.
    """

    base: float
    num_steps: int
    warmup: int = 0

    def __call__(self, step: int) -> float:
        """Learning rate of step `step`, which counts from 0 to num_steps - 1."""
        if step < self.warmup:
            return self.base * (step + 1) / self.warmup
        return self.base * 0.5 * (1.0 + math.cos(math.pi * (step - self.warmup) / (self.num_steps - self.warmup)))


def make_schedule(base: float, num_steps: int, warmup: float) -> Schedule:
    """The schedule of one phase.

    Args:
        base: The highest learning rate.
        num_steps: Of the phase.
        warmup: Below 1, a share of the phase; else a number of steps.

    Raises:
        RequestError: The phase is over before the learning rate has warmed up.
    """
    steps = round(warmup * num_steps) if warmup < 1 else int(warmup)
    if num_steps and steps >= num_steps:
        raise RequestError(
            f"--warmup {warmup:g} takes {steps} steps, and a training phase has only {num_steps}; give a share of it, "
            "such as --warmup 0.05, or train for more epochs."
        )
    return Schedule(base, num_steps, steps)
