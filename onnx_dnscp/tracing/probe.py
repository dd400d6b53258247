"""What a run is asked for: every tensor's shape, and the value of every integer tensor."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, shape_inference

from onnx_dnscp.model.graph import Graph

INTEGERS = frozenset({"tensor(int64)", "tensor(int32)", "tensor(bool)"})
FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
)
_UNKNOWN = onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor())


def integers_in(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those of some arrays that a trace keeps the values of."""
    return {name: value for name, value in feeds.items() if value.dtype in (np.int64, np.int32, np.bool_)}


def stored_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of all stored tensors, sparse ones included."""
    sparse = {s.values.name: tuple(s.dims) for s in graph.proto.graph.sparse_initializer}
    return {name: graph.stored.shape(name) for name in graph.stored} | sparse


def stored_integers(graph: Graph) -> dict[str, NDArray[Any]]:
    """Values of the stored integers and flags."""
    return {name: graph.stored[name] for name in graph.stored if graph.stored.dtype(name).kind in "ib"}


def ask(
    graph: onnx.GraphProto, types: Mapping[str, onnx.TypeProto], stored: Container[str]
) -> tuple[dict[str, str], list[str]]:
    """Add outputs to `graph`: every node output's shape, and the tensor itself where it may be of integers.

    Returns:
        The output with the shape of each tensor, and the names of the tensors that are put out themselves.
    """
    shape_names: dict[str, str] = {}
    integer_names: list[str] = []
    known = {o.name for o in graph.output}
    for name in [name for node in graph.node for name in node.output if name]:
        kind = types.get(name, _UNKNOWN)
        if not kind.HasField("tensor_type"):
            continue  # a sequence or an optional has no shape
        shape_names[name] = f"{name}//shape"
        graph.node.append(helper.make_node("Shape", [name], [shape_names[name]], name=shape_names[name]))
        if name not in stored and kind.tensor_type.elem_type not in FLOATS:
            integer_names.append(name)
    wanted = [*shape_names.values(), *(n for n in integer_names if n not in known)]
    # Outputs without a type are legal for the runtime, which infers it.
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return shape_names, integer_names


def inferred_types(structure: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Types that ONNX's own inference finds; a hint, without which every tensor is asked for."""
    try:
        graph = shape_inference.infer_shapes(structure).graph
    except Exception:
        graph = structure.graph
    return {v.name: v.type for v in (*graph.value_info, *graph.input, *graph.output)}
