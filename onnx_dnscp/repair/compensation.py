"""Compensation: what removed channels added on average goes into the consumer's bias.

Sources: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, section 4.2 (the same correction for quantisation errors); Jordan et al., "REPAIR: REnormalizing
Permuted Activations for Interpolation Repair", ICLR 2023 (deviations are restored too).
"""

from __future__ import annotations

import numpy as np

from onnx_dnscp.training.weights import Vector

_LARGEST_STRETCH = 4.0  # an output that hardly varies any more is noise, which is not to be blown up


class Moments:
    """Mean and variance of every output channel, over batches.

    Args:
        channels: How many there are.
    """

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._sum, self._squares = np.zeros((2, channels))

    def add(self, values: np.ndarray, axis: int) -> None:
        """Add an output whose channels lie on `axis`."""
        rows = np.moveaxis(values, axis, -1).reshape(-1, self._sum.size).astype(np.float64)
        self._count += len(rows)
        self._sum += rows.sum(axis=0)
        self._squares += np.einsum("ij,ij->j", rows, rows)

    @property
    def mean(self) -> Vector:
        """Mean of each channel."""
        return np.asarray(self._sum / self._count)

    @property
    def variance(self) -> Vector:
        """Variance of each channel."""
        return np.maximum(self._squares / self._count - self.mean**2, 0.0)


def stretch(wished: Vector, found: Vector, mean: Vector) -> Vector:
    """The factor on each output that restores its deviation; 1 where there is nothing to restore.

    Args:
        wished: Deviation in the original.
        found: Deviation now.
        mean: Mean now, against which rounding is judged.
    """
    varies = found > 1e-6 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
    ratio = wished / np.where(varies, found, 1.0)
    return np.where(varies, np.clip(ratio, 1 / _LARGEST_STRETCH, _LARGEST_STRETCH), 1.0)
