"""The rules of DNS-CP by name, against numbers worked by hand."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from budgets import budget_of
from mask_cases import chain_units, group_units, settings_for
from numpy.typing import NDArray

from models import filled, load
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.dnscp import DnsCp
from onnx_dnscp.masks.methods import METHODS
from onnx_dnscp.masks.rules import RuleName, make_rule, rule_align
from onnx_dnscp.masks.statistics import StatisticsReader, WeightStatistics
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.training.method import StepState
from onnx_dnscp.training.weights import HostParameters

RULES: tuple[RuleName, ...] = get_args(RuleName)
ON, OFF = np.ones(6, dtype=bool), np.zeros(6, dtype=bool)


def statistics_of(means: list[float], layer_mean: float, layer_std: float) -> WeightStatistics:
    """A layer of its own."""
    return WeightStatistics(np.array(means), np.full(len(means), layer_mean), np.full(len(means), layer_std))


def make(units: Units, rule: RuleName, ratio: float, c_rate: float = 0.1) -> DnsCp:
    """DNS-CP by one of the rules, every draw updating."""
    return DnsCp(
        units,
        budget_of(units, "channels", ratio),
        np.random.default_rng(0),
        rule=make_rule(rule, c_rate),
        gamma=1e-9,
    )


def step(method: DnsCp, mask: Mask, weights: dict[str, NDArray[np.float32]], number: int = 1) -> Mask:
    """The mask after one step of ten."""
    return method.after_step(StepState(number, 10, mask, HostParameters(weights)))


@pytest.mark.parametrize("name", ["doc", "patent"])
def test_the_band_of_note_and_patent(name: RuleName) -> None:
    """mu = 2, std = 1, c = 0.5: min 1.5, max 2.5; what lies between, or on a border, stays as it is."""
    found = statistics_of([1.4, 1.5, 1.6, 2.4, 2.5, 2.6], 2.0, 1.0)
    rule = make_rule(name, 0.5)
    assert rule.update(ON, found).tolist() == [False, True, True, True, True, True]
    assert rule.update(OFF, found).tolist() == [False, False, False, False, False, True]


def test_the_one_threshold_of_tf2() -> None:
    """mu = 1.8, std = 2, c = 0.1: threshold 2; drop at or below 1.9, recover above 2.1."""
    found = statistics_of([1.8, 1.9, 1.91, 2.1, 2.11, 3.0], 1.8, 2.0)
    rule = make_rule("tf2", 0.1)
    assert rule.update(ON, found).tolist() == [False, False, True, True, True, True]
    assert rule.update(OFF, found).tolist() == [False, False, False, False, True, True]


@pytest.mark.parametrize("name", RULES)
def test_turning_points_are_where_each_rule_turns(name: RuleName) -> None:
    """Just below its turning point a unit is on, just above it off, whatever it was before."""
    units = chain_units()
    statistics = StatisticsReader(units).read(HostParameters(units.graph.stored))
    rule = make_rule(name, 0.3)
    for was_on in (True, False):
        mask = np.full(units.num_units, was_on)
        for unit, point in enumerate(rule.turning_points(statistics, mask)):
            assert rule.update(mask, statistics, point - 1e-6)[unit]
            assert not rule.update(mask, statistics, point + 1e-6)[unit]


ROUNDED: list[tuple[list[int], list[int]]] = [  # channels of 40 that are on, before and after
    ([], [*range(16)]),  # at least 16
    ([*range(30, 40)], [*range(6), *range(30, 40)]),  # 10 become 16: the first sleeping ones wake
    ([*range(23)], [*range(7, 23)]),  # 23 become 16: the first living ones fall
    ([*range(25)], [*range(32)]),
    ([*range(40)], [*range(8, 40)]),  # 2.5 times 16 rounds to the even multiple
]


@pytest.mark.parametrize(("kept", "expected"), ROUNDED)
def test_tf2_rounds_counts_to_multiples_of_16(kept: list[int], expected: list[int]) -> None:
    """The nearest multiple, at least 16; the first channels of the layer switch. A narrower layer stays whole."""
    units = wide_units(40)
    mask = np.zeros(units.num_units, dtype=bool)
    mask[kept] = True
    assert np.flatnonzero(make_rule("tf2", 0.1).rounded(mask, units)).tolist() == expected
    narrow = wide_units(8)
    assert make_rule("tf2", 0.1).rounded(np.zeros(8, dtype=bool), narrow).all()
    assert rule_align("tf2") == 16


def wide_units(width: int) -> Units:
    """One group of `width` units."""
    return discover(
        load(
            filled(
                f"""<ir_version: 8, opset_import: ["" : 17]>
                wide (float[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y)
                <float[{width}, 3, 1, 1] wa, float[2, {width}, 1, 1] wb> {{ a = Conv(x, wa)  y = Conv(a, wb) }}"""
            )
        )
    )


def test_statistics_of_tf2_are_those_of_the_first_weights() -> None:
    """All weights halve: by the layer's new mean nothing would change, by the first one every channel falls."""
    units = wide_units(48)
    rng = np.random.default_rng(0)
    weights = {"wb": rng.uniform(1.0, 1.2, (2, 48, 1, 1)).astype(np.float32)}
    half = {"wb": weights["wb"] / 2}
    masks = {}
    for name in ("tf2", "patent"):
        method = make(units, name, 0.9, c_rate=0.0 if name == "tf2" else 3.0)
        method.first_mask(HostParameters(weights))
        masks[name] = step(method, np.ones(48, dtype=bool), half)
    assert masks["patent"].all()
    assert masks["tf2"].sum() == 16  # none passes 0.95 of the first mean; 16 stay in any case


def test_patent_and_tf2_stop_once_the_target_is_reached() -> None:
    """The thresholds would take more, and give others back, but the masks no longer move; those of `doc` do."""
    units = wide_units(48)
    weights = {name: array.copy() for name, array in units.graph.stored.items()}
    mask = np.ones(48, dtype=bool)
    mask[:16] = False  # a third, and a count that tf2 leaves as it is
    for ratio, moving in ((0.3, {"doc"}), (0.6, {"doc", "patent", "tf2"})):
        moved = set()
        for name in RULES:
            method = make(units, name, ratio, c_rate=0.0)
            method.first_mask(HostParameters(weights))
            if (step(method, mask, weights, 2) != mask).any():
                moved.add(name)
        assert moved == moving, ratio


def test_patent_updates_every_layer_at_every_step() -> None:
    """The others draw with a probability, which is practically 0 here; the patent does not."""
    units = wide_units(48)
    weights = {name: array.copy() for name, array in units.graph.stored.items()}
    moved = {}
    for name in RULES:
        for gamma in (1e-9, 1e12):
            method = DnsCp(
                units, budget_of(units, "channels", 0.6), np.random.default_rng(0), rule=make_rule(name, 0.1),
                gamma=gamma, power=5.0,
            )  # fmt: skip
            method.first_mask(HostParameters(weights))
            everything = np.ones(units.num_units, dtype=bool)
            moved[name, gamma] = (step(method, everything, weights) != everything).any()
    assert all(moved[name, 1e-9] for name in RULES), "each has something to do"
    assert [name for name in RULES if moved[name, 1e12]] == ["patent"]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_every_rule_settles_at_the_target(name: RuleName, ratio: float) -> None:
    """Whatever the thresholds missed or overshot; to within one unit."""
    units = chain_units()
    weights = {n: array.copy() for n, array in units.graph.stored.items()}
    method = make(units, name, ratio)
    mask = method.first_mask(HostParameters(weights))
    for number in range(1, 10):
        mask = step(method, mask, weights, number)
    removed = (~method.finish(HostParameters(weights), mask)).mean()
    assert ratio <= removed < ratio + 1 / units.num_units


@pytest.mark.parametrize(("align", "ratio"), [(1, 0.5), (4, 0.4)])
def test_masks_hold_the_target_and_stay_while_weights_do(align: int, ratio: float) -> None:
    """From the first mask on, also where counts are multiples; a channel that grows takes another's place at once."""
    units = wide_units(16)
    budget = budget_of(units, "channels", ratio, align=align)
    method = DnsCp(units, budget, np.random.default_rng(0), gamma=1e-9)
    weights = rising_weights()
    mask = method.first_mask(HostParameters(weights))
    assert mask.tolist() == [False] * 8 + [True] * 8
    assert (step(method, mask, weights) == mask).all()
    weights["wb"][:, 3] *= 3
    mask = step(method, mask, weights, 2)
    assert np.flatnonzero(mask).tolist() == [3, *range(9, 16)]
    assert (method.finish(HostParameters(weights), mask) == mask).all()


def rising_weights() -> dict[str, NDArray[np.float32]]:
    """Of `wide_units(16)`: every channel is larger than the one before."""
    return {"wb": np.linspace(1, 2, 32, dtype=np.float32).reshape(16, 2).T.reshape(2, 16, 1, 1).copy()}


def test_repaired_weights_are_no_reason_to_change_the_mask() -> None:
    """Training begins with other weights than the mask was chosen by; only what it changes itself counts."""
    units = wide_units(16)
    weights = rising_weights()
    for resumed in (False, True):
        method = make(units, "doc", 0.5, c_rate=0.0)
        mask = method.first_mask(HostParameters(weights))
        repaired = {"wb": weights["wb"][:, ::-1].copy()}
        assert (step(method, mask, repaired, 1) == mask).all()
        if resumed:
            state, method = method.state(), make(units, "doc", 0.5, c_rate=0.0)
            method.restore(state)
        repaired["wb"][:, 7] *= 1.1
        mask = step(method, mask, repaired, 2)
        assert np.flatnonzero(mask).tolist() == [7, *range(9, 16)]
        assert (method.finish(HostParameters(repaired), mask) == mask).all()


def test_without_recovery_nothing_comes_back() -> None:
    """The same run twice: a channel that shrinks and grows returns only where recovery is on."""
    units = chain_units()
    first = group_units(units, 8)
    victim = first.start + int(
        StatisticsReader(units).read(HostParameters(units.graph.stored)).unit_mean[first].argmax()
    )
    returned = {}
    for schedule in (None, "iterative"):
        method = METHODS["dnscp"].make(settings_for(units, 0.5, schedule))
        weights = {name: array.copy() for name, array in units.graph.stored.items()}
        mask = method.first_mask(HostParameters(weights))
        for number in range(1, 40):
            factor = 0.05 if number == 10 else 40.0 if number == 20 else 1.0
            for name in ("wb", "wc"):
                weights[name][:, victim - first.start] *= np.float32(factor)
            following = method.after_step(StepState(number, 40, mask, HostParameters(weights)))
            if schedule == "iterative":
                assert not (following & ~mask).any()
            mask = following
        returned[schedule] = bool(mask[victim])
        assert 0.5 <= (~method.finish(HostParameters(weights), mask)).mean() < 0.5 + 1 / units.num_units
    assert returned == {None: True, "iterative": False}
