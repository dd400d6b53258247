"""Arrays that stay in their file: rows are read when they are asked for."""

from __future__ import annotations

import math
import mmap
import os
import tokenize
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import DataError
from onnx_dnscp.model.runtime import first_line

Shape = tuple[int, ...]
Order = Literal["C", "F"]
_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class MappedArray:
    """An array in a file, of which slices along the first axis can be had as arrays in memory.

    Args:
        file: May be closed afterwards.
        what: Names the file in messages.
        offset: Of the first value, in bytes.
        dtype: Of the values.
        shape: Of the array.
        order: "C" or "F", as numpy calls them.
        limit: Where bytes begin that belong to something else; None where the file ends.

    Raises:
        DataError: The file is too short.
    """

    def __init__(
        self,
        file: IO[bytes],
        what: str,
        offset: int,
        dtype: np.dtype[Any],
        shape: Shape,
        order: Order,
        limit: int | None = None,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self._what = what
        self._end = offset + math.prod(shape) * dtype.itemsize
        size = os.fstat(file.fileno()).st_size
        if (size if limit is None else min(size, limit)) < self._end:
            raise DataError(f"Cannot read the data {what}: it is cut off; save it again.")
        self._map = mmap.mmap(file.fileno(), self._end, access=mmap.ACCESS_READ) if self._end else None
        self._values: NDArray[Any] = np.ndarray(shape, dtype, self._map, offset, order=order)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Some rows.

        Raises:
            DataError: The file was cut; to touch what is no longer there would kill the process.
        """
        if self._map is not None and self._map.size() < self._end:
            raise DataError(f"The data {self._what} was cut off while it was in use; put the old file back.")
        return np.array(self._values[rows])


def read_header(file: IO[bytes], what: str) -> tuple[Shape, Order, np.dtype[Any]]:
    """Shape, order and type of the array that an .npy file begins with; `file` stands at its values then.

    Raises:
        DataError: It holds Python objects.
        ValueError: It is no .npy file, or a damaged one.
    """
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:  # others are for names of fields, and fields are no samples
        raise ValueError(f"it is of version {version[0]}.{version[1]} of the .npy format, which holds no plain numbers")
    try:
        shape, is_fortran, dtype = _READ_HEADER[version](file)
    except (SyntaxError, tokenize.TokenError, TypeError, RecursionError) as error:  # numpy parses it as Python
        raise ValueError(f"its header is damaged ({first_line(error)})") from error
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects, which are never unpickled; save plain numbers.")
    if any(size < 0 for size in shape):
        raise ValueError(f"its header says shape {shape}")
    return shape, "F" if is_fortran else "C", dtype
