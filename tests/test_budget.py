"""Budgets of costs that do not fall with every channel, against plain loops over all counts; costs of a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnx_dnscp import PruneOptions, RequestError, UsageError, prune
from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.measure.cost_registry import COSTS, Cost, CostInputs, cost
from onnx_dnscp.model.units import Group, Mask, Units

BLOCK = 4
RAGGED = 0.4  # of a block's time, that a count costs which is no multiple: 3 channels take longer than 4
SEPARABLE = Path(__file__).parent.parent / "models" / "digits-separable.onnx"


def units_of(widths: list[int]) -> Units:
    """Groups of these widths, of no model."""
    firsts = np.cumsum([0, *widths])
    groups = tuple(Group(i, int(firsts[i]), width, (), (), ()) for i, width in enumerate(widths))
    nothing = cast(Any, None)
    return Units(nothing, nothing, groups, (), (), nothing, {})


def block_time(count: int) -> float:
    """Whole blocks are fast, others are as slow as the next block and a little more."""
    return ceil(count / BLOCK) + (RAGGED if count % BLOCK else 0.0)


@dataclass(frozen=True)
class Small:
    """A small budget, with what a plain loop needs to know.

    Attributes:
        ties: Whether many units are equally important.
        ratio: Target as a share of what is reachable.
        joined: Whether the time of a layer depends on the groups on both its sides.
        dip: What the cost says of itself; None is the truth where layers are not joined.
    """

    widths: list[int]
    seed: int
    ties: bool
    num_frozen: int
    align: int
    ratio: float
    joined: bool
    dip: float | None

    @property
    def units(self) -> Units:
        return units_of(self.widths)

    @property
    def frozen(self) -> Mask:
        frozen = np.zeros(sum(self.widths), dtype=bool)
        frozen[self._rng(1).permutation(frozen.size)[: min(self.num_frozen, frozen.size - 1)]] = True
        return frozen

    @property
    def importance(self) -> NDArray[np.float64]:
        rng, size = self._rng(2), sum(self.widths)
        return rng.integers(0, 3, size).astype(float) if self.ties else rng.standard_normal(size)

    def counts(self, mask: Mask) -> list[int]:
        return [int(mask[group.slice].sum()) for group in self.units.groups]

    def time(self, counts: list[int]) -> float:
        """With so many units in each group."""
        times = [weight * block_time(count) for weight, count in zip(self._weights, counts, strict=True)]
        return sum(a * b for a, b in zip([1.0, *times], [*times, 1.0], strict=True)) if self.joined else sum(times)

    def saved(self, mask: Mask) -> float:
        return 1 - self.time(self.counts(mask)) / self.time(self.widths)

    def budget(self) -> Budget:
        """One with a target in reach."""
        reachable = self._budget(-inf).reachable(self.align)
        assume(reachable >= 0)  # may not be so if a cost says nothing of its dips
        return self._budget(self.ratio * reachable)

    def _budget(self, target: float) -> Budget:
        truth = RAGGED * sum(self._weights) / self.time(self.widths)  # all groups at once go from a block to less
        blocks = Cost("blocks", self.saved, dip=truth if self.dip is None else self.dip)
        return Budget(self.units, blocks, target, align=self.align, frozen=self.frozen)

    @property
    def _weights(self) -> list[float]:
        return self._rng(3).uniform(0.5, 2, len(self.widths)).tolist()

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])


def small(joined: st.SearchStrategy[bool], dip: st.SearchStrategy[float | None]) -> st.SearchStrategy[Small]:
    return st.builds(
        Small,
        widths=st.lists(st.integers(1, 9), min_size=1, max_size=4).filter(lambda widths: sum(widths) > 1),
        seed=st.integers(0, 1000),
        ties=st.booleans(),
        num_frozen=st.integers(0, 5),
        align=st.sampled_from([1, 2, 3, 4]),
        ratio=st.floats(0, 1),
        joined=joined,
        dip=dip,
    )


def aligned_from(count: int, width: int, align: int) -> int:
    """The next aligned count, by counting."""
    return next(c for c in range(count, width + 1) if c % align == 0 or c == width)


def plain_mask(case: Small, fewest: list[int], align: int, count: int) -> Mask:
    """The first `count` units in the order of importance go, but for those that rounding keeps."""
    frozen, importance = case.frozen, case.importance
    order = sorted(range(frozen.size), key=lambda unit: (frozen[unit], importance[unit], unit))
    mask = np.ones(frozen.size, dtype=bool)
    for group in case.units.groups:
        own = [unit for unit in order if group.first <= unit < group.first + group.width]
        gone = len({*own} & {*order[:count]})
        kept = aligned_from(max(group.width - gone, fewest[group.id]), group.width, align)
        mask[own[: group.width - kept]] = False
    return mask


def check_final(case: Small, budget: Budget) -> Mask:
    """The target is met, no group is empty, counts are aligned, and frozen units stay."""
    mask = budget.final_mask(case.importance)
    assert case.saved(mask) >= budget.target - 1e-9
    assert mask[case.frozen].all()
    for kept, width in zip(case.counts(mask), case.widths, strict=True):
        assert kept >= 1
        assert kept % case.align == 0 or kept == width
    return mask


@settings(max_examples=300, deadline=None)
@given(small(joined=st.just(False), dip=st.sampled_from([None, inf])))
def test_no_smaller_count_meets_the_target_of_a_cost_with_dips(case: Small) -> None:
    """Every count is tried by a plain loop; group by group, as many channels stay as take the least time."""
    budget = case.budget()
    frozen = case.counts(case.frozen)
    fewest = [
        min(
            (aligned_from(count, width, case.align) for count in range(max(1, own), width + 1)),
            key=lambda count: (block_time(count), count),
        )
        for own, width in zip(frozen, case.widths, strict=True)
    ]
    assert budget.reachable(case.align) == pytest.approx(1 - case.time(fewest) / case.time(case.widths))
    final = check_final(case, budget)
    for align, found in ((1, budget.without_least(case.importance, budget.target)), (case.align, final)):
        tried = (plain_mask(case, fewest, align, count) for count in range(sum(case.widths) + 1))
        expected = next(mask for mask in tried if case.saved(mask) >= budget.target - 1e-12)
        if align == 1:
            assert found.tolist() == expected.tolist()
        else:
            assert found[expected].all()  # whole blocks may come back, none goes


@settings(max_examples=200, deadline=None)
@given(small(joined=st.booleans(), dip=st.sampled_from([0.0, 0.05, inf])))
def test_targets_are_met_whatever_a_cost_says_of_its_dips(case: Small) -> None:
    """Also where layers join groups, and where savings fall by more than was said."""
    check_final(case, case.budget())


def test_a_cost_that_falls_with_every_channel_is_asked_a_few_times() -> None:
    """2,048 units: twelve times at most; with dips as often more as counts lie within them; else, for each count."""
    units = units_of([256] * 8)
    importance = np.random.default_rng(0).standard_normal(units.num_units)
    calls = 0

    def saved(mask: Mask) -> float:
        nonlocal calls
        calls += 1
        return float((~mask).mean())

    def asked(dip: float) -> tuple[int, Mask]:
        nonlocal calls
        budget = Budget(units, Cost("channels", saved, dip=dip), 0.5)
        calls = 0
        mask = budget.without_least(importance, 0.5)
        return calls, mask

    (few, first), (some, second), (many, third) = asked(0), asked(0.01), asked(inf)
    assert few <= 12
    assert some <= 12 + 0.01 * units.num_units + 1
    assert many >= 1024
    assert (first == second).all()
    assert (first == third).all()


@pytest.fixture
def blocks() -> Iterator[list[CostInputs]]:
    """A cost of a user's own, registered for one test; what it was made from."""
    made: list[CostInputs] = []

    @cost("blocks")
    def blocks(inputs: CostInputs) -> Cost:
        made.append(inputs)
        groups = inputs.units.groups
        whole = sum(block_time(group.width) for group in groups)
        return Cost("blocks", lambda mask: 1 - sum(block_time(mask[g.slice].sum()) for g in groups) / whole, dip=inf)

    yield made
    COSTS.remove("blocks")


def test_prune_takes_a_cost_of_the_users_own(blocks: list[CostInputs], tmp_path: Path) -> None:
    """The result saves what was asked for, by the counts of the report; it is out of reach or not like any other."""
    out, run_dir = tmp_path / "out.onnx", tmp_path / "run"
    report = prune(SEPARABLE, out, metric="blocks", ratio=0.6, train=False, threads=1, run_dir=run_dir)
    whole, left = (sum(block_time(getattr(g, name)) for g in report.groups) for name in ("width", "kept"))
    assert report.ratio == pytest.approx(1 - left / whole)
    assert 0.6 <= report.ratio < 0.7
    assert out.exists()
    assert "of the blocks (60.0% asked)" in (run_dir / "report.html").read_text()
    [inputs] = blocks
    assert (inputs.threads, inputs.frozen is not None and inputs.frozen.sum()) == (1, 0)
    with pytest.raises(RequestError, match=r"Ratio 0\.999 of blocks is out of reach: .*at most 0\.\d+ can be removed"):
        prune(SEPARABLE, tmp_path / "more.onnx", metric="blocks", ratio=0.999, train=False)


def test_an_unknown_metric_is_refused_with_those_that_there_are() -> None:
    """The names are those of the register."""
    with pytest.raises(UsageError, match="'metric' cannot be 'flops': choose from channels, params, macs"):
        PruneOptions(metric="flops")
