"""Geometric median: units whose weights the others can stand in for go.

Source: He, Liu, Wang, Hu, Yang, "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
Acceleration", CVPR 2019, equation 6: the filters with the smallest sum of distances to all others of their layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.registry import MethodSettings, method, ranked
from onnx_dnscp.masks.slices import UnitAxis, mean_of_axes, weight_axes
from onnx_dnscp.model.units import FIXED, Units
from onnx_dnscp.training.method import Method, Need, StepState
from onnx_dnscp.training.weights import Vector, Weights


class GeometricMedian:
    """Sum of distances to the other units of the group, over the weights that make and that read them."""

    needs: frozenset[Need] = frozenset()

    def __init__(self, units: Units) -> None:
        self._units = units
        self._axes = weight_axes(units)

    def observe(self, state: StepState) -> None:
        """Weights alone decide."""

    def scores(self, weights: Weights) -> Vector:
        """Sum of distances relative to the mean of its tensor, averaged over all weights of the unit."""

        def distances(axis: UnitAxis) -> NDArray[np.floating]:
            rows, result = axis.rows(weights), np.zeros(axis.units.size)
            group_of = np.where(axis.units == FIXED, FIXED, self._units.group_of[axis.units])
            for group in np.unique(group_of[group_of != FIXED]):
                own = np.flatnonzero(group_of == group)
                own = own[np.argsort(axis.units[own], kind="stable")]
                width = np.unique(axis.units[own]).size
                if own.size % width:  # units of unequal numbers of slices cannot be laid over each other
                    width = own.size
                sums = distance_sums(rows[own].reshape(width, -1))
                result[own] = np.repeat(sums, own.size // width)
            return result

        return mean_of_axes(self._units, self._axes, distances)


def distance_sums(rows: NDArray[np.floating]) -> Vector:
    """Sum of the Euclidean distances of each row to all rows."""
    exact = rows.astype(np.float64)  # differences of large squares
    squares = np.einsum("ij,ij->i", exact, exact)
    squared = squares[:, None] + squares - 2 * exact @ exact.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)).sum(axis=1))


@method("fpgm")
def fpgm(settings: MethodSettings) -> Method:
    """Units nearest to the geometric median of their layer go."""
    return ranked(settings, GeometricMedian(settings.units))
