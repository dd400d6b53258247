"""The result of discovery: units, groups, consumers, and what is locked and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.fields import on_axis, varying_axes
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.trace import Trace

FIXED = -1  # stands where a position belongs to no prunable unit

UnitField = NDArray[np.int64]
Mask = NDArray[np.bool_]
"""(units,) True for the units that stay."""


@dataclass(frozen=True)
class Group:
    """Units that run through the same set of tensor axes.

    Attributes:
        id: Position among the groups.
        first: Number of its first unit; units `first .. first + width - 1` belong to it.
        width: Number of units.
        axes: (stored tensor, axis) pairs its units occupy.
        consumers: Labels of the nodes whose weights read its units.
        producers: Labels of the nodes whose weights make its units.
    """

    id: int
    first: int
    width: int
    axes: tuple[tuple[str, int], ...]
    consumers: tuple[str, ...]
    producers: tuple[str, ...]

    @property
    def slice(self) -> slice:
        """Its units in an array of all units."""
        return slice(self.first, self.first + self.width)


@dataclass(frozen=True)
class Consumer:
    """A weight operand that reads units on an input-channel axis.

    Attributes:
        node: The node's label.
        output: Name of the node's first output, which identifies it in every form of the graph.
        operand: Position of the weight among the node's inputs.
        weight: Stored tensor behind the operand.
        axis: Axis of the stored tensor that is read.
        channel_units: (input channels of the activation,) unit of each, or FIXED.
        operand_units: Units broadcastable to the operand's shape, or FIXED; the mask multiplies here.
        stored_units: (size of `axis`,) unit of each slice of the stored tensor, or FIXED. For a grouped convolution
            whose groups may lose different channels, (groups * size of `axis`,): the slices of each group's rows.
    """

    node: str
    output: str
    operand: int
    weight: str
    axis: int
    channel_units: UnitField
    operand_units: UnitField
    stored_units: UnitField

    def stored_rows(self, shape: tuple[int, ...]) -> UnitField:
        """`stored_units` as a field that broadcasts to the stored tensor's `shape`."""
        if self.stored_units.size == shape[self.axis]:
            return on_axis(self.stored_units, self.axis, len(shape))
        groups = self.stored_units.reshape(-1, shape[self.axis])
        rows = np.repeat(groups, shape[0] // len(groups), axis=0)
        return rows.reshape(*shape[:2], *(1 for _ in shape[2:]))


@dataclass(frozen=True)
class Locked:
    """Channels that must stay, together, and every reason.

    Attributes:
        tensors: Stored tensors that they run through.
        consumers: Labels of the nodes whose weights read them.
        producers: Labels of the nodes whose weights make them.
    """

    width: int
    tensors: tuple[str, ...]
    reasons: tuple[str, ...]
    consumers: tuple[str, ...]
    producers: tuple[str, ...]


@dataclass(frozen=True)
class Slices:
    """All slices of stored tensors that belong to units, as parallel arrays.

    Attributes:
        axes: (stored tensor, axis) that `axis_index` counts.
        sizes: Positions on each of them. Axis 1 of a grouped convolution's weight may count the input channels of all
            groups, so more than the tensor's size there: each is in the rows of its group only.
        axis_index: Which pair each slice lies on, ascending.
        position: Index along that axis.
        unit: The unit it belongs to.
    """

    axes: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    axis_index: NDArray[np.int64]
    position: NDArray[np.int64]
    unit: NDArray[np.int64]

    def by_axis(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """The `chosen` (slices,) ones, axis by axis: number of the axis, positions on it, units."""
        picked = np.flatnonzero(chosen)
        if not picked.size:
            return
        on = self.axis_index[picked]
        starts = np.flatnonzero(np.append(True, on[1:] != on[:-1]))
        for first, last in zip(starts, [*starts[1:], picked.size], strict=True):
            part = picked[first:last]
            yield int(on[first]), self.position[part], self.unit[part]


@dataclass(frozen=True)
class Units:
    """Everything discovery found in one model.

    Attributes:
        fields: Tensor name to its unit fields (FIXED or a unit number), each varying along one axis at most; one of a
            grouped weight may vary along axis 1 differently in each block of rows.
    """

    graph: Graph
    trace: Trace
    groups: tuple[Group, ...]
    consumers: tuple[Consumer, ...]
    locked: tuple[Locked, ...]
    slices: Slices
    fields: Mapping[str, tuple[UnitField, ...]]

    @cached_property
    def num_units(self) -> int:
        """Number of prunable units."""
        return sum(g.width for g in self.groups)

    @cached_property
    def group_of(self) -> NDArray[np.int64]:
        """(units,) group of each unit."""
        return np.repeat(np.arange(len(self.groups)), [g.width for g in self.groups])


class Removal:
    """What is left of every tensor once some units are gone.

    Args:
        units: What discovery found.
        mask: (units,) True for the units that stay.
    """

    def __init__(self, units: Units, mask: Mask) -> None:
        self.units = units
        self._stays = np.append(mask, True)  # FIXED = -1 picks the appended True
        self._kept: dict[int, tuple[int, NDArray[np.bool_], int]] = {}  # by field object; most tensors share theirs

    def axis_keep(self, name: str, axis: int) -> NDArray[np.bool_] | None:
        """Which positions of a tensor's axis stay, or None where no unit lies on it."""
        keep: NDArray[np.bool_] | None = None
        for field in self.units.fields.get(name, ()):
            cut_axis, stays, _ = self._cut(field)
            if cut_axis == axis:
                keep = stays if keep is None else keep & stays
        return keep

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor of the trace afterwards."""
        shape = self.units.trace.shapes[name]
        fields = self.units.fields.get(name)
        if not fields:
            return shape
        sizes = list(shape)
        seen: set[int] = set()
        for field in fields:
            axis, _, count = self._cut(field)
            if axis in seen:  # several fields on one axis: what all of them keep
                keep = self.axis_keep(name, axis)
                count = sizes[axis] if keep is None else int(keep.sum())
            seen.add(axis)
            sizes[axis] = count
        return tuple(sizes)

    def _cut(self, field: UnitField) -> tuple[int, NDArray[np.bool_], int]:
        """The axis that shrinks, which of its positions stay, and how many."""
        known = self._kept.get(id(field))
        if known is None:
            axes = varying_axes(field)
            first_row = field[0] if len(axes) > 1 else field  # all blocks of a grouped weight keep as many as the first
            stays = self._stays[first_row.reshape(-1)]
            known = self._kept[id(field)] = (axes[-1], stays, int(np.count_nonzero(stays)))
        return known
