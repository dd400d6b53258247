"""Mean |W| of every unit and of every group, over all weights that read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.units import FIXED, Units

Vector = NDArray[np.float64]


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
        total, squares, count = np.zeros(size), np.zeros(size), np.zeros(size)
        for name, axis, stored_units in self._readers:
            weight = np.abs(weights[name], dtype=np.float32)
            if stored_units.size > weight.shape[axis]:  # slices of each group's rows
                groups = stored_units.size // weight.shape[axis]
                weight = np.moveaxis(weight.reshape(groups, -1, *weight.shape[1:]), 2, 1)
                weight, axis = weight.reshape(stored_units.size, -1), 0
            others = tuple(a for a in range(weight.ndim) if a != axis)
            inside = stored_units != FIXED
            units = stored_units[inside]
            sums = weight.sum(axis=others, dtype=np.float64)[inside]
            square_sums = np.square(weight).sum(axis=others, dtype=np.float64)[inside]
            per_slice = weight.size / weight.shape[axis]
            total += np.bincount(units, weights=sums, minlength=size)
            squares += np.bincount(units, weights=square_sums, minlength=size)
            count += np.bincount(units, minlength=size) * per_slice
        group = self._units.group_of
        layer_count = np.maximum(np.bincount(group, weights=count), 1)
        layer_mean = np.bincount(group, weights=total) / layer_count
        variance = np.bincount(group, weights=squares) / layer_count - layer_mean**2
        layer_std = np.sqrt(np.maximum(variance, 0))
        return WeightStatistics(total / np.maximum(count, 1), layer_mean[group], layer_std[group])
