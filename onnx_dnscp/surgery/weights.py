"""Read and write stored tensors of a ModelProto by name, wherever they are kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.model.bfloat import saturated
from onnx_dnscp.model.structure import all_graphs, bodies, constant_tensor, copy_structure

_DESCRIPTION = frozenset({"name", "data_type", "doc_string", "metadata_props"})  # what a tensor says besides its values


def stored_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """(name, tensor) of every initializer and every `Constant` node's tensor, in place, sub-graphs included.

    A sub-graph may give a name from around it to a tensor of its own, which is then left out.
    """
    yield from _stored_in(model.graph, frozenset())


def _stored_in(graph: onnx.GraphProto, outside: AbstractSet[str]) -> Iterator[tuple[str, onnx.TensorProto]]:
    constants = ((node.output[0], constant_tensor(node)) for node in graph.node if node.op_type == "Constant")
    named = {tensor.name: tensor for tensor in graph.initializer}
    named |= {name: tensor for name, tensor in constants if tensor is not None}
    yield from ((name, tensor) for name, tensor in named.items() if name not in outside)
    visible = outside | named.keys()
    for node in graph.node:
        for body in bodies(node):
            yield from _stored_in(body, visible)


def copy_with_weights(model: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy of `model` in which the named tensors hold other values (and maybe other shapes).

    Each tensor keeps its name, element type and documentation.

    Raises:
        KeyError: `weights` names a tensor that the model does not store.
    """
    result = copy_structure(model, lambda name, _: name in weights)
    left = set(weights)
    for name, tensor in stored_tensors(result):
        if name in weights:
            set_tensor(tensor, weights[name])
            left.discard(name)
    for graph in all_graphs(result.graph) if left else ():
        for node in graph.node:
            if node.op_type == "Constant" and node.output[0] in left:  # value_floats, which is no tensor
                node.attribute[0].floats[:] = weights[node.output[0]].tolist()
                left.discard(node.output[0])
    if left:
        raise KeyError(f"the model stores no tensor named {sorted(left)}")
    return result


def set_tensor(tensor: onnx.TensorProto, values: NDArray[Any]) -> None:
    """Put `values` into `tensor` in place, converted to the tensor's own element type.

    Where that is narrower, values that are too large become its largest: infinite weights would make infinite outputs.
    """
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    values = np.asarray(saturated(values, dtype), order="C")
    plain = values.dtype.kind in "fiu" and sys.byteorder == "little"  # otherwise onnx packs or swaps
    for field in [field.name for field, _ in tensor.ListFields() if field.name not in _DESCRIPTION]:
        tensor.ClearField(field)
    tensor.dims.extend(values.shape)
    tensor.raw_data = values.tobytes() if plain else numpy_helper.from_array(values).raw_data
