"""Magnitude: units with small weights go.

Source: Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient ConvNets", ICLR 2017 (L1 norm of a filter);
He, Zhang, Sun 2017 and others with L2. As in Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, all
weights that make or read a unit count, each relative to its tensor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.registry import MethodSettings, method, ranked
from onnx_dnscp.masks.slices import UnitAxis, mean_of_axes, weight_axes
from onnx_dnscp.model.units import Units
from onnx_dnscp.training.method import Method, Need, StepState
from onnx_dnscp.training.weights import Vector, Weights


class Magnitude:
    """Norm of the weights of each unit.

    Args:
        units: What discovery found.
        order: 1 for the sum of |W|, 2 for the Euclidean norm.
    """

    needs: frozenset[Need] = frozenset()

    def __init__(self, units: Units, order: int) -> None:
        self._units = units
        self._axes = weight_axes(units)
        self._order = order

    def observe(self, state: StepState) -> None:
        """Weights alone decide."""

    def scores(self, weights: Weights) -> Vector:
        """Norm relative to the mean of its tensor, averaged over all weights of the unit."""

        def norms(axis: UnitAxis) -> NDArray[np.floating]:
            return np.asarray(np.linalg.norm(axis.rows(weights), ord=self._order, axis=1))

        return mean_of_axes(self._units, self._axes, norms)


@method("magnitude-l1")
def magnitude_l1(settings: MethodSettings) -> Method:
    """Units with the smallest sum of |W| go."""
    return ranked(settings, Magnitude(settings.units, 1))


@method("magnitude-l2")
def magnitude_l2(settings: MethodSettings) -> Method:
    """Units with the smallest Euclidean norm go."""
    return ranked(settings, Magnitude(settings.units, 2))
