"""Mean |W| of every unit and of every group, over all weights that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.units import FIXED, Units, slices_along

Vector = NDArray[np.float64]

_BLOCK = 1 << 17  # elements that are summed at a time


@dataclass(frozen=True)
class WeightStatistics:
    """Statistics of |W|, in the unit of the weights.

    Attributes:
        unit_mean: (units,) mean over all consumer weights of the unit: mu_k.
        layer_mean: (units,) mean over all consumer weights of the unit's group: mu.
        layer_std: (units,) standard deviation over the same weights: std.

    Source: DNS-CP note (references/002), section 2.2, equations 3 and 4; the layer is the group, because its
    channels live or die together in all its consumers.
    """

    unit_mean: Vector
    layer_mean: Vector
    layer_std: Vector


class StatisticsReader:
    """Computes `WeightStatistics` from current weights, in a few numpy calls per consumer."""

    def __init__(self, units: Units) -> None:
        self._units = units
        self._readers: list[tuple[str, int, NDArray[np.int64]]] = []
        seen: set[tuple[str, int]] = set()
        for consumer in units.consumers:
            if (consumer.weight, consumer.axis) not in seen:  # a weight shared by nodes counts once
                seen.add((consumer.weight, consumer.axis))
                self._readers.append((consumer.weight, consumer.axis, consumer.stored_units))

    def read(self, weights: Mapping[str, NDArray[np.floating]]) -> WeightStatistics:
        """Statistics of the given weights, by stored tensor name."""
        size = self._units.num_units
        parts = [_slice_sums(weights[name], axis, stored_units) for name, axis, stored_units in self._readers]
        units, sums, square_sums, elements = (np.concatenate(p) for p in zip(*parts, strict=True))
        total = np.bincount(units, weights=sums, minlength=size)
        squares = np.bincount(units, weights=square_sums, minlength=size)
        count = np.bincount(units, weights=elements, minlength=size)
        group = self._units.group_of
        layer_count = np.maximum(np.bincount(group, weights=count), 1)
        layer_mean = np.bincount(group, weights=total) / layer_count
        variance = np.bincount(group, weights=squares) / layer_count - layer_mean**2
        layer_std = np.sqrt(np.maximum(variance, 0))
        return WeightStatistics(total / np.maximum(count, 1), layer_mean[group], layer_std[group])


def _slice_sums(
    weight: NDArray[np.floating], axis: int, stored_units: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Vector, Vector, Vector]:
    """Of every slice that belongs to a unit: the unit, sum of |W|, sum of W^2, number of elements."""
    size = stored_units.size
    weight, axis = slices_along(weight, axis, size)
    before, after = int(np.prod(weight.shape[:axis])), int(np.prod(weight.shape[axis + 1 :]))
    values = np.asarray(weight, dtype=np.float32)
    matrix = values.reshape(size, after) if before == 1 else values.reshape(before, size * after)
    magnitudes, squares = np.zeros((2, size)) if before == 1 else np.zeros((2, size * after))
    ones = np.ones(max(matrix.shape), dtype=np.float32)  # a product with ones is the fastest sum
    for at, block in _magnitudes(matrix):
        for sums in (magnitudes, squares):
            if before == 1:
                sums[at] = block @ ones[:after]
            else:
                sums += ones[: len(block)] @ block
            block *= block
    if before > 1:
        magnitudes, squares = (sums.reshape(size, after).sum(axis=1) for sums in (magnitudes, squares))
    inside = stored_units != FIXED
    return stored_units[inside], magnitudes[inside], squares[inside], np.full(inside.sum(), weight.size / size)


def _magnitudes(matrix: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """|W| of a few rows at a time, which stay in the processor's cache; the next step overwrites the array."""
    height, width = matrix.shape
    step = min(height, max(1, _BLOCK // max(1, width)))
    buffer = np.empty((step, width), dtype=np.float32)
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        yield rows, np.abs(matrix[rows], out=buffer[: rows.stop - first])
