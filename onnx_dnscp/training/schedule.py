"""Learning rate over the steps of one phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx_dnscp.errors import RequestError


@dataclass(frozen=True)
class Schedule:
    """The learning rate rises linearly to `base` while it warms up, and falls to nearly 0 along half a cosine.

    Both phases of a run share the cosine: surgery takes away only what has been silent, so training goes on as it was.

    Attributes:
        base: The highest learning rate.
        num_steps: Of the phase.
        warmup: Steps until `base` is reached; the first of them has base / warmup. 0 starts with `base`.
        before: Steps of the phase before this one, in which the learning rate has warmed up.
        after: Steps of the phase after this one.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2 (gradual warm-up); Loshchilov and Hutter
    2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, one period.
    """

    base: float
    num_steps: int
    warmup: int = 0
    before: int = 0
    after: int = 0

    def __call__(self, step: int) -> float:
        """Learning rate of step `step`, which counts from 0 to num_steps - 1."""
        done = self.before + step
        if done < self.warmup:
            return self.base * (done + 1) / self.warmup
        whole = self.before + self.num_steps + self.after
        return self.base * 0.5 * (1.0 + math.cos(math.pi * (done - self.warmup) / (whole - self.warmup)))


def make_schedule(base: float, num_steps: int, warmup: float, *, before: int = 0, after: int = 0) -> Schedule:
    """The schedule of one phase.

    Args:
        base: The highest learning rate.
        num_steps: Of the phase.
        warmup: Below 1, a share of the run's first phase; else a number of steps.
        before: Steps of the phase before this one.
        after: Steps of the phase after this one.

    Raises:
        RequestError: The first phase is over before the learning rate has warmed up.
    """
    first = before or num_steps
    steps = round(warmup * first) if warmup < 1 else int(warmup)
    if first and steps >= first:
        raise RequestError(
            f"--warmup {warmup:g} takes {steps} steps, and a training phase has only {first}; give a share of it, "
            "such as --warmup 0.05, or train for more epochs."
        )
    return Schedule(base, num_steps, steps, before, after)
