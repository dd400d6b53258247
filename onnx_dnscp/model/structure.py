"""A model's structure apart from its big tensors, so that structure can be copied and run without copying weights.

Protobuf hands out every read of a tensor's bytes as a new copy and cannot serialize more than 2 GB. Whoever copies,
edits or runs a model therefore takes its structure, with big tensors declared but empty, and the values on the side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BIG = 1024  # elements; smaller tensors travel with the structure, where shape inference can read them
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""Element types that networks compute in."""
# Types that the runtime takes as numpy arrays; bfloat16 is widened first.
_TAKEN_APART = FLOATS | {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64}


def is_big(tensor: TensorProto) -> bool:
    """Whether a tensor is left out of a model's structure."""
    return tensor.data_type in _TAKEN_APART and math.prod(tensor.dims) > BIG


def copy_structure(
    model: onnx.ModelProto, leave_out: Callable[[str, TensorProto], bool], *, as_initializers: bool = False
) -> onnx.ModelProto:
    """A copy of `model` without the values of some tensors of its main graph.

    A tensor that is left out keeps its name, type, dims and documentation.

    Args:
        model: Not modified.
        leave_out: Asked for every initializer and every `Constant` value of the main graph, by tensor name.
        as_initializers: Whether a `Constant` whose value is left out becomes an initializer.
    """
    result = onnx.ModelProto()
    _copy_fields(model, result, skip="graph")
    _copy_fields(model.graph, result.graph, skip="initializer", also_skip="node")
    for tensor in model.graph.initializer:
        _copy_tensor(tensor, result.graph.initializer.add(), leave_out(tensor.name, tensor))
    for node in model.graph.node:
        value = constant_tensor(node)
        if value is None or not leave_out(node.output[0], value):
            result.graph.node.add().CopyFrom(node)
            continue
        if as_initializers:
            result.graph.initializer.add(name=node.output[0], data_type=value.data_type, dims=value.dims)
            continue
        copy = result.graph.node.add()
        _copy_fields(node, copy, skip="attribute")
        for attribute in node.attribute:
            own = copy.attribute.add()
            _copy_fields(attribute, own, skip="t")
            if attribute.name == "value":
                _copy_tensor(attribute.t, own.t, True)
    return result


def constant_tensor(node: onnx.NodeProto) -> TensorProto | None:
    """The tensor that a `Constant` node holds, or None for another node or a plain list."""
    if node.op_type == "Constant":
        for attribute in node.attribute:
            if attribute.name == "value":
                tensor: TensorProto = attribute.t
                return tensor
    return None


def split_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """The structure of `model` as the runtime takes it, and its big tensors by name.

    Big `Constant` values become initializers, because the runtime takes values from outside for initializers only.
    """
    structure = copy_structure(model, lambda _, tensor: is_big(tensor), as_initializers=True)
    big = {t.name: t for t in model.graph.initializer if is_big(t)}
    big |= {n.output[0]: t for n in model.graph.node for t in [constant_tensor(n)] if t is not None and is_big(t)}
    for tensor in structure.graph.initializer:
        if is_big(tensor):
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="memory")
    return structure, {name: numpy_helper.to_array(tensor) for name, tensor in big.items()}


def join_weights(structure: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy of `structure` with the values of its big tensors put back."""
    whole = onnx.ModelProto()
    whole.CopyFrom(structure)
    for tensor in whole.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return whole


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every sub-graph in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from all_graphs(body)


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of a node's sub-graphs before the node itself: each after what it reads."""
    for node in graph.node:
        for body in bodies(node):
            yield from all_nodes(body)
        yield node


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Sub-graphs of one node."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def captured_names(body: onnx.GraphProto) -> Iterator[str]:
    """Names a sub-graph reads from outside itself."""
    own = {i.name for i in body.input} | {t.name for t in body.initializer}
    for node in body.node:
        yield from (name for name in node.input if name and name not in own)
        for inner in bodies(node):
            yield from (name for name in captured_names(inner) if name not in own)
        own.update(node.output)
    yield from (output.name for output in body.output if output.name not in own)


def tensor_dtype(tensor: TensorProto) -> np.dtype[Any]:
    """Element type of a tensor as numpy knows it."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))


def _copy_tensor(tensor: TensorProto, copy: TensorProto, without_values: bool) -> None:
    if not without_values:
        copy.CopyFrom(tensor)
        return
    copy.data_type = tensor.data_type
    copy.dims.extend(tensor.dims)
    for field in (TensorProto.DESCRIPTOR.fields_by_name[name] for name in ("name", "doc_string")):
        if tensor.HasField(field.name):
            _set_value(copy, field, getattr(tensor, field.name))


def _copy_fields(source: Any, target: Any, *, skip: str, also_skip: str = "") -> None:
    for field, value in source.ListFields():
        if field.name in (skip, also_skip):
            continue
        if _is_repeated(value):
            getattr(target, field.name).extend(value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            _set_value(target, field, value)


def _set_value(target: Any, field: Any, value: Any) -> None:
    """Set a field, also to text that is no UTF-8, which protobuf reads from files but takes only as files hold it."""
    if field.type != field.TYPE_STRING or isinstance(value, str):
        setattr(target, field.name, value)
        return
    key = field.number << 3 | 2  # 2: what follows its own length
    target.MergeFromString(_varint(key) + _varint(len(value)) + value)


def _varint(number: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _is_repeated(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "extend")
