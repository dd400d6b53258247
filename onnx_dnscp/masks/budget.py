"""How much a mask prunes, how much is asked for, and which mask meets it to within one unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.costs import CostModel, Metric
from onnx_dnscp.errors import RequestError
from onnx_dnscp.units import Units

Mask = NDArray[np.bool_]


class Budget:
    """A target ratio in one metric, over the units of one model.

    Args:
        units: What discovery found.
        metric: What the ratio counts: prunable channels, or all params or MACs of the model.
        target: Share to remove, 0 <= target < 1.

    Raises:
        RequestError: Nothing is prunable, or even one unit per group is too much.
    """

    def __init__(self, units: Units, metric: Metric, target: float) -> None:
        self.metric = metric
        self.target = target
        self._units = units
        self._costs = CostModel(units)
        if not units.groups:
            raise RequestError(_nothing_prunable(units))
        no_unit = np.zeros(units.num_units, dtype=bool)
        reachable = self.ratio(self.keep_one_per_group(no_unit, np.zeros(units.num_units)))
        if target > reachable + 1e-9:
            raise RequestError(
                f"Ratio {target:g} of {metric} is out of reach: with one channel left in every group, at most "
                f"{np.floor(reachable * 1e4) / 1e4:.4g} can be removed; ask for less or count in another metric."
            )

    def ratio(self, mask: Mask) -> float:
        """Pruned share with `mask` (units,), True for the units that stay."""
        return self._costs.removed_ratio(~mask, self.metric)

    def keep_one_per_group(self, mask: Mask, importance: NDArray[np.float64]) -> Mask:
        """`mask` with the most important unit of every empty group switched on."""
        group, result = self._units.group_of, mask.copy()
        alive = np.bincount(group, weights=result, minlength=len(self._units.groups)) > 0
        order = np.lexsort((importance, group))
        last = np.append(group[order][1:] != group[order][:-1], True)  # the best unit of each group
        best = order[last]
        result[best[~alive[group[best]]]] = True
        return result

    def without_least(self, importance: NDArray[np.float64], ratio: float) -> Mask:
        """The mask that switches off the least important units until `ratio` is reached, and no unit more.

        Every group keeps its most important unit.

        Args:
            importance: (units,) comparable across groups; more is better.
            ratio: Share to remove; the result lies at most one unit above it.
        """
        order = np.argsort(importance, kind="stable")

        def without(count: int) -> Mask:
            mask = np.ones(order.size, dtype=bool)
            mask[order[:count]] = False
            return self.keep_one_per_group(mask, importance)

        return without(first_true(order.size, lambda count: self.ratio(without(count)) >= ratio - 1e-12))


def first_true(limit: int, holds: Callable[[int], bool]) -> int:
    """Smallest n in 0 .. limit for which a monotone predicate holds; limit if it holds nowhere before."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _nothing_prunable(units: Units) -> str:
    convolutions = [n for n in units.graph.nodes if n.op_type == "Conv"]
    if not convolutions:
        return "Nothing to prune: the model has no convolution."
    reasons = [reason for locked in units.locked for reason in locked.reasons]
    why = f" The first reason: {reasons[0]}." if reasons else ""
    return f"Nothing to prune: none of the channels of {len(convolutions)} convolution(s) can be removed.{why}"
