"""Learning rate over the steps of one phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from onnx_dnscp.errors import RequestError


@dataclass(frozen=True)
class Schedule:
    """The learning rate rises linearly to `base` while it warms up, and falls to nearly 0 along half a cosine.

    All phases of a run share the cosine: surgery takes away only what has been silent, so training goes on as it was.

    Attributes:
        base: The highest learning rate.
        num_steps: Of the phase.
        warmup: Steps until `base` is reached; the first of them has base / warmup. 0 starts with `base`.
        before: Steps of the phases before this one, in which the learning rate has warmed up.
        after: Steps of the phases after this one.

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


@dataclass(frozen=True)
class Place:
    """Where one phase lies among all that a run trains.

    Attributes:
        index: Of the phase, from 0.
        num_steps: Its own.
        before: Steps of all phases before it.
        after: Steps of all phases after it.
        later: Number of phases after it.
        first: Steps of the first phase.
    """

    index: int
    num_steps: int
    before: int
    after: int
    later: int
    first: int


def make_places(num_steps: Sequence[int]) -> tuple[Place, ...]:
    """The places of phases of so many steps, one after the other."""
    done = [0, *accumulate(num_steps)]
    return tuple(
        Place(i, own, done[i], done[-1] - done[i + 1], len(num_steps) - 1 - i, num_steps[0])
        for i, own in enumerate(num_steps)
    )


def make_schedule(base: float, place: Place, warmup: float) -> Schedule:
    """The schedule of one phase.

    Args:
        base: The highest learning rate.
        place: Of the phase.
        warmup: Below 1, a share of the run's first phase; else a number of steps.

    Raises:
        RequestError: The first phase is over before the learning rate has warmed up.
    """
    steps = round(warmup * place.first) if warmup < 1 else int(warmup)
    if place.first and steps >= place.first:
        raise RequestError(
            f"--warmup {warmup:g} takes {steps} steps, and a training phase has only {place.first}; give a share of "
            "it, such as --warmup 0.05, or train for more epochs."
        )
    return Schedule(base, place.num_steps, steps, place.before, place.after)
