"""bfloat16 for a runtime that has no kernels for it: the same graph in float32.

ONNX Runtime's CPU provider stores bfloat16 but computes in it almost nowhere. What is run is a copy whose bfloat16
tensors and types are float32, which every bfloat16 value fits exactly; what is saved keeps bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.structure import bodies

_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type"})  # attributes that name an element type


def uses_bfloat16(model: onnx.ModelProto) -> bool:
    """Whether a tensor, a declared type or an attribute anywhere in `model` says bfloat16."""
    return next(_bfloat16_parts(model), None) is not None


def widen_bfloat16(model: onnx.ModelProto) -> None:
    """Turn every bfloat16 of `model` into float32, in place; values kept apart are for `widened`."""
    for part in list(_bfloat16_parts(model)):
        if isinstance(part, TensorProto) and part.data_location == TensorProto.EXTERNAL:
            part.data_type = TensorProto.FLOAT
        elif isinstance(part, TensorProto):
            wide = numpy_helper.to_array(part).astype(np.float32)
            part.CopyFrom(numpy_helper.from_array(wide, part.name))
        elif isinstance(part, onnx.AttributeProto):
            part.i = TensorProto.FLOAT
        else:
            part.elem_type = TensorProto.FLOAT


def widened(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Inputs or weights for a model whose bfloat16 was widened: bfloat16 arrays become float32."""
    narrow = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    return {name: value.astype(np.float32) if value.dtype == narrow else value for name, value in arrays.items()}


def _bfloat16_parts(model: onnx.ModelProto) -> Iterator[TensorProto | onnx.AttributeProto | onnx.TypeProto.Tensor]:
    yield from _in_graph(model.graph)
    for function in model.functions:
        yield from _in_nodes(function.node)
        yield from _in_types(function.value_info)


def _in_graph(graph: onnx.GraphProto) -> Iterator[TensorProto | onnx.AttributeProto | onnx.TypeProto.Tensor]:
    tensors = (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    yield from (tensor for tensor in tensors if tensor.data_type == TensorProto.BFLOAT16)
    for infos in (graph.input, graph.output, graph.value_info):
        yield from _in_types(infos)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Any) -> Iterator[TensorProto | onnx.AttributeProto | onnx.TypeProto.Tensor]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i == TensorProto.BFLOAT16:
                yield attribute
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.BFLOAT16:
                yield attribute.t
        for body in bodies(node):
            yield from _in_graph(body)


def _in_types(infos: Any) -> Iterator[onnx.TypeProto.Tensor]:
    for info in infos:
        kind = info.type
        while (wrapper := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
            kind = getattr(kind, wrapper).elem_type
        if wrapper in ("tensor_type", "sparse_tensor_type"):
            inner = getattr(kind, wrapper)
            if inner.elem_type == TensorProto.BFLOAT16:
                yield inner
