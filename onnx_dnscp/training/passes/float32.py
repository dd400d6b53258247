"""Train in float32 whatever the file's precision is: half has too few digits for gradients, double has no kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.model.bfloat import make_float32, saturated
from onnx_dnscp.model.structure import FLOATS

_OTHER_FLOATS = FLOATS - {TensorProto.FLOAT}
_OTHER_DTYPES = frozenset(np.dtype(helper.tensor_dtype_to_np_dtype(t)) for t in _OTHER_FLOATS)


def to_float32(model: onnx.ModelProto) -> None:
    """Turn half, bfloat16 and double into float32 everywhere, in place: weights, declared types, what Casts aim at.

    Graph inputs become float32 too; see `as_float32` for what is fed. Functions change by the rounding that is saved.
    """
    make_float32(model, _OTHER_FLOATS)


def as_float32(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Samples or targets for a model that `to_float32` changed."""
    wide = np.dtype(np.float32)
    return {name: saturated(value, wide) if value.dtype in _OTHER_DTYPES else value for name, value in arrays.items()}
