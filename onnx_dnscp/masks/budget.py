"""How much a mask prunes, how much is asked for, and which mask meets it to within one unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.measure.costs import CostModel, Metric
from onnx_dnscp.model.units import Mask, Units

# Channels per block of ONNX Runtime's convolution kernels: 16 with AVX512, 8 with AVX2, 4 in the plain ones. Counts
# that are no multiples run slower than the MACs say (`benchmarks/alignment.py`).
FAST_ALIGNS = (16, 8, 4)
ALIGN_SLACK = 0.8  # of what aligned counts can reach at most; nearer to it the choice of channels would be forced


class Budget:
    """A target ratio in one metric, over the units of one model.

    Args:
        units: What discovery found.
        metric: What the ratio counts: prunable channels, or all params or MACs of the model.
        target: Share to remove, 0 <= target < 1.
        align: Kept counts of groups are multiples of this; the target is then met to within `align` units. None takes
            what the runtime is fast with where MACs are counted, and else 1.
        frozen: (units,) True for those that stay in any case; by default none.

    Raises:
        RequestError: Nothing is prunable, or even the smallest aligned widths are too wide.
    """

    def __init__(
        self, units: Units, metric: Metric, target: float, *, align: int | None = 1, frozen: Mask | None = None
    ) -> None:
        self.metric = metric
        self.target = target
        self._frozen = np.zeros(units.num_units, dtype=bool) if frozen is None else frozen
        self._widths = np.array([group.width for group in units.groups], dtype=np.int64)
        self._units = units
        self._costs = CostModel(units)
        if not units.groups:
            raise RequestError(_nothing_prunable(units))
        if self._frozen.all():
            raise RequestError("Nothing to prune: --exclude and --only leave no channel; loosen the patterns.")
        self.align = self._fastest_align() if align is None else align
        reachable = self._reachable(self.align)
        if target > reachable + 1e-9:
            raise RequestError(
                f"Ratio {target:g} of {metric} is out of reach: with {self.align} channel(s) left in every group, at "
                f"most {np.floor(reachable * 1e4) / 1e4:.4g} can be removed; ask for less or count in another metric."
            )

    def _reachable(self, align: int) -> float:
        no_unit = np.zeros(self._units.num_units, dtype=bool)
        return self.ratio(self.fill_groups(no_unit, np.zeros(self._units.num_units), align=align))

    def _fastest_align(self) -> int:
        """The largest block of the runtime's kernels with which the target is still well in reach."""
        if self.metric != "macs":
            return 1
        return next((a for a in FAST_ALIGNS if self.target <= ALIGN_SLACK * self._reachable(a)), 1)

    def ratio(self, mask: Mask) -> float:
        """Pruned share with `mask` (units,), True for the units that stay."""
        if self.metric == "channels":
            return float((~mask).sum() / (~self._frozen).sum())
        return self._costs.removed_ratio(mask, self.metric)

    def fill_groups(self, mask: Mask, importance: NDArray[np.float64], *, align: int = 1) -> Mask:
        """`mask` with the most important sleeping units switched on until every group keeps an aligned count.

        Counts are rounded up to a multiple of `align`, at least to one unit and at most to the whole group.

        Args:
            mask: (units,) True for the units that stay. Not modified.
            importance: (units,) comparable within groups; more is better.
            align: 1 only sees to it that no group is left empty.
        """
        group, widths, mask = self._units.group_of, self._widths, mask | self._frozen
        kept = np.bincount(group, weights=mask, minlength=widths.size).astype(np.int64)
        wanted = aligned_counts(kept, widths, align)
        if np.array_equal(kept, wanted):  # the usual case, at every training step
            return mask
        order = np.lexsort((-importance, ~mask, ~self._frozen, group))  # per group: frozen, living, best units first
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size) - np.repeat(np.cumsum(widths) - widths, widths)
        return np.asarray(rank < wanted[group])

    def without_least(self, importance: NDArray[np.float64], ratio: float) -> Mask:
        """The mask that switches off the least important units until `ratio` is reached, and no unit more.

        Every group keeps its most important unit.

        Args:
            importance: (units,) comparable across groups; more is better.
            ratio: Share to remove; the result lies above it by less than one unit.
        """
        return self._without_least(importance, ratio, align=1)

    def final_mask(self, importance: NDArray[np.float64]) -> Mask:
        """The mask that meets the target to within one unit, or with aligned counts to within `align` units."""
        mask = self._without_least(importance, self.target, align=self.align)
        if self.align == 1:
            return mask
        # Rounding moves whole blocks at a time; give back the most important ones that the target can spare.
        sleeping = np.where(mask, -np.inf, importance)
        best = np.maximum.reduceat(sleeping, np.cumsum(self._widths) - self._widths)
        for group in np.argsort(-best, kind="stable")[: int(np.isfinite(best).sum())]:
            first, width = self._units.groups[group].first, self._widths[group]
            own = np.arange(first, first + width)
            asleep = own[~mask[own]]
            trial = mask.copy()
            trial[asleep[np.argsort(-importance[asleep], kind="stable")][: self.align]] = True
            if self.ratio(trial) >= self.target:
                mask = trial
        return mask

    def _without_least(self, importance: NDArray[np.float64], ratio: float, *, align: int) -> Mask:
        order = np.argsort(np.where(self._frozen, np.inf, importance), kind="stable")
        group, widths = self._units.group_of, self._widths
        best_first = order[::-1]
        best_first = best_first[np.argsort(group[best_first], kind="stable")]
        rank = np.empty_like(order)  # within the group, 0 for its most important unit
        rank[best_first] = np.arange(order.size) - np.repeat(np.cumsum(widths) - widths, widths)
        frozen = np.bincount(group, weights=self._frozen, minlength=widths.size).astype(np.int64)

        def without(count: int) -> Mask:
            kept = np.maximum(widths - np.bincount(group[order[:count]], minlength=widths.size), frozen)
            return np.asarray(rank < aligned_counts(kept, widths, align)[group])

        return without(first_true(order.size, lambda count: self.ratio(without(count)) >= ratio - 1e-12))


def aligned_counts(kept: NDArray[np.int64], widths: NDArray[np.int64], align: int) -> NDArray[np.int64]:
    """Counts rounded up to a multiple of `align`: at least one unit, at most the whole group; all (groups,)."""
    return np.asarray(np.minimum(-(-np.maximum(kept, 1) // align) * align, widths))


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
    convolutions = units.graph.convolutions
    if not convolutions:
        return "Nothing to prune: the model has no convolution."
    reasons = [reason for locked in units.locked for reason in locked.reasons]
    why = f" The first reason: {reasons[0]}." if reasons else ""
    return f"Nothing to prune: none of the channels of {len(convolutions)} convolution(s) can be removed.{why}"
