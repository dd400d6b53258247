"""Samples that are rows of arrays, which may lie in memory or in files."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.convert import Conversion
from onnx_dnscp.data.dataset import DECODE_THREADS, LABELS_KEY, Dataset, Sample
from onnx_dnscp.data.preprocess import Preprocess
from onnx_dnscp.errors import DataError
from onnx_dnscp.model.graph import Graph

logger = logging.getLogger("onnx_dnscp")

_PIECE = 1 << 20  # bytes that are looked at together when a whole array is checked


class Rows(Protocol):
    """An array that can be sliced along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As numpy's."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Some rows, in memory."""


class ArraySamples:
    """Rows of arrays.

    Args:
        arrays: All of the same length.
        convert: What becomes of rows when they are read, if anything: of an array's name, some rows of it, and the
            position of the first.
    """

    def __init__(
        self,
        arrays: Mapping[str, Rows],
        convert: Callable[[str, NDArray[Any], int], NDArray[Any]] = lambda _name, rows, _first: rows,
    ) -> None:
        self._arrays = dict(arrays)
        self._convert = convert
        self.labels = self._arrays.get(LABELS_KEY)

    def __len__(self) -> int:
        return min((len(a) for a in self._arrays.values()), default=0)

    def __getitem__(self, index: int) -> Sample:
        one = slice(index, index + 1)
        return {name: self._convert(name, array[one], index)[0] for name, array in self._arrays.items()}


def names_wanted(names: Collection[str], convert: Conversion, path: Path, graph: Graph) -> list[str]:
    """The arrays among `names` that mean something to the model; others are said, with what they may be meant to be.

    Raises:
        DataError: There is none for some input.
    """
    missing = [name for name in graph.inputs if name not in names]
    if missing:
        raise DataError(
            f"{str(path)!r} has no array named {missing[0]!r}, the model's input; it has "
            f"{', '.join(names) or 'none'}. Name the arrays like the inputs."
        )
    for name in [name for name in names if name not in convert.keys]:
        nearest = get_close_matches(name, convert.keys, 1)
        meant = f"did you mean {nearest[0]!r}?" if nearest else f"those are {', '.join(convert.keys)}"
        logger.warning(
            "warning: the array %r of %r is not used: it is called like no input, no output and not %r; %s",
            name, str(path), LABELS_KEY, meant,
        )  # fmt: skip
    return [name for name in names if name in convert.keys]


def array_dataset(arrays: Mapping[str, Rows], path: Path, graph: Graph, preprocess: Preprocess) -> Dataset:
    """Arrays as samples, once all of their values have been looked at, a piece at a time.

    Args:
        arrays: One for every input; `labels` and targets of outputs, if there are any. Others are left out, and said.
        path: What to call them in messages.
        graph: The model.
        preprocess: How to prepare the inputs.

    Raises:
        DataError: They do not fit the model or each other.
    """
    convert = Conversion(graph, preprocess, str(path))
    arrays = {name: arrays[name] for name in names_wanted(arrays, convert, path, graph)}
    _check_not_empty(arrays, path)
    known = {convert.keys[name]: array for name, array in arrays.items()}
    for key, array in known.items():
        _look_at(key, array, convert)
    if len({len(array) for array in arrays.values()}) > 1:
        counts = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"The arrays in {str(path)!r} have different numbers of samples: {counts}.")
    if LABELS_KEY in known:  # small beside the inputs, and all of them are checked against the model's classes
        known[LABELS_KEY] = convert(LABELS_KEY, known[LABELS_KEY][:], 0)
    targets = tuple(name for name, key in convert.keys.items() if key in known and key != name)
    samples = ArraySamples(known, convert)
    return Dataset(samples, LABELS_KEY in known, path.name, decode_threads=DECODE_THREADS, targets=targets)


def _check_not_empty(arrays: Mapping[str, Rows], path: Path) -> None:
    for name, array in arrays.items():
        if not (array.shape and len(array)):
            raise DataError(f"The data {str(path)!r} is empty: array {name!r} has shape {array.shape}.")


def _look_at(key: str, array: Rows, convert: Conversion) -> None:
    """Convert all values once, a piece at a time, to see that they can be."""
    rows = max(1, _PIECE // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        convert(key, array[start : start + rows], start)
