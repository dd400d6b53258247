"""The register of pruning methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.ranked import Criterion, Ranked, RankedSchedule
from onnx_dnscp.masks.rules import DEFAULT_C_RATE, DEFAULT_GAMMA, DEFAULT_POWER, RuleName
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.ops.table import Table
from onnx_dnscp.training.method import Method
from onnx_dnscp.training.weights import Vector, Weights

Measure = Callable[[Vector], Vector]
"""From (units,) importance within groups to (groups,) how much each matters, in deviations of its units' importance."""


def no_offsets(importance: Vector) -> Vector:
    """All groups alike."""
    return np.zeros(importance.size)  # there are no more groups than units


@dataclass(frozen=True)
class MethodSettings:
    """What a method is made from.

    Attributes:
        units: What discovery found.
        budget: The target and its metric.
        rng: For whatever is drawn.
        schedule: When units go; None leaves it to the method.
        rule: Of DNS-CP; so are the others.
        c_rate: Half width of the hysteresis band, 0 to 3.
        gamma: Decay of the update probability.
        power: Exponent of that decay.
        measure: How much groups differ in what their channels matter to the outputs, for methods that ask.
    """

    units: Units
    budget: Budget
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    schedule: RankedSchedule | None = None
    rule: RuleName = "doc"
    c_rate: float = DEFAULT_C_RATE
    gamma: float = DEFAULT_GAMMA
    power: float = DEFAULT_POWER
    measure: Measure = no_offsets


MethodFactory = Callable[[MethodSettings], Method]


@dataclass(frozen=True)
class Registered:
    """A method and what it asks for.

    Attributes:
        make: Makes it.
        needs_labels: Whether it can only rank by the gradients of training with labels.
        rounds: Of training with masks, surgery and fine-tuning; one is made for each.
    """

    make: MethodFactory
    needs_labels: bool
    rounds: int


METHODS: Table[str, Registered] = Table("pruning method")


def method(name: str, *, needs_labels: bool = False, rounds: int = 1) -> Callable[[MethodFactory], MethodFactory]:
    """Register the function below as the maker of the method `name`."""

    def register(make: MethodFactory) -> MethodFactory:
        METHODS.add(name, Registered(make, needs_labels, rounds))
        return make

    return register


def ranked(settings: MethodSettings, criterion: Criterion) -> Ranked:
    """A method that ranks by `criterion`, at once unless another schedule is asked for."""
    return Ranked(settings.units.num_units, settings.budget, criterion, settings.schedule or "one-shot")


def choose_once(chosen: Method, weights: Weights, num_units: int) -> Mask:
    """The mask that meets the target without any training.

    Raises:
        RequestError: The method cannot tell without.
    """
    return chosen.finish(weights, np.ones(num_units, dtype=bool))
