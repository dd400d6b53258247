"""Fold what depends on no input once all shapes are fixed: sizes, indices, anchors, computed constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.model.editor import add_constant, names_read, set_elements
from onnx_dnscp.model.graph import Graph, read_graph
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.structure import bodies
from onnx_dnscp.tracing.sizes import size_output

_SIZES = ("Shape", "Size")
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


def fold_constants(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], varying: Collection[str]) -> None:
    """Replace nodes that compute constants by initializers, in place.

    Args:
        model: With concrete input shapes; `Constant` nodes are initializers already.
        shapes: Of every tensor.
        varying: Initializers that change during training.
    """
    graph = model.graph
    view = read_graph(model)
    folded = _constant_nodes(graph, shapes, varying)
    if not folded:
        return
    made = {name for node in folded for name in node.output if name}
    rest = [node for node in graph.node if node.output[0] not in made]
    read = {name for node in rest for name in names_read(node)} | {o.name for o in graph.output}
    wanted = sorted(made & read)
    values = _evaluate(view, folded, shapes, wanted) if wanted else {}
    set_elements(graph.node, rest)
    for name, value in values.items():
        add_constant(graph, name, value)


def _constant_nodes(
    graph: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]], varying: Collection[str]
) -> list[onnx.NodeProto]:
    """Nodes that compute from constants and sizes alone."""
    constant = {"", *(t.name for t in graph.initializer)}.difference(varying)
    found = []
    for node in graph.node:
        is_size = node.op_type in _SIZES and node.input[0] in shapes
        is_closed = node.op_type not in _RANDOM and next(bodies(node), None) is None
        if is_size or (is_closed and constant.issuperset(node.input)):
            found.append(node)
            constant.update(node.output)
    return found


def _evaluate(
    graph: Graph, nodes: list[onnx.NodeProto], shapes: Mapping[str, tuple[int, ...]], wanted: list[str]
) -> dict[str, NDArray[Any]]:
    """Run the nodes alone; sizes of tensors they do not compute come from `shapes`."""
    body = helper.make_graph([], "constants", [], [onnx.ValueInfoProto(name=name) for name in wanted])
    for node in nodes:
        if node.op_type in _SIZES:
            add_constant(body, node.output[0], size_output(graph.producer[node.output[0]], shapes[node.input[0]]))
        else:
            body.node.append(node)
    read = {name for node in body.node for name in node.input} | set(wanted)
    body.initializer.extend(t for t in graph.proto.graph.initializer if t.name in read)
    alone = helper.make_model(body, opset_imports=graph.proto.opset_import, ir_version=graph.proto.ir_version)
    return Session(alone, optimize=False, what="The constant part of the model").run({})
