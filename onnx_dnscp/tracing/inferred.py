"""A trace without a run: ONNX's shape inference at concrete input sizes, and the graph's own integer arithmetic.

It answers where inference knows every tensor and every integer is computed from constants and sizes, which most
classifiers and segmenters fulfil; a run of the network is needed only for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.runtime import FIRST_IR_WITHOUT_INPUTS
from onnx_dnscp.model.structure import FLOATS, copy_structure, is_big
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.tracing.sizes import arithmetic_tensors, evaluate, shape_program, size_output

_INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})
_SIZES = ("Shape", "Size")
_ROUNDS = 4  # of inference, each with the integers of the last; where every block needs another, a run is faster


def infer_trace(graph: Graph, inputs: Mapping[str, tuple[int, ...]], batch: int) -> Trace | None:
    """The trace at some input shapes, or None where something can only be known by running the model.

    Strict inference also checks sizes against each other (a flattened image against the weight that reads it), so that
    an inference that differs from the runtime's does not go unnoticed.
    """
    if any(node.captured or node.bodies for node in graph.nodes):
        return None
    if any(kind.tensor_type.elem_type not in FLOATS for kind in graph.inputs.values()):
        return None
    structure = copy_structure(graph.proto, lambda _, tensor: is_big(tensor))
    structure.ir_version = max(structure.ir_version, FIRST_IR_WITHOUT_INPUTS)
    for info in structure.graph.input:
        if info.name in inputs:
            for dim, size in zip(info.type.tensor_type.shape.dim, inputs[info.name], strict=True):
                dim.dim_value = size
    del structure.graph.value_info[:]  # what the file declares may hold for other sizes only
    for output in structure.graph.output:
        output.type.tensor_type.ClearField("shape")
    shapes: dict[str, tuple[int, ...]] = {name: graph.stored.shape(name) for name in graph.stored}
    shapes |= {s.values.name: tuple(s.dims) for s in graph.proto.graph.sparse_initializer} | dict(inputs)
    known = {n: graph.stored[n] for n in graph.stored if graph.stored.dtype(n).kind in "ib"}
    masks = _unread_masks(graph)
    computed = [
        name for node in graph.nodes for name in node.outputs if name and name not in graph.stored and name not in masks
    ]
    types: dict[str, onnx.TypeProto.Tensor] = {}
    for _ in range(_ROUNDS):
        found = _infer(structure)
        if found is None:
            return None
        types |= found
        if any(name not in types for name in computed):
            return None
        open_before = sum(name not in shapes for name in computed)
        shapes |= {name: shape for name in computed if (shape := _full_shape(types[name])) is not None}
        unknown = sum(name not in shapes for name in computed)
        element_types = {name: types[name].elem_type for name in computed}
        known = _integers(graph, shapes, known, element_types)
        if not unknown:
            shapes |= {mask: shapes[kept] for mask, kept in masks.items()}
            return None if _shaping(graph, element_types, known) else Trace(shapes, known, batch)
        if unknown == open_before:
            return None
        structure = _what_is_open(structure, shapes, types, known)
    return None


def _unread_masks(graph: Graph) -> dict[str, str]:
    """Masks of Dropout nodes that nobody reads, of which old opsets say no shape, and what they are masks of."""
    return {
        mask: node.outputs[0]
        for node in graph.nodes
        if node.op_type == "Dropout"
        for mask in node.outputs[1:]
        if mask and not graph.readers.get(mask) and mask not in graph.outputs
    }


def _infer(structure: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor] | None:
    """Types of all computed tensors."""
    try:
        inferred = shape_inference.infer_shapes(structure, check_type=True, strict_mode=True, data_prop=True).graph
    except Exception:  # onnx raises several unrelated classes here
        return None
    return {info.name: info.type.tensor_type for info in (*inferred.value_info, *inferred.output)}


def _full_shape(kind: onnx.TypeProto.Tensor) -> tuple[int, ...] | None:
    sizes = [dim.dim_value for dim in kind.shape.dim]  # a size that is not known reads as 0
    return tuple(sizes) if kind.HasField("shape") and min(sizes, default=1) > 0 else None


def _what_is_open(
    structure: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, onnx.TypeProto.Tensor],
    values: Mapping[str, NDArray[Any]],
) -> onnx.ModelProto:
    """The nodes whose results have no shape yet; what they read is declared, or stored where its value is known."""
    graph = structure.graph
    nodes = [node for node in graph.node if any(name and name not in shapes for name in node.output)]
    read = {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output} - {""}
    rest = onnx.ModelProto(ir_version=structure.ir_version)
    rest.opset_import.extend(structure.opset_import)
    rest.functions.extend(structure.functions)
    rest.graph.name = graph.name
    rest.graph.node.extend(nodes)
    rest.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    stored = {tensor.name for tensor in rest.graph.initializer}
    for name in sorted(read - stored):
        if name in values:
            rest.graph.initializer.append(numpy_helper.from_array(np.asarray(values[name], order="C"), name))
        elif name in types:
            rest.graph.input.add(name=name).type.tensor_type.CopyFrom(types[name])
    rest.graph.input.extend(info for info in graph.input if info.name in read - stored)
    rest.graph.sparse_initializer.extend(s for s in graph.sparse_initializer if s.values.name in read)
    return rest


def _shaping(graph: Graph, types: Mapping[str, int], known: Mapping[str, NDArray[Any]]) -> bool:
    """Whether some integers depend on more than sizes and are read, so that they may shape something."""
    unread = (*FLOATS, TensorProto.BOOL)
    return any(kind not in unread and name not in known and graph.readers.get(name) for name, kind in types.items())


def _integers(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], stored: Mapping[str, NDArray[Any]], types: Mapping[str, int]
) -> dict[str, NDArray[Any]]:
    """Values of the integer tensors that are computed from constants and known sizes alone."""
    known = dict(stored)
    for node in graph.nodes:
        if node.op_type in _SIZES and node.inputs[0] in shapes:
            known[node.outputs[0]] = size_output(node, shapes[node.inputs[0]])
    unknown = [name for name, kind in types.items() if kind in _INTEGERS and name not in known]
    found = arithmetic_tensors(graph, Trace(shapes, known, 1), unknown)
    wanted = [name for name in unknown if name in found]
    if wanted:
        nodes = shape_program(graph, Trace(shapes, known, 1), wanted)
        made = {output for node in nodes for output in node.outputs}
        read = {i for node in nodes for i in node.inputs if i and i not in made}
        feeds = {name: known[name] if name in known else graph.stored[name] for name in read}
        known |= evaluate(graph, nodes, feeds, wanted)
    return known
