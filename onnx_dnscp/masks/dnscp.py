"""DNS-CP: channels fall below one threshold and come back above another while the network trains.

Source: DNS-CP note, section 2; patent US 12,393,844 B2, claims 3 to 5 (docs/sources.md). The rules that differ between
the descriptions are in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.registry import Measure, MethodSettings, method, no_offsets, ranked
from onnx_dnscp.masks.rules import DEFAULT_C_RATE, DEFAULT_GAMMA, DEFAULT_POWER, Rule, make_rule, raised, standardised
from onnx_dnscp.masks.schedule import RAMP_SHARE, ramp
from onnx_dnscp.masks.statistics import StatisticsReader, WeightStatistics
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.training.method import MasksOnly, Method, Need, StepState
from onnx_dnscp.training.weights import HostParameters, Vector, Weights

START_SHARE = 0.5  # of the target; most that is removed before any training where the target is reached step by step
_NEVER = 1e9  # layer deviations below which no unit that is off comes back


def update_probability(iteration: int, gamma: float, power: float) -> float:
    """Sigma(iter) = (1 + gamma * iter) ** -power, equation 2 of the note."""
    return float((1.0 + gamma * iteration) ** -power)


class DnsCp(MasksOnly):
    """The DNS-CP method, with a controller that leads the pruned ratio to a target where the rule has one.

    Args:
        units: What discovery found.
        budget: The target and its metric.
        rng: Draws which groups update at a step.
        rule: Compares channels with thresholds.
        gamma: Decay of the update probability.
        power: Exponent of that decay.
        recovers: Whether what fell may come back.
        at_once: Whether a rule with a controller begins at the target, so that weights can be repaired for the first
            mask; otherwise the ratio goes there along the ramp.
        measure: How much groups matter, in spreads of their units: a controller's thresholds lie lower by that.
    """

    def __init__(
        self,
        units: Units,
        budget: Budget,
        rng: np.random.Generator,
        *,
        rule: Rule | None = None,
        gamma: float = DEFAULT_GAMMA,
        power: float = DEFAULT_POWER,
        recovers: bool = True,
        at_once: bool = True,
        measure: Measure = no_offsets,
    ) -> None:
        self._units = units
        self._budget = budget
        self._rng = rng
        self._rule = make_rule("doc", DEFAULT_C_RATE) if rule is None else rule
        self._gamma = gamma
        self._power = power
        self._recovers = recovers
        self._at_once = at_once and self._rule.controlled
        self._reader = StatisticsReader(units)
        self._first: WeightStatistics | None = None
        self._start_ratio = 0.0
        # (units,) in layer deviations: what repair took from each unit. Units are ranked by the original's weights and
        # what training changed since; by repaired weights, others would change places at once, and no longer fit.
        self._repaired = np.zeros(units.num_units)
        self._measure = measure
        self._measured: Vector | None = None  # (groups,)

    def first_mask(self, weights: Weights) -> Mask:
        """The target in the rule's order, or the plain rule (s = 0), which a controller holds back to `START_SHARE`."""
        statistics = self._first = self._reader.read(weights)
        if self._at_once:
            return self._budget.final_mask(self._comparable(standardised(statistics), statistics))
        everything = np.ones(self._units.num_units, dtype=bool)
        mask = self._filled(self._rule.update(everything, statistics), statistics)
        if self._rule.controlled and self._budget.ratio(mask) > START_SHARE * self._budget.target:
            importance = self._comparable(standardised(statistics), statistics)
            mask = self._budget.without_least(importance, START_SHARE * self._budget.target)
        self._start_ratio = self._budget.ratio(mask)
        return mask

    def after_step(self, state: StepState) -> Mask:
        """Shift the thresholds to the ramp's ratio and let the groups that are drawn follow them."""
        if not self._rule.controlled and self._budget.ratio(state.mask) >= self._budget.target:
            return state.mask
        drawn = self._rng.random(len(self._units.groups)) < update_probability(state.step, self._gamma, self._power)
        if not self._rule.drawn:
            drawn[:] = True
        statistics = self._read(state.weights)
        if self._at_once and state.step == 1 and self._first is not None:
            self._repaired = standardised(self._first) - standardised(statistics)
        followed = self._followed(statistics, state)
        if not self._recovers:
            followed &= state.mask
        return self._filled(np.where(drawn[self._units.group_of], followed, state.mask), statistics)

    def finish(self, weights: Weights, mask: Mask) -> Mask:
        """Freeze: the least deserving units go, with the same hysteresis, until the target is met."""
        return self._budget.final_mask(self._turning_points(self._read(weights), mask))

    def state(self) -> dict[str, Any]:
        """The generator, where the ramp starts, what repair changed, the groups' offsets and the first statistics."""
        known = {} if self._first is None else {**vars(self._first), "groups": self._of_groups(self._first)}
        return {
            "rng": self._rng.bit_generator.state,
            "start_ratio": self._start_ratio,
            "repaired": self._repaired,
            **known,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._rng.bit_generator.state = state["rng"]
        self._start_ratio, self._repaired = state["start_ratio"], state["repaired"]
        self._measured = state["groups"]
        self._first = WeightStatistics(**{f.name: state[f.name] for f in fields(WeightStatistics)})

    def _read(self, weights: Weights) -> WeightStatistics:
        now = self._reader.read(weights)
        if not self._rule.fixed_statistics or self._first is None:
            return now
        return replace(now, layer_mean=self._first.layer_mean, layer_std=self._first.layer_std)

    def _comparable(self, points: Vector, statistics: WeightStatistics) -> Vector:
        """Points in layer deviations, raised by what the group matters, as a controller compares them across groups."""
        standard = standardised(self._first or statistics)
        return raised(points, self._of_groups(statistics), standard, self._units.group_of)

    def _of_groups(self, statistics: WeightStatistics) -> Vector:
        if self._measured is None:
            self._measured = self._measure(standardised(statistics))
        return self._measured

    def _filled(self, mask: Mask, statistics: WeightStatistics) -> Mask:
        """The counts that the rule wants, and no group empty."""
        return self._budget.fill_groups(self._rule.rounded(mask, self._units), standardised(statistics))

    def _turning_points(self, statistics: WeightStatistics, mask: Mask) -> Vector:
        points = self._rule.turning_points(statistics, mask) + self._repaired
        if self._rule.controlled:
            points = self._comparable(points, statistics)
        return points if self._recovers else np.where(mask, points, points - _NEVER)

    def _followed(self, statistics: WeightStatistics, state: StepState) -> Mask:
        """The mask that the rule wants if all groups follow it.

        A controller's shift lies between the turning points of the units that go and of those that stay, so the order
        of the points says all.
        """
        if not self._rule.controlled:
            return self._rule.update(state.mask, statistics)
        turning = self._turning_points(statistics, state.mask)
        if self._at_once:
            return self._budget.final_mask(turning)
        progress = ramp(state.step / (RAMP_SHARE * state.num_steps))
        ratio = self._start_ratio + (self._budget.target - self._start_ratio) * progress
        return self._budget.without_least(turning, ratio)


class _MeanWeight:
    """The statistic of DNS-CP as a criterion: mean |W| over the consumers, in layer deviations."""

    needs: frozenset[Need] = frozenset()

    def __init__(self, units: Units, measure: Measure = no_offsets) -> None:
        self._units = units
        self._reader = StatisticsReader(units)
        self._measure = measure

    def observe(self, state: StepState) -> None:
        """Weights alone decide."""

    def scores(self, weights: Weights) -> Vector:
        """(mu_k - mu) / std, raised by what the group matters."""
        found = standardised(self._reader.read(weights))
        return raised(found, self._measure(found), found, self._units.group_of)


def one_shot(units: Units, budget: Budget, weights: Mapping[str, NDArray[Any]]) -> Mask:
    """The mask that meets the target by the DNS-CP statistic alone, without training."""
    return budget.final_mask(_MeanWeight(units).scores(HostParameters(weights)))


@method("dnscp")
def dnscp(settings: MethodSettings) -> Method:
    """Dynamic at the target by default.

    "one-shot" keeps to the same first mask; "iterative" goes to the target step by step without recovery.
    """
    if settings.schedule == "one-shot":
        return ranked(settings, _MeanWeight(settings.units, settings.measure))
    return DnsCp(
        settings.units,
        settings.budget,
        settings.rng,
        rule=make_rule(settings.rule, settings.c_rate),
        gamma=settings.gamma,
        power=settings.power,
        recovers=settings.schedule is None,
        at_once=settings.schedule is None,
        measure=settings.measure,
    )
