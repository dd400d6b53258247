"""Arrays in an .npz file, named like the model's inputs, with optional `labels` and targets named like its outputs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.data.dataset import LABELS_KEY, Dataset, Sample, data_source, target_key
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.graph import Graph, dimensions
from onnx_dnscp.runtime import first_line

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


class ArraySamples:
    """Samples that are rows of arrays in memory."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        self.labels = self._arrays.get(LABELS_KEY)

    def __len__(self) -> int:
        return min((len(a) for a in self._arrays.values()), default=0)

    def __getitem__(self, index: int) -> Sample:
        return {name: array[index] for name, array in self._arrays.items()}


@data_source
def open_npz(path: Path, graph: Graph, preprocess: Preprocess) -> Dataset | None:
    """Open an .npz file; None for other paths."""
    if path.suffix != ".npz" or not path.is_file():
        return None
    arrays = _read(path, graph)
    for name in graph.inputs:
        if name in arrays:
            arrays[name] = _convert(arrays[name], name, path, graph, preprocess)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(f"The arrays in {str(path)!r} have different numbers of samples: {counts}.")
    targets = tuple(name for name in _outputs(graph) if name in arrays)
    for name in targets:
        arrays[target_key(name)] = _convert_target(arrays.pop(name), name, path)
    return Dataset(ArraySamples(arrays), LABELS_KEY in arrays, path.name, targets=targets)


def _outputs(graph: Graph) -> list[str]:
    """Outputs that an array can be the target of: those of floats, where the name does not mean something else."""
    taken = {*graph.inputs, LABELS_KEY}
    declared = graph.proto.graph.output
    return [o.name for o in declared if o.type.tensor_type.elem_type in _FLOATS and o.name not in taken]


def _read(path: Path, graph: Graph) -> dict[str, NDArray[Any]]:
    wanted = {*graph.inputs, LABELS_KEY, *_outputs(graph)}
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataError(
                    f"Cannot read the data {str(path)!r}: it is no .npz archive or is cut off; save it again with "
                    "numpy.savez."
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                missing = [name for name in graph.inputs if name not in archive.files]
                if missing:
                    raise DataError(
                        f"{str(path)!r} has no array named {missing[0]!r}, the model's input; it has "
                        f"{', '.join(archive.files) or 'none'}. Name the arrays like the inputs."
                    )
                arrays = {name: np.asarray(archive[name]) for name in archive.files if name in wanted}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"Cannot read the data {str(path)!r}: {first_line(error)}; save plain arrays again with numpy.savez."
        ) from error
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise DataError(f"The data {str(path)!r} is empty: array {name!r} has shape {array.shape}.")
    labels = arrays.get(LABELS_KEY)
    if labels is not None:
        if labels.dtype.kind not in "iu":
            raise DataError(f"'labels' in {str(path)!r} has type {labels.dtype}; class numbers must be integers.")
        arrays[LABELS_KEY] = labels.astype(np.int64)
    return arrays


def _convert(array: NDArray[Any], name: str, path: Path, graph: Graph, preprocess: Preprocess) -> NDArray[Any]:
    """Bring an array to the input's element type; refuse what would lose its meaning."""
    dtype = helper.tensor_dtype_to_np_dtype(graph.inputs[name].tensor_type.elem_type)
    if array.dtype.kind not in "fiub":
        raise DataError(f"Array {name!r} in {str(path)!r} has type {array.dtype}; the model wants numbers ({dtype}).")
    if dtype.kind in "iu" and array.dtype.kind == "f":
        raise DataError(f"Array {name!r} in {str(path)!r} has type {array.dtype}; the model wants integers ({dtype}).")
    if dtype.kind in "iu" and (array.min() < np.iinfo(dtype).min or array.max() > np.iinfo(dtype).max):
        raise DataError(
            f"Array {name!r} in {str(path)!r} has values from {array.min()} to {array.max()}, which the model's "
            f"{dtype} cannot hold."
        )
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
        if not preprocess.is_identity() and dtype.kind == "f":
            last = preprocess.channels_last(dimensions(graph.inputs[name]))
            array = preprocess.normalise(array, array.ndim - 1 if last else min(1, array.ndim - 1), default_scale=1.0)
        array = array.astype(dtype, copy=False)
    if dtype.kind == "f":
        _check_finite(array, name, path)
    return array


def _convert_target(array: NDArray[Any], name: str, path: Path) -> NDArray[Any]:
    """What an output should be, as float32."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"Array {name!r} in {str(path)!r} has type {array.dtype}; targets of an output are numbers.")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused with the rest
        array = array.astype(np.float32, copy=False)
    _check_finite(array, name, path)
    return array


def _check_finite(array: NDArray[Any], name: str, path: Path) -> None:
    if not np.isfinite(array).all():
        sample = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(f"Array {name!r} in {str(path)!r} has NaN or infinity in sample {sample}; clean the data.")
