"""bfloat16 for a runtime that has no kernels for it: the same graph in float32.

ONNX Runtime's CPU provider stores bfloat16 but computes in it almost nowhere. What is run is a copy whose bfloat16
tensors and types are float32, which every bfloat16 value fits exactly; what is saved keeps bfloat16.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.model.structure import bodies

_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type"})  # attributes that name an element type
_BFLOAT16 = frozenset({TensorProto.BFLOAT16})
_Part = TensorProto | onnx.AttributeProto | onnx.TypeProto.Tensor


def uses_bfloat16(model: onnx.ModelProto) -> bool:
    """Whether a tensor, a declared type or an attribute anywhere in `model` says bfloat16."""
    return next(_parts(model, _BFLOAT16), None) is not None


def widen_bfloat16(model: onnx.ModelProto) -> None:
    """Turn every bfloat16 of `model` into float32, in place; values kept apart are for `widened`."""
    make_float32(model, _BFLOAT16)


def make_float32(model: onnx.ModelProto, element_types: Collection[int]) -> None:
    """Turn every tensor, declared type and attribute of some element types into float32, in place.

    Values beyond float32 become its largest.
    """
    for part in list(_parts(model, element_types)):
        if isinstance(part, TensorProto) and part.data_location == TensorProto.EXTERNAL:
            part.data_type = TensorProto.FLOAT
        elif isinstance(part, TensorProto):
            part.CopyFrom(
                numpy_helper.from_array(saturated(numpy_helper.to_array(part), np.dtype(np.float32)), part.name)
            )
        elif isinstance(part, onnx.AttributeProto):
            part.i = TensorProto.FLOAT
        else:
            part.elem_type = TensorProto.FLOAT


def widened(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs or weights for a model whose bfloat16 was widened: bfloat16 arrays become float32."""
    narrow = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    return {name: value.astype(np.float32) if value.dtype == narrow else value for name, value in arrays.items()}


def saturated(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`values` in another type; in a narrower float type, finite ones that are too large become its largest."""
    if dtype.kind == "f" and values.dtype.kind == "f" and values.dtype.itemsize > dtype.itemsize:
        limit = np.finfo(dtype).max
        values = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
    return values.astype(dtype, copy=False)


def _parts(model: onnx.ModelProto, types: Collection[int]) -> Iterator[_Part]:
    yield from _in_graph(model.graph, types)
    for function in model.functions:
        yield from _in_nodes(function.node, types)
        yield from _in_types(function.value_info, types)


def _in_graph(graph: onnx.GraphProto, types: Collection[int]) -> Iterator[_Part]:
    tensors = (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    yield from (tensor for tensor in tensors if tensor.data_type in types)
    for infos in (graph.input, graph.output, graph.value_info):
        yield from _in_types(infos, types)
    yield from _in_nodes(graph.node, types)


def _in_nodes(nodes: Any, types: Collection[int]) -> Iterator[_Part]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i in types:
                yield attribute
            if attribute.HasField("t") and attribute.t.data_type in types:
                yield attribute.t
        for body in bodies(node):
            yield from _in_graph(body, types)


def _in_types(infos: Any, types: Collection[int]) -> Iterator[onnx.TypeProto.Tensor]:
    for info in infos:
        kind = info.type
        while (wrapper := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
            kind = getattr(kind, wrapper).elem_type
        if wrapper in ("tensor_type", "sparse_tensor_type"):
            inner = getattr(kind, wrapper)
            if inner.elem_type in types:
                yield inner
