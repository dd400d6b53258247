"""Weights by name, and sums over their slices, computed where the weights are.

Methods ask for sums instead of reading weights, because an engine may keep them on a device of its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.units import slices_along

Vector = NDArray[np.float64]

_BLOCK = 1 << 17  # elements that are summed at a time


class SlicedAxis(NamedTuple):
    """An axis of a stored tensor, cut into slices.

    Attributes:
        tensor: Its name.
        axis: The axis.
        size: Number of slices. Axis 1 of a grouped convolution's weight may count the positions of all groups, so more
            than the tensor's size there: each is in the rows of its group only.
    """

    tensor: str
    axis: int
    size: int

    def rows(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(size, elements) the slices of a tensor's `values`, flattened."""
        values, axis = slices_along(np.asarray(values, dtype=np.float32), self.axis, self.size)
        return np.moveaxis(values, axis, 0).reshape(self.size, -1)


class SliceSums(NamedTuple):
    """Of every slice of one axis, all (slices,).

    Attributes:
        magnitudes: Sum of |W|.
        squares: Sum of W^2.
        elements: Their number.
    """

    magnitudes: Vector
    squares: Vector
    elements: Vector


class Weights(Mapping[str, NDArray[Any]]):
    """Tensors by stored name; reading one may copy it from a device."""

    @abstractmethod
    def sums(self, axes: Sequence[SlicedAxis]) -> list[SliceSums]:
        """Sums over the slices of every axis."""


class Parameters(Weights):
    """The weights of an engine, which can be written."""

    @abstractmethod
    def write(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Replace the values of some tensors."""


class HostParameters(Parameters):
    """Arrays in the memory of this process. What is read is the array itself, so a step may change it.

    Args:
        arrays: By name; they are kept, not copied.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def sums(self, axes: Sequence[SlicedAxis]) -> list[SliceSums]:
        """Sums over the slices of every axis."""
        return [slice_sums(self._arrays[axis.tensor], axis) for axis in axes]

    def write(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Copy values into the arrays."""
        for name, value in values.items():
            self._arrays[name][...] = value


class WithStored(Weights):
    """What an engine learns, and beside it what the file stores and does not learn (quantised weights, say).

    Args:
        learned: Of the engine.
        stored: All tensors of the file.
    """

    def __init__(self, learned: Weights, stored: Mapping[str, NDArray[Any]]) -> None:
        self._learned = learned
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._learned[name] if name in self._learned else self._stored[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._learned, *self._stored)))

    def __len__(self) -> int:
        return len({*self._learned, *self._stored})

    def sums(self, axes: Sequence[SlicedAxis]) -> list[SliceSums]:
        """Sums over the slices of every axis, each asked of who has the tensor."""
        learned = iter(self._learned.sums([axis for axis in axes if axis.tensor in self._learned]))
        return [
            next(learned) if axis.tensor in self._learned else slice_sums(self._stored[axis.tensor], axis)
            for axis in axes
        ]


def slice_sums(weight: NDArray[np.floating], along: SlicedAxis) -> SliceSums:
    """Sums over the slices of one array, in a few numpy calls."""
    size = along.size
    weight, axis = slices_along(weight, along.axis, size)
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
    return SliceSums(magnitudes, squares, np.full(size, weight.size / size))


def _magnitudes(matrix: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """|W| of a few rows at a time, which stay in the processor's cache; the next step overwrites the array."""
    height, width = matrix.shape
    step = min(height, max(1, _BLOCK // max(1, width)))
    buffer = np.empty((step, width), dtype=np.float32)
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        yield rows, np.abs(matrix[rows], out=buffer[: rows.stop - first])
