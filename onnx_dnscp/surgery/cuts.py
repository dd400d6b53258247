"""Which slices of which stored tensors stay, and what nodes must say afterwards. Nothing is edited here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.units import Mask, Removal, Units, for_each_row
from onnx_dnscp.ops.resize import Edit, required_edits

Keep = NDArray[np.int64]


@dataclass(frozen=True)
class Cuts:
    """A removal, fully decided.

    Attributes:
        keeps: Stored tensor to {axis: indices that stay, ascending}. Two-dimensional indices (groups, kept) on axis 1
            stand for blocks of rows that keep different positions.
        edits: Attributes and integer operands that bake a count.
        shapes: Traced shape of every tensor that shrinks, before and after.
    """

    keeps: Mapping[str, Mapping[int, Keep]]
    edits: tuple[Edit, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


def plan_cuts(units: Units, mask: Mask) -> Cuts:
    """Decide every cut for removing some units.

    Args:
        units: What discovery found.
        mask: (units,) True for the units that stay.

    Raises:
        RequestError: A group would lose all its channels.
    """
    for group in units.groups:
        if not mask[group.slice].any():
            raise RequestError(
                f"Group {group.id} (read by {', '.join(group.consumers)}) would lose all {group.width} channels; "
                "at least one must stay."
            )
    slices = units.slices
    keeps: defaultdict[str, dict[int, Keep]] = defaultdict(dict)
    left: dict[tuple[int, bytes], Keep] = {}  # most tensors of a group lose the same positions
    for index, drop, _ in slices.by_axis(~mask[slices.unit]):
        name, axis = slices.axes[index]
        size, stored = slices.sizes[index], units.graph.stored.shape(name)[axis]
        key = size, drop.tobytes()
        keep = left[key] if key in left else left.setdefault(key, np.delete(np.arange(size), drop))
        if size > stored:  # each block of rows keeps positions of its own
            groups = size // stored
            keep = keep.reshape(groups, -1) - stored * np.arange(groups)[:, None]
        keeps[name][axis] = keep
    removal = Removal(units, mask)
    shapes = {}
    for name in units.fields:
        before, after = units.trace.shapes[name], removal.shape(name)
        if before != after:
            shapes[name] = (before, after)
    return Cuts(dict(keeps), tuple(required_edits(removal)), shapes)


def cut_array(array: NDArray[np.generic], keeps: Mapping[int, Keep]) -> NDArray[np.generic]:
    """The slices of `array` that stay."""
    # Blocks of rows before the rows themselves; otherwise rows first, which are copied fastest.
    for axis, keep in sorted(keeps.items(), key=lambda item: (item[1].ndim == 1, item[0])):
        if keep.ndim == 1:
            array = array.take(keep, axis=axis)
        else:
            array = array[np.arange(len(array))[:, None], for_each_row(keep, len(array))]
    return array


def embed_array(
    full: NDArray[np.generic], small: NDArray[np.generic], keeps: Mapping[int, Keep]
) -> NDArray[np.generic]:
    """A copy of `full` with the slices that stay replaced by those of `small`: the reverse of `cut_array`."""
    result = full.copy()
    by_row = keeps.get(1)
    if by_row is not None and by_row.ndim == 2:
        rows = keeps.get(0, np.arange(len(full)))
        result[rows[:, None], for_each_row(by_row, len(full))[rows]] = small
        return result
    result[np.ix_(*(keeps.get(axis, np.arange(size)) for axis, size in enumerate(full.shape)))] = small
    return result
