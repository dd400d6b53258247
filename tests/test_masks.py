"""Mask rules: statistics, thresholds, the update, the controller, and the exact target."""

from __future__ import annotations

import numpy as np
import pytest
from budgets import budget_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_cases import chain_units, group_units

from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.budget import first_true
from onnx_dnscp.masks.dnscp import DnsCp, one_shot, update_probability
from onnx_dnscp.masks.rules import standardised, thresholds, turning_points, update_mask
from onnx_dnscp.masks.schedule import ramp
from onnx_dnscp.masks.statistics import StatisticsReader, WeightStatistics
from onnx_dnscp.measure.metrics import COSTS
from onnx_dnscp.training.method import MaskHistory, StepState
from onnx_dnscp.training.weights import HostParameters


def test_statistics_match_a_plain_loop_over_channels() -> None:
    """mu_k, mu and std are means over all consumers of the group, element by element."""
    units = chain_units()
    weights = units.graph.stored
    found = StatisticsReader(units).read(HostParameters(weights))
    first = group_units(units, 8)
    pooled = [np.r_[np.abs(weights["wb"][:, k]).ravel(), np.abs(weights["wc"][:, k]).ravel()] for k in range(8)]
    np.testing.assert_allclose(found.unit_mean[first], [p.mean() for p in pooled], rtol=1e-6)
    everything = np.concatenate(pooled)
    np.testing.assert_allclose(found.layer_mean[first], everything.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.layer_std[first], everything.std(), rtol=1e-5)
    tail = group_units(units, 5)  # the last five input channels of wd
    np.testing.assert_allclose(found.unit_mean[tail], np.abs(weights["wd"][:, 6:, 0, 0]).mean(axis=0), rtol=1e-6)


def test_thresholds_and_update_match_numbers_worked_by_hand() -> None:
    """mu = 1, std = 0.5, c = 0.1: a = 0.95, b = 1.05; the band keeps whatever was there."""
    means = np.array([0.90, 0.94, 0.96, 1.04, 1.06, 1.20])
    statistics = WeightStatistics(means, np.full(6, 1.0), np.full(6, 0.5))
    lower, upper = thresholds(statistics, 0.1)
    np.testing.assert_allclose(lower, 0.95)
    np.testing.assert_allclose(upper, 1.05)
    on, off = np.ones(6, dtype=bool), np.zeros(6, dtype=bool)
    assert update_mask(on, means, lower, upper).tolist() == [False, False, True, True, True, True]
    assert update_mask(off, means, lower, upper).tolist() == [False, False, False, False, True, True]


def test_a_shift_moves_both_thresholds_and_keeps_the_band() -> None:
    """s = 0.2 adds 0.2 std to both; with a shift far below zero both stop at 0."""
    statistics = WeightStatistics(np.ones(1), np.ones(1), np.full(1, 0.5))
    lower, upper = thresholds(statistics, 0.1, shift=0.2)
    np.testing.assert_allclose([lower[0], upper[0]], [1.05, 1.15])
    lower, upper = thresholds(statistics, 0.1, shift=-9)
    assert lower[0] == upper[0] == 0


def test_update_probability_follows_the_formula() -> None:
    """(1 + 0.1 * 10) ** -2 = 0.25, and every draw updates at the start."""
    assert update_probability(10, 0.1, 2.0) == pytest.approx(0.25)
    assert update_probability(0, 0.1, 2.0) == 1.0


def test_ramp_is_monotone_from_zero_to_one() -> None:
    """It never overshoots, also beyond its end."""
    values = [ramp(p) for p in np.linspace(-0.5, 1.5, 50)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == 1


@given(limit=st.integers(0, 50), edge=st.integers(0, 60))
def test_first_true_finds_the_edge(limit: int, edge: int) -> None:
    """The smallest n with n >= edge, or the limit."""
    assert first_true(limit, lambda n: n >= edge) == min(limit, edge)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    ratio=st.floats(0, 0.8),
    metric=st.sampled_from(sorted(COSTS)),
    ties=st.booleans(),
)
def test_the_target_is_met_to_within_one_unit(seed: int, ratio: float, metric: str, ties: bool) -> None:
    """At least the ratio is removed, from the least important on; with the last removed unit back it is missed."""
    units = chain_units()
    budget = budget_of(units, metric, ratio)
    rng = np.random.default_rng(seed)
    importance = rng.integers(0, 3, units.num_units).astype(float) if ties else rng.standard_normal(units.num_units)
    mask = budget.without_least(importance, ratio)
    assert budget.ratio(mask) >= ratio - 1e-9
    assert all(mask[group.slice].any() for group in units.groups), "no group is emptied"
    assert mask.all() == (ratio <= 1e-12)
    if not mask.all():
        best = importance[~mask].max()
        spare = mask & (np.bincount(units.group_of, weights=mask)[units.group_of] > 1)
        assert importance[spare].min(initial=np.inf) >= best, "only the last unit of a group stays for other reasons"
        last = np.flatnonzero(~mask & (importance == best))  # several where units are equally important
        assert min(budget.ratio(_with(mask, unit)) for unit in last) < ratio


def _with(mask: np.ndarray, unit: int) -> np.ndarray:
    result = mask.copy()
    result[unit] = True
    return result


@pytest.mark.parametrize(("align", "ratio"), [(2, 0.1), (2, 0.3), (2, 0.5), (4, 0.1), (4, 0.3)])
def test_aligned_counts_are_multiples_or_whole_groups(align: int, ratio: float) -> None:
    """Every kept count is a multiple of the alignment, or the group is untouched."""
    units = chain_units()
    budget = budget_of(units, "channels", ratio, align=align)
    mask = budget.final_mask(np.random.default_rng(1).standard_normal(units.num_units))
    for group in units.groups:
        kept = int(mask[group.first : group.first + group.width].sum())
        assert kept % align == 0 or kept == group.width
    assert ratio <= budget.ratio(mask)


def test_a_ratio_out_of_reach_says_how_far_it_can_go() -> None:
    """19 units in 3 groups: at most 16 can go, 0.8421."""
    with pytest.raises(RequestError, match=r"at most 0\.8421"):
        budget_of(chain_units(), "channels", 0.9)
    budget_of(chain_units(), "channels", 0.8421)


def test_turning_points_are_where_the_rule_turns() -> None:
    """Just below its turning point a unit is on, just above it is off, whether it was on or off before."""
    units = chain_units()
    statistics = StatisticsReader(units).read(HostParameters(units.graph.stored))
    for was_on in (True, False):
        mask = np.full(units.num_units, was_on)
        points = turning_points(statistics, mask, 0.1)
        for unit, point in enumerate(points):
            below = update_mask(mask, statistics.unit_mean, *thresholds(statistics, 0.1, point - 1e-6))
            above = update_mask(mask, statistics.unit_mean, *thresholds(statistics, 0.1, point + 1e-6))
            assert below[unit]
            assert not above[unit]


def test_a_layer_of_equal_weights_has_no_preference() -> None:
    """A standard deviation of 0 must not divide."""
    statistics = WeightStatistics(np.ones(3), np.ones(3), np.zeros(3))
    assert standardised(statistics).tolist() == [0, 0, 0]


def test_the_controller_reaches_the_target_and_channels_come_back() -> None:
    """Weights that shrink make a channel fall; when they grow again it returns, and the ratio holds."""
    units = chain_units()
    budget = budget_of(units, "channels", 0.5)
    method = DnsCp(units, budget, np.random.default_rng(0))
    weights = {name: array.copy() for name, array in units.graph.stored.items()}
    first = group_units(units, 8)
    mask = method.first_mask(HostParameters(weights))
    assert 0.5 <= budget.ratio(mask) < 0.5 + 1 / units.num_units  # the target, from the start
    history = MaskHistory()
    victim = first.start + int(np.argmax(StatisticsReader(units).read(HostParameters(weights)).unit_mean[first]))
    for step in range(1, 41):
        factor = 0.05 if step == 10 else 40.0 if step == 20 else 1.0
        for name in ("wb", "wc"):
            weights[name][:, victim - first.start] *= np.float32(factor)
        following = method.after_step(StepState(step, 40, mask, HostParameters(weights)))
        history.record(step, mask, following, units)
        mask = following
        assert mask[victim] != (10 <= step < 20), step
    final = method.finish(HostParameters(weights), mask)
    assert 0.5 <= budget.ratio(final) < 0.5 + 1 / units.num_units
    assert history.num_recovered >= 1
    group = units.groups[units.group_of[victim]]
    back = [e.step for e in history.events if e.group == group.id and victim - group.first in e.recovered]
    assert back == [20]


def test_groups_that_are_not_drawn_keep_their_masks() -> None:
    """With a probability of practically 0 nothing changes after the initial selection."""
    units = chain_units()
    method = DnsCp(units, budget_of(units, "channels", 0.5), np.random.default_rng(0), gamma=1e12, power=5.0)
    weights = dict(units.graph.stored)
    mask = method.first_mask(HostParameters(weights))
    assert (method.after_step(StepState(5, 10, mask, HostParameters(weights))) == mask).all()


def test_one_shot_removes_the_channels_with_the_smallest_standardised_means() -> None:
    """With the target in channels, no removed unit deserves more than a kept one."""
    units = chain_units()
    mask = one_shot(units, budget_of(units, "channels", 0.4), units.graph.stored)
    score = standardised(StatisticsReader(units).read(HostParameters(units.graph.stored)))
    assert (~mask).sum() == 8  # the smallest count that is at least 0.4 * 19
    assert score[~mask].max() < score[mask].min()


def test_history_keeps_the_settling_of_the_counts_apart() -> None:
    """What the final rounding switches is recorded but does not count as the rule's work."""
    units = chain_units()
    history = MaskHistory()
    on = np.ones(units.num_units, dtype=bool)
    off = on.copy()
    off[[0, 9]] = False
    history.record(1, on, off, units)
    history.record(2, off, on, units, settling=True)
    assert (history.num_dropped, history.num_recovered) == (2, 0)
    assert [(e.step, e.group, e.dropped, e.recovered, e.settling) for e in history.events] == [
        (1, 0, (0,), (), False),
        (1, 1, (1,), (), False),
        (2, 0, (), (0,), True),
        (2, 1, (), (1,), True),
    ]
