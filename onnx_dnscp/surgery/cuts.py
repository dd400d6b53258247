"""Which slices of which stored tensors stay, and what nodes must say afterwards. Nothing is edited here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import RequestError
from onnx_dnscp.ops.resize import Edit, required_edits
from onnx_dnscp.units import Removal, Units

Keep = NDArray[np.int64]


@dataclass(frozen=True)
class Cuts:
    """A removal, fully decided.

    Attributes:
        keeps: Stored tensor to {axis: indices that stay, ascending}.
        edits: Attributes and integer operands that bake a count.
        shapes: Traced shape of every tensor that shrinks, before and after.
    """

    keeps: Mapping[str, Mapping[int, Keep]]
    edits: tuple[Edit, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


def plan_cuts(units: Units, removed: NDArray[np.bool_]) -> Cuts:
    """Decide every cut for removing some units.

    Args:
        units: What discovery found.
        removed: (units,) True for the units that go.

    Raises:
        RequestError: A group would lose all its channels.
    """
    for group in units.groups:
        if removed[group.first : group.first + group.width].all():
            raise RequestError(
                f"Group {group.id} (read by {', '.join(group.consumers)}) would lose all {group.width} channels; "
                "at least one must stay."
            )
    slices = units.slices
    keeps: defaultdict[str, dict[int, Keep]] = defaultdict(dict)
    for index, drop, _ in slices.by_axis(removed[slices.unit]):
        name, axis = slices.axes[index]
        keeps[name][axis] = np.delete(np.arange(units.graph.stored.shape(name)[axis]), drop)
    removal = Removal(units, removed)
    shapes = {}
    for name in units.fields:
        before, after = units.trace.shapes[name], removal.shape(name)
        if before != after:
            shapes[name] = (before, after)
    return Cuts(dict(keeps), tuple(required_edits(removal)), shapes)


def cut_array(array: NDArray[np.generic], keeps: Mapping[int, Keep]) -> NDArray[np.generic]:
    """The slices of `array` that stay."""
    for axis, keep in keeps.items():
        array = array.take(keep, axis=axis)
    return array


def embed_array(
    full: NDArray[np.generic], small: NDArray[np.generic], keeps: Mapping[int, Keep]
) -> NDArray[np.generic]:
    """A copy of `full` with the slices that stay replaced by those of `small`: the reverse of `cut_array`."""
    result = full.copy()
    result[np.ix_(*(keeps.get(axis, np.arange(size)) for axis, size in enumerate(full.shape)))] = small
    return result
