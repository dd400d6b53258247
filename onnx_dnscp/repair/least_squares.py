"""Least squares: weights that make an operator's output what it was in the original, from the inputs that are left.

Source: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, section 3.1 (their
reconstruction step; inputs are those of the pruned network, so that errors do not add up). The ridge pulls towards the
weights as they are, so more than a few samples only help and too few cannot hurt much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.repair.sites import Matrix

RIDGE = 1e-2  # of the mean square of a feature


class Normal:
    """The normal equations of one operator, summed over batches.

    Args:
        weight: (groups, outputs, features) before the repair, without what reads removed channels.
        keeps: (groups, features) True for features that stay.
        bias: (groups, outputs) part of the output that does not come from the weight.
        shifts: Whether a constant may be added to each output.
    """

    def __init__(self, weight: Matrix, keeps: NDArray[np.bool_], bias: Matrix, *, shifts: bool) -> None:
        self._weight = weight.astype(np.float64)
        self._columns = np.flatnonzero(keeps.any(axis=0))  # groups may keep different ones; those get zeros
        self._inside = keeps[:, self._columns]
        self._bias = bias
        self._shifts = shifts
        groups, outputs, _ = weight.shape
        width = self._columns.size
        self._count = 0
        self._feature_sum = np.zeros((groups, width))
        self._output_sum = np.zeros((groups, outputs))
        self._gram = np.zeros((groups, width, width))
        self._cross = np.zeros((groups, outputs, width))

    def add(self, features: Matrix, outputs: Matrix) -> None:
        """Add rows: (groups, rows, features) of the pruned network, (groups, rows, outputs) of the original."""
        chosen = features[..., self._columns] * self._inside[:, None]
        wanted = outputs - self._bias[:, None].astype(outputs.dtype)
        self._count += chosen.shape[1]
        self._feature_sum += chosen.sum(axis=1, dtype=np.float64)
        self._output_sum += wanted.sum(axis=1, dtype=np.float64)
        self._gram += chosen.swapaxes(1, 2) @ chosen
        self._cross += wanted.swapaxes(1, 2) @ chosen

    def solve(self, ridge: float = RIDGE) -> Matrix:
        """The weight that fits best, zero where features are removed.

        The error over the rows is never larger than before: the ridge measures the distance from there.
        """
        gram, cross = self._gram / self._count, self._cross / self._count
        if self._shifts:  # the best shift for each weight takes the means out
            feature_mean, output_mean = self._feature_sum / self._count, self._output_sum / self._count
            gram = gram - feature_mean[:, :, None] * feature_mean[:, None]
            cross = cross - output_mean[:, :, None] * feature_mean[:, None]
        start = self._weight[..., self._columns]
        width = self._columns.size
        level = ridge * np.trace(gram, axis1=1, axis2=2) / max(1, width) + np.finfo(np.float32).tiny
        system = gram + level[:, None, None] * np.eye(width)
        change = np.linalg.solve(system, (cross - start @ gram).swapaxes(1, 2)).swapaxes(1, 2)
        weight = np.zeros_like(self._weight)
        weight[..., self._columns] = start + change * self._inside[:, None]
        return weight

    def predicted(self, weight: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and deviation over the rows of what a weight makes, both (groups, outputs)."""
        chosen = weight[..., self._columns]
        mean = (chosen @ (self._feature_sum / self._count)[:, :, None])[..., 0]
        squares = np.einsum("gof,gof->go", chosen @ (self._gram / self._count), chosen)
        return mean, np.sqrt(np.maximum(squares - mean**2, 0))
