"""Mean |W| of every unit and of every group, over all weights that read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.units import FIXED, Units
from onnx_dnscp.training.weights import SlicedAxis, Vector, Weights


@dataclass(frozen=True)
class WeightStatistics:
    """Statistics of |W|, in the unit of the weights.

    Attributes:
        unit_mean: (units,) mean over all consumer weights of the unit: mu_k.
        layer_mean: (units,) mean over all consumer weights of the unit's group: mu.
        layer_std: (units,) standard deviation over the same weights: std.

    Source: DNS-CP note, section 2.2, equations 3 and 4; the layer is the group, because its
    channels live or die together in all its consumers.
    """

    unit_mean: Vector
    layer_mean: Vector
    layer_std: Vector


class StatisticsReader:
    """Computes `WeightStatistics` from current weights, in a few numpy calls per consumer."""

    def __init__(self, units: Units) -> None:
        self._units = units
        # By (weight, axis): a weight shared by nodes counts once.
        owners = {(c.weight, c.axis): c.stored_units for c in reversed(units.consumers)}
        first = dict.fromkeys((c.weight, c.axis) for c in units.consumers)
        self._axes = [SlicedAxis(*key, owners[key].size) for key in first]
        stored_units = np.concatenate([*(owners[key] for key in first), np.zeros(0, dtype=np.int64)])
        self._inside: NDArray[np.bool_] = stored_units != FIXED
        self._owners: NDArray[np.int64] = stored_units[self._inside]

    def read(self, weights: Weights) -> WeightStatistics:
        """Statistics of the given weights."""
        size, group = self._units.num_units, self._units.group_of
        columns = (np.concatenate(column)[self._inside] for column in zip(*weights.sums(self._axes), strict=True))
        total, squares, count = (np.bincount(self._owners, weights=column, minlength=size) for column in columns)
        layer_count = np.maximum(np.bincount(group, weights=count), 1)
        layer_mean = np.bincount(group, weights=total) / layer_count
        variance = np.bincount(group, weights=squares) / layer_count - layer_mean**2
        layer_std = np.sqrt(np.maximum(variance, 0))
        return WeightStatistics(total / np.maximum(count, 1), layer_mean[group], layer_std[group])
