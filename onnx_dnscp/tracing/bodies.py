"""What is inside sub-graphs: each is run as a model of its own on what it reads from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.graph import Body, Graph, Node
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.structure import bodies, captured_names
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.tracing.probe import INTEGERS, ask, inferred_types, integers_in


def trace_bodies(graph: Graph, trace: Trace, types: Mapping[str, onnx.TypeProto]) -> Trace:
    """Add what is inside sub-graphs: each is run as a model of its own on what it reads from outside.

    So both branches of an If are seen. What does not run stays unseen, and discovery leaves it whole.
    """
    shapes, integers = dict(trace.shapes), dict(trace.integers)
    for node in reversed(graph.nodes):  # outer sub-graphs before those inside them
        proto = graph.protos[node.index]
        for body, body_graph in zip(node.bodies, bodies(proto), strict=False):
            try:
                found = _run_body(graph, node, body, body_graph, shapes, integers, types)
            except (ModelError, KeyError, ValueError):
                continue
            shapes |= found.shapes
            integers |= found.integers
    return Trace(shapes, integers, trace.batch)


def _run_body(
    graph: Graph,
    node: Node,
    body: Body,
    body_graph: onnx.GraphProto,
    shapes: Mapping[str, tuple[int, ...]],
    integers: Mapping[str, NDArray[Any]],
    types: Mapping[str, onnx.TypeProto],
) -> Trace:
    model, feeds = _body_model(graph, node, body, body_graph, shapes, integers, types)
    names, integer_names = ask(model.graph, {**types, **inferred_types(model)}, graph.stored)
    session = Session(model, optimize=False)
    integer_names = [n for n in integer_names if session.output_types[n] in INTEGERS]
    seen = session.run(feeds, [*names.values(), *integer_names])
    traced = {name: tuple(int(d) for d in seen[output]) for name, output in names.items()}
    traced |= {name: value.shape for name, value in feeds.items()}
    return Trace(traced, integers_in(feeds) | {n: seen[n] for n in integer_names}, 1)


def _body_model(
    graph: Graph,
    node: Node,
    body: Body,
    body_graph: onnx.GraphProto,
    shapes: Mapping[str, tuple[int, ...]],
    integers: Mapping[str, NDArray[Any]],
    types: Mapping[str, onnx.TypeProto],
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """A body as a model of its own, and what to feed it.

    Raises:
        KeyError: It reads what has no known type or shape.
    """
    model = onnx.ModelProto(ir_version=graph.proto.ir_version, opset_import=graph.proto.opset_import)
    model.graph.CopyFrom(body_graph)
    declared = {i.name: i.type for i in body_graph.input}
    feeds: dict[str, NDArray[Any]] = {}
    values = _body_inputs(node, body, shapes, integers)
    for name in (*body.inputs, *dict.fromkeys(captured_names(body_graph))):
        if name in graph.stored and name not in declared:
            model.graph.initializer.append(numpy_helper.from_array(graph.stored[name], name))
            continue
        kind = declared.get(name, types.get(name))
        if kind is None or not kind.tensor_type.elem_type:
            raise KeyError(name)
        shape, value = values.get(name) or (shapes[name], integers.get(name))
        dtype = helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
        feeds[name] = (np.zeros(shape) if value is None else value).astype(dtype)
        if name not in declared:
            model.graph.input.append(helper.make_tensor_value_info(name, kind.tensor_type.elem_type, shape))
    return model, feeds


def _body_inputs(
    node: Node, body: Body, shapes: Mapping[str, tuple[int, ...]], integers: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[tuple[int, ...], NDArray[Any] | None]]:
    """Shape and, where known, value of each input of a Loop's or Scan's body in its first round."""
    if node.op_type == "Loop":
        start = [((), np.array(0)), ((), np.array(True))]
        state = [(shapes[n], integers.get(n)) for n in node.inputs[2:]]
        return dict(zip(body.inputs, [*start, *state], strict=True))
    if node.op_type == "Scan":
        scanned = int(node.attributes["num_scan_inputs"])
        axes = node.attributes.get("scan_input_axes") or [0] * scanned
        states = [(shapes[n], integers.get(n)) for n in node.inputs[: len(node.inputs) - scanned]]
        slices = []
        for name, axis in zip(node.inputs[len(node.inputs) - scanned :], axes, strict=True):
            shape = list(shapes[name])
            del shape[axis]
            slices.append((tuple(shape), None))
        return dict(zip(body.inputs, [*states, *slices], strict=True))
    return {}
