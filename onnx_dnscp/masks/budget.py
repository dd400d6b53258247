"""How much a mask prunes, how much is asked for, and which mask meets it to within one unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.measure.cost_registry import Cost
from onnx_dnscp.model.units import Mask, Units

ALIGN_SLACK = 0.8  # of what aligned counts can reach at most; nearer to it the choice of channels would be forced
_ROUNDING = 1e-12  # of sums of shares


class Budget:
    """A target ratio of one cost, over the units of one model.

    Args:
        units: What discovery found.
        cost: What the ratio counts.
        target: Share to remove, 0 <= target < 1.
        align: Kept counts of groups are multiples of this; the target is then met to within `align` units. None takes
            the largest of the cost's blocks with which the target is well in reach, and else 1.
        frozen: (units,) True for those that stay in any case; by default none.

    Raises:
        RequestError: Nothing is prunable, or even the smallest aligned widths are too wide.
    """

    def __init__(
        self, units: Units, cost: Cost, target: float, *, align: int | None = 1, frozen: Mask | None = None
    ) -> None:
        self.cost = cost
        self.target = target
        self._frozen = np.zeros(units.num_units, dtype=bool) if frozen is None else frozen
        self._widths = np.array([group.width for group in units.groups], dtype=np.int64)
        self._starts = np.cumsum(self._widths) - self._widths
        self._units = units
        if not units.groups:
            raise RequestError(_nothing_prunable(units))
        if self._frozen.all():
            raise RequestError("Nothing to prune: --exclude and --only leave no channel; loosen the patterns.")
        self._num_frozen = np.add.reduceat(self._frozen, self._starts, dtype=np.int64)  # (groups,)
        self.align = self._fastest_align() if align is None else align
        self._fewest = self._cheapest_counts(self.align)
        reachable = self.ratio(self._first_units(self._fewest))
        if target > reachable + 1e-9:
            raise RequestError(
                f"Ratio {target:g} of {cost.name} is out of reach: with {self.align} channel(s) left in every group, "
                f"at most {np.floor(reachable * 1e4) / 1e4:.4g} can be removed; ask for less or count in another "
                "metric."
            )

    def reachable(self, align: int) -> float:
        """The most that can be removed where kept counts of groups are multiples of `align`."""
        return self.ratio(self._first_units(self._cheapest_counts(align)))

    def _fastest_align(self) -> int:
        """The largest of the cost's blocks with which the target is still well in reach."""
        return next((a for a in self.cost.blocks if self.target <= ALIGN_SLACK * self.reachable(a)), 1)

    def _cheapest_counts(self, align: int) -> NDArray[np.int64]:
        """(groups,) Aligned counts below which no group goes: the smallest, or with dips, group by group, the best."""
        fewest = aligned_counts(self._num_frozen, self._widths, align)
        counts, settled = fewest, not self.cost.dip
        while not settled:
            before = counts
            for group, width in enumerate(self._widths):
                choices = [_replaced(counts, group, count) for count in [*range(fewest[group], width, align), width]]
                counts = max(choices, key=lambda choice: self.ratio(self._first_units(choice)))
            settled = np.array_equal(before, counts)
        return counts

    def _first_units(self, counts: NDArray[np.int64]) -> Mask:
        """The mask that keeps `counts` (groups,) units: the frozen ones, and the first of the others."""
        group = self._units.group_of
        return np.asarray(self._ranks(np.lexsort((~self._frozen, group))) < counts[group])

    def ratio(self, mask: Mask) -> float:
        """Pruned share with `mask` (units,), True for the units that stay."""
        return self.cost.saved(mask)

    def fill_groups(self, mask: Mask, importance: NDArray[np.float64], *, align: int = 1) -> Mask:
        """`mask` with the most important sleeping units switched on until every group keeps an aligned count.

        Counts are rounded up to a multiple of `align`, at least to one unit and at most to the whole group.

        Args:
            mask: (units,) True for the units that stay. Not modified.
            importance: (units,) comparable within groups; more is better.
            align: 1 only sees to it that no group is left empty.
        """
        group, mask = self._units.group_of, mask | self._frozen
        kept = np.add.reduceat(mask, self._starts, dtype=np.int64)
        wanted = aligned_counts(kept, self._widths, align)
        if np.array_equal(kept, wanted):  # the usual case, at every training step
            return mask
        order = np.lexsort((-importance, ~mask, ~self._frozen, group))  # per group: frozen, living, best units first
        return np.asarray(self._ranks(order) < wanted[group])

    def without_least(self, importance: NDArray[np.float64], ratio: float) -> Mask:
        """The mask that switches off the least important units until `ratio` is reached, and no unit more.

        Every group keeps its most important unit; of a cost with dips, as many as save the most.

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
        best = np.maximum.reduceat(sleeping, self._starts)
        for group in np.argsort(-best, kind="stable")[: int(np.isfinite(best).sum())]:
            own = self._starts[group] + np.arange(self._widths[group])
            asleep = own[~mask[own]]
            trial = mask.copy()
            trial[asleep[np.argsort(-importance[asleep], kind="stable")][: self.align]] = True
            if self.ratio(trial) >= self.target:
                mask = trial
        return mask

    def _without_least(self, importance: NDArray[np.float64], ratio: float, *, align: int) -> Mask:
        order = np.argsort(np.where(self._frozen, np.inf, importance), kind="stable")
        group = self._units.group_of
        best_first = order[::-1]
        best_first = best_first[np.argsort(group[best_first], kind="stable")]
        rank = self._ranks(best_first)  # within the group, 0 for its most important unit
        turn = np.empty_like(order)
        turn[order] = np.arange(order.size)
        # A unit goes with the last one of its block, when that one's turn comes.
        last = rank // align * align
        fewest = self._fewest if self.cost.dip else np.maximum(self._num_frozen, 1)
        goes = np.where(last >= fewest[group], turn[best_first[self._starts[group] + last]], order.size)
        turns = np.flatnonzero(np.bincount(goes))  # at which the mask changes; the last is that of units that never go

        def reaches(number: int, wanted: float) -> bool:
            return self.ratio(goes >= turns[number]) >= wanted

        # Where savings lie below the ratio by more than they can fall, no turn before has reached it.
        wanted = ratio - _ROUNDING
        found = first_true(turns.size - 1, lambda number: reaches(number, wanted - self.cost.dip))
        if self.cost.dip:
            found = next((n for n in range(found, turns.size - 1) if reaches(n, wanted)), turns.size - 1)
        return np.asarray(goes >= turns[found])

    def _ranks(self, best_first: NDArray[np.int64]) -> NDArray[np.int64]:
        """(units,) place of each unit within its group, from the units of one group after the other."""
        rank = np.empty_like(best_first)
        rank[best_first] = np.arange(best_first.size) - self._starts[self._units.group_of]
        return rank


def aligned_counts(kept: NDArray[np.int64], widths: NDArray[np.int64], align: int) -> NDArray[np.int64]:
    """Counts rounded up to a multiple of `align`: at least one unit, at most the whole group; all (groups,)."""
    return np.asarray(np.minimum(-(-np.maximum(kept, 1) // align) * align, widths))


def _replaced(counts: NDArray[np.int64], group: int, count: int) -> NDArray[np.int64]:
    replaced = counts.copy()
    replaced[group] = count
    return replaced


def first_true(limit: int, holds: Callable[[int], bool]) -> int:
    """Smallest n in 0 .. limit for which a monotone predicate holds; limit if it holds nowhere before.

    Of one that is not, the result is a place where it holds, or the limit, and one before which it does not.
    """
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
