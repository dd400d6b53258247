"""From arrays as a user keeps them to what a model's inputs and losses take; refused is what would lose its meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.data.dataset import LABELS_KEY, target_key
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph, dimensions

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


class Conversion:
    """Converts arrays of samples, batch first.

    Args:
        graph: The model.
        preprocess: How to prepare its inputs.
        where: What to call the data in messages.

    Attributes:
        keys: Name of every array that means something to the model, to the key that samples have it under: inputs,
            `labels`, and outputs of floats that an array can be the target of.
    """

    def __init__(self, graph: Graph, preprocess: Preprocess, where: str) -> None:
        self._graph = graph
        self._preprocess = preprocess
        self._where = where
        own = [*graph.inputs, LABELS_KEY]
        outputs = [o.name for o in graph.proto.graph.output if o.type.tensor_type.elem_type in _FLOATS]
        self._targets = {target_key(name): name for name in outputs if name not in own}
        self.keys = {**{name: name for name in own}, **{name: key for key, name in self._targets.items()}}

    def __call__(self, key: str, array: NDArray[Any], first: int = 0) -> NDArray[Any]:
        """The array in the type that it is wanted in.

        Args:
            key: One of the values of `keys`.
            array: Any number of samples.
            first: Position of the first of them.

        Raises:
            DataError: Its values cannot be what they are called.
        """
        if key == LABELS_KEY:
            return self._labels(array)
        if key in self._targets:
            return self._target(array, self._targets[key], first)
        return self._input(array, key, first)

    def _labels(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind not in "iu":
            raise DataError(f"'labels' in {self._where!r} has type {array.dtype}; class numbers must be integers.")
        return array.astype(np.int64, copy=False)

    def _input(self, array: NDArray[Any], name: str, first: int) -> NDArray[Any]:
        declared = self._graph.inputs[name]
        dtype = helper.tensor_dtype_to_np_dtype(declared.tensor_type.elem_type)
        if array.dtype.kind not in "fiub":
            raise DataError(
                f"Array {name!r} in {self._where!r} has type {array.dtype}; the model wants numbers ({dtype})."
            )
        if dtype.kind in "iu":
            self._check_integers(array, name, dtype)
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
            if not self._preprocess.is_identity() and dtype.kind == "f":
                last = self._preprocess.channels_last(dimensions(declared))
                axis = array.ndim - 1 if last else min(1, array.ndim - 1)
                array = self._preprocess.normalise(array, axis, default_scale=1.0)
            array = array.astype(dtype, copy=False)
        if dtype.kind == "f":
            self._check_finite(array, name, first)
        return array

    def _target(self, array: NDArray[Any], name: str, first: int) -> NDArray[Any]:
        if array.dtype.kind not in "fiub":
            raise DataError(
                f"Array {name!r} in {self._where!r} has type {array.dtype}; targets of an output are numbers."
            )
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused with the rest
            array = array.astype(np.float32, copy=False)
        self._check_finite(array, name, first)
        return array

    def _check_integers(self, array: NDArray[Any], name: str, dtype: np.dtype[Any]) -> None:
        if array.dtype.kind == "f":
            raise DataError(
                f"Array {name!r} in {self._where!r} has type {array.dtype}; the model wants integers ({dtype})."
            )
        if array.size and (array.min() < np.iinfo(dtype).min or array.max() > np.iinfo(dtype).max):
            raise DataError(
                f"Array {name!r} in {self._where!r} has values from {array.min()} to {array.max()}, which the model's "
                f"{dtype} cannot hold."
            )

    def _check_finite(self, array: NDArray[Any], name: str, first: int) -> None:
        finite = np.isfinite(array)
        if not finite.all():
            sample = first + int(np.argwhere(~finite)[0][0])
            raise DataError(
                f"Array {name!r} in {self._where!r} has NaN or infinity in sample {sample}; clean the data."
            )
