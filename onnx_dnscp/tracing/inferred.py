"""A trace without a run: ONNX's shape inference at concrete input sizes, and the graph's own integer arithmetic.

It answers where inference knows every tensor and every integer is computed from constants and sizes, which most
classifiers and segmenters fulfil; a run of the network is needed only for the rest.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, shape_inference

from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.runtime import FIRST_IR_WITHOUT_INPUTS
from onnx_dnscp.model.structure import copy_structure, is_big
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.tracing.probe import FLOATS, stored_integers, stored_shapes
from onnx_dnscp.tracing.sizes import arithmetic_tensors, evaluate, read_by, shape_program, size_output

_INTEGERS = frozenset({TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL})
_SIZES = ("Shape", "Size")
_ROUNDS = 4  # of inference, each with the integers of the last; where every block needs another, a run is faster


def infer_trace(graph: Graph, inputs: Mapping[str, tuple[int, ...]], batch: int) -> Trace | None:
    """The trace at some input shapes, or None where something can only be known by running the model.

    Strict inference also checks sizes against each other (a flattened image against the weight that reads it), so that
    an inference that differs from the runtime's does not go unnoticed.
    """
    if not _is_plain(graph):
        return None
    masks = _unread_masks(graph)
    computed = _missing([name for node in graph.nodes for name in node.outputs], {*graph.stored, *masks, ""})
    shapes = {**stored_shapes(graph), **inputs}
    known = stored_integers(graph)
    structure = _at_sizes(graph, inputs)
    types: dict[str, onnx.TypeProto.Tensor] = {}
    for _ in range(_ROUNDS):
        found = _infer(structure)
        if found is None or _missing(computed, types | found):
            return None
        types |= found
        sized = _full_shapes(_missing(computed, shapes), types)
        shapes |= sized
        element_types = {name: types[name].elem_type for name in computed}
        known = _integers(graph, shapes, known, element_types)
        if not _missing(computed, shapes):
            shapes |= {mask: shapes[kept] for mask, kept in masks.items()}
            return None if _shaping(graph, element_types, known) else Trace(shapes, known, batch)
        if not sized:
            return None
        structure = _what_is_open(structure, shapes, types, known)
    return None


def _is_plain(graph: Graph) -> bool:
    """Whether there are neither sub-graphs nor inputs of integers, whose values might shape something."""
    return all(kind.tensor_type.elem_type in FLOATS for kind in graph.inputs.values()) and not any(
        node.captured or node.bodies for node in graph.nodes
    )


def _at_sizes(graph: Graph, inputs: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model's structure, which declares the shapes of its inputs and no others."""
    structure = copy_structure(graph.proto, lambda _, tensor: is_big(tensor))
    structure.ir_version = max(structure.ir_version, FIRST_IR_WITHOUT_INPUTS)
    for info in structure.graph.input:
        if info.name in inputs:
            for dim, size in zip(info.type.tensor_type.shape.dim, inputs[info.name], strict=True):
                dim.dim_value = size
    del structure.graph.value_info[:]  # what the file declares may hold for other sizes only
    for output in structure.graph.output:
        output.type.tensor_type.ClearField("shape")
    return structure


def _missing(names: Sequence[str], found: Container[str]) -> list[str]:
    return [name for name in names if name not in found]


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


def _full_shapes(names: Sequence[str], types: Mapping[str, onnx.TypeProto.Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of those tensors whose every size is known."""
    shapes = {name: tuple(dim.dim_value for dim in types[name].shape.dim) for name in names}
    # A size that is not known reads as 0.
    return {name: s for name, s in shapes.items() if types[name].HasField("shape") and min(s, default=1) > 0}


def _what_is_open(
    structure: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    types: Mapping[str, onnx.TypeProto.Tensor],
    values: Mapping[str, NDArray[Any]],
) -> onnx.ModelProto:
    """The nodes whose results have no shape yet; what they read is declared, or stored where its value is known."""
    graph = structure.graph
    sized = {*shapes, ""}
    nodes = [node for node in graph.node if not sized.issuperset(node.output)]
    read = _read_by(nodes)
    rest = onnx.ModelProto(ir_version=structure.ir_version)
    rest.opset_import.extend(structure.opset_import)
    rest.functions.extend(structure.functions)
    rest.graph.name = graph.name
    rest.graph.node.extend(nodes)
    rest.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    read -= {tensor.name for tensor in rest.graph.initializer}
    for name in sorted(read & values.keys()):
        rest.graph.initializer.append(numpy_helper.from_array(np.asarray(values[name], order="C"), name))
    for name in sorted((read & types.keys()) - values.keys()):
        rest.graph.input.add(name=name).type.tensor_type.CopyFrom(types[name])
    rest.graph.input.extend(info for info in graph.input if info.name in read)
    rest.graph.sparse_initializer.extend(s for s in graph.sparse_initializer if s.values.name in read)
    return rest


def _read_by(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output} - {""}


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
        feeds = {name: known[name] if name in known else graph.stored[name] for name in read_by(nodes)}
        known |= evaluate(graph, nodes, feeds, wanted)
    return known
