"""DNS-CP: channels fall below one threshold and come back above another while the network trains.

Source: DNS-CP note (references/002), section 2; patent US 12,393,844 B2 (references/000), claims 3 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.budget import Budget, Mask
from onnx_dnscp.masks.method import StepState
from onnx_dnscp.masks.statistics import StatisticsReader, WeightStatistics
from onnx_dnscp.training.view import TrainingView
from onnx_dnscp.units import Units

DEFAULT_C_RATE = 0.1  # half the width of the band in layer deviations; the note's usual value
DEFAULT_GAMMA = 1e-4  # decay of the update probability: after 10,000 steps half of the draws still update
DEFAULT_POWER = 1.0
RAMP_SHARE = 0.7  # of the dynamic phase; the rest holds the target, so that late recoveries can swap channels
START_SHARE = 0.5  # of the target; the initial selection removes at most this much before any training


def thresholds(
    statistics: WeightStatistics, c_rate: float, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper threshold a, b of every unit, in the unit of the weights.

    a = max(0, mu - (c - s) * std), b = max(0, mu + (c + s) * std); with s = 0 this is equation 4 of the note.

    Args:
        statistics: Of the current weights.
        c_rate: Half width c of the band, in layer deviations.
        shift: The controller's s, in layer deviations, common to all layers.
    """
    lower = statistics.layer_mean - (c_rate - shift) * statistics.layer_std
    upper = statistics.layer_mean + (c_rate + shift) * statistics.layer_std
    return np.maximum(0, lower), np.maximum(0, upper)


def update_mask(
    mask: Mask, unit_mean: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> Mask:
    """The next mask: off below `lower`, on above `upper`, unchanged between (equation 3 of the note).

    All arguments have shape (units,); `mask` is True for units that are on and is not modified.
    """
    return (mask & (unit_mean >= lower)) | (unit_mean > upper)


def update_probability(iteration: int, gamma: float, power: float) -> float:
    """Sigma(iter) = (1 + gamma * iter) ** -power, equation 2 of the note."""
    return float((1.0 + gamma * iteration) ** -power)


def ramp(progress: float) -> float:
    """Smooth way from 0 to 1 while `progress` goes from 0 to 1: fast at first, flat at the end (cubic)."""
    return 1.0 - (1.0 - min(1.0, max(0.0, progress))) ** 3


class DnsCp:
    """The DNS-CP method with a controller that leads the pruned ratio to a target.

    Args:
        units: What discovery found.
        budget: The target and its metric.
        rng: Draws which groups update at a step.
        c_rate: Half width of the hysteresis band, 0 to 3.
        gamma: Decay of the update probability.
        power: Exponent of that decay.
    """

    def __init__(
        self,
        units: Units,
        budget: Budget,
        rng: np.random.Generator,
        *,
        c_rate: float = DEFAULT_C_RATE,
        gamma: float = DEFAULT_GAMMA,
        power: float = DEFAULT_POWER,
    ) -> None:
        self._units = units
        self._budget = budget
        self._rng = rng
        self._c_rate = c_rate
        self._gamma = gamma
        self._power = power
        self._reader = StatisticsReader(units)
        self._start_ratio = 0.0

    def extend_view(self, view: TrainingView) -> None:
        """DNS-CP needs nothing beyond the masks."""

    def begin(self, weights: Mapping[str, NDArray[Any]], num_steps: int) -> Mask:
        """The plain rule (s = 0) on the untrained weights, held back to `START_SHARE` of the target."""
        statistics = self._reader.read(weights)
        everything = np.ones(self._units.num_units, dtype=bool)
        mask = update_mask(everything, statistics.unit_mean, *thresholds(statistics, self._c_rate))
        mask = self._budget.fill_groups(mask, standardised(statistics))
        if self._budget.ratio(mask) > START_SHARE * self._budget.target:
            mask = self._budget.without_least(standardised(statistics), START_SHARE * self._budget.target)
        self._start_ratio = self._budget.ratio(mask)
        return mask

    def after_step(self, state: StepState) -> Mask:
        """Shift the thresholds to the ramp's ratio and let the groups that are drawn follow them."""
        drawn = self._rng.random(len(self._units.groups)) < update_probability(state.step, self._gamma, self._power)
        statistics = self._reader.read(state.weights)
        progress = ramp(state.step / (RAMP_SHARE * state.num_steps))
        wanted = self._start_ratio + (self._budget.target - self._start_ratio) * progress
        shift = self._shift_for(statistics, state.mask, wanted)
        followed = update_mask(state.mask, statistics.unit_mean, *thresholds(statistics, self._c_rate, shift))
        mask = np.where(drawn[self._units.group_of], followed, state.mask)
        return self._budget.fill_groups(mask, standardised(statistics))

    def finish(self, weights: Mapping[str, NDArray[Any]], mask: Mask) -> Mask:
        """Freeze: the least deserving units go, with the same hysteresis, until the target is met."""
        turning = turning_points(self._reader.read(weights), mask, self._c_rate)
        return self._budget.final_mask(turning)

    def _shift_for(self, statistics: WeightStatistics, mask: Mask, ratio: float) -> float:
        """The s at which the rule would leave exactly `ratio` pruned, if all groups followed it."""
        turning = turning_points(statistics, mask, self._c_rate)
        stays = self._budget.without_least(turning, ratio)
        if stays.all():
            return float(turning.min()) - 1.0
        if not stays.any():
            return float(turning.max()) + 1.0
        # A group's last unit stays whatever its turning point, so the sets may overlap; the median cut is theirs.
        off = np.sort(turning)[: np.count_nonzero(~stays)]
        on = np.sort(turning)[np.count_nonzero(~stays) :]
        return float((off[-1] + on[0]) / 2)


def standardised(statistics: WeightStatistics) -> NDArray[np.float64]:
    """(mu_k - mu) / std of every unit: its weight mean in layer deviations; 0 in a layer of equal weights."""
    std = np.where(statistics.layer_std > 0, statistics.layer_std, 1.0)
    return (statistics.unit_mean - statistics.layer_mean) / std


def turning_points(statistics: WeightStatistics, mask: Mask, c_rate: float) -> NDArray[np.float64]:
    """The shift s at which each unit turns off when s rises past it.

    A unit that is on falls when mu_k < mu - (c - s) std, so at z + c; one that is off returns when
    mu_k > mu + (c + s) std, so below z - c. Sorting by these points orders units as the rule would take them.
    """
    return standardised(statistics) + np.where(mask, c_rate, -c_rate)


def one_shot(units: Units, budget: Budget, weights: Mapping[str, NDArray[Any]]) -> Mask:
    """The mask that meets the target by the DNS-CP statistic alone, without training."""
    return budget.final_mask(standardised(StatisticsReader(units).read(weights)))
