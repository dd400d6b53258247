"""The slices of stored weights that belong to each unit, for criteria that look at weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.statistics import Vector
from onnx_dnscp.model.units import FIXED, Units, slices_along

Role = Literal["reads", "makes"]
Weights = Mapping[str, NDArray[Any]]  # by stored tensor name


@dataclass(frozen=True)
class WeightAxis:
    """One axis of a stored weight on which units lie.

    Attributes:
        tensor: Stored tensor.
        axis: The axis.
        role: "reads" on an input-channel axis of a consumer, else "makes".
        units: (positions,) unit of each position, or FIXED. Axis 1 of a grouped convolution may count the positions of
            all groups: each lies in the rows of its group only.
    """

    tensor: str
    axis: int
    role: Role
    units: NDArray[np.int64]

    def rows(self, weight: NDArray[Any]) -> NDArray[np.float32]:
        """The slices of `weight` along the axis, flattened: (positions, elements)."""
        size = self.units.size
        values, axis = slices_along(np.asarray(weight, dtype=np.float32), self.axis, size)
        return np.moveaxis(values, axis, 0).reshape(size, -1)


def weight_axes(units: Units) -> tuple[WeightAxis, ...]:
    """Every axis of a stored weight of two dimensions or more on which units lie; biases and the like are left out."""
    reads = {(consumer.weight, consumer.axis) for consumer in units.consumers}
    found = []
    for index, position, owners in units.slices.by_axis(np.ones(units.slices.unit.size, dtype=bool)):
        tensor, axis = units.slices.axes[index]
        if len(units.graph.stored.shape(tensor)) < 2:
            continue
        own = np.full(units.slices.sizes[index], FIXED, dtype=np.int64)
        own[position] = owners
        found.append(WeightAxis(tensor, axis, "reads" if (tensor, axis) in reads else "makes", own))
    return tuple(found)


def unit_sums(
    units: Units, axes: tuple[WeightAxis, ...], values: Callable[[WeightAxis], NDArray[np.floating]]
) -> Iterator[tuple[Vector, Vector]]:
    """For each axis: sum of `values`, one per position, over the positions of every unit, and their number."""
    for axis in axes:
        inside = axis.units != FIXED
        owners, own = axis.units[inside], values(axis)[inside]
        yield (
            np.bincount(owners, weights=own, minlength=units.num_units).astype(np.float64),
            np.bincount(owners, minlength=units.num_units).astype(np.float64),
        )


def mean_of_axes(
    units: Units, axes: tuple[WeightAxis, ...], values: Callable[[WeightAxis], NDArray[np.floating]]
) -> Vector:
    """One score per unit: its positions' `values`, relative to the axis' mean, averaged over all axes it lies on.

    Relative values keep one tensor with large weights from outvoting the others, and make groups comparable.
    """
    total, count = np.zeros((2, units.num_units))
    for sums, number in unit_sums(units, axes, values):
        mean = sums.sum() / max(1.0, number.sum())
        total += sums / (mean or 1.0)
        count += number
    return np.asarray(total / np.maximum(count, 1))
