"""Carry out decided cuts on a copy of a ModelProto: the file keeps its names and structure, shapes shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from onnx_dnscp.graph import Graph, read_graph
from onnx_dnscp.ops.resize import SetAttribute, SetOperand
from onnx_dnscp.surgery.cuts import Cuts, cut_array
from onnx_dnscp.surgery.operands import follow_shapes, set_operand
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.units import Units

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


def apply_cuts(model: onnx.ModelProto, units: Units, cuts: Cuts) -> onnx.ModelProto:
    """Return `model` without the channels that `cuts` removes.

    Args:
        model: The model that `units` was found in, or one that differs in its weights' values only.
        units: What discovery found.
        cuts: The decision, from `plan_cuts`.
    """
    stored = read_graph(model).stored
    result = copy_with_weights(model, {name: cut_array(stored[name], keeps) for name, keeps in cuts.keeps.items()})
    nodes = list(result.graph.node)  # edits below may add nodes; those of the units' graph keep their objects
    operand_edits = [edit for edit in cuts.edits if isinstance(edit, SetOperand)]
    actual = follow_shapes(units, [(e.node, e.operand) for e in operand_edits], cuts.shapes)
    for edit in cuts.edits:
        if isinstance(edit, SetAttribute):
            _set_attribute(nodes[edit.node.index], edit)
    for edit in operand_edits:
        found = actual.get((edit.node.index, edit.operand))
        if found is None or not np.array_equal(found.ravel(), edit.values):
            set_operand(result, units, nodes[edit.node.index], edit, found)
    _drop_dead_nodes(result, units.graph)
    _update_declared_shapes(result.graph, cuts.shapes)
    return result


def _set_attribute(node: onnx.NodeProto, edit: SetAttribute) -> None:
    attribute = next((a for a in node.attribute if a.name == edit.name), None)
    if edit.value is None:
        if attribute is not None:
            node.attribute.remove(attribute)
        return
    if attribute is None:
        attribute = node.attribute.add()
    attribute.CopyFrom(helper.make_attribute(edit.name, edit.value))  # in place: the order of attributes is the user's


def _drop_dead_nodes(model: onnx.ModelProto, before: Graph) -> None:
    """Remove nodes and initializers that fed only operands which surgery replaced.

    What the user's file already carried unused stays.
    """
    used_before = {name for name, readers in before.readers.items() if readers}
    while True:
        after = _names_read(model.graph)
        dead = [
            node
            for node in model.graph.node
            if not any(o in after for o in node.output) and any(o in used_before for o in node.output)
        ]
        if not dead:
            break
        for node in dead:
            model.graph.node.remove(node)
    after = _names_read(model.graph)
    inputs = {i.name for i in model.graph.input}
    for tensor in [t for t in model.graph.initializer if t.name not in after and t.name in used_before]:
        if tensor.name not in inputs:
            model.graph.initializer.remove(tensor)


def _names_read(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name that a node, a sub-graph or the graph's outputs read."""
    names = {output.name for output in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= _names_read(attribute.g)
    return names


def _update_declared_shapes(graph: onnx.GraphProto, shapes: Shapes) -> None:
    """Shrink the sizes written in value_info and in graph inputs that repeat initializers."""
    for declared in (*graph.value_info, *graph.input, *graph.output):
        if declared.name not in shapes:
            continue
        before, after = shapes[declared.name]
        dims: Sequence[onnx.TensorShapeProto.Dimension] = declared.type.tensor_type.shape.dim
        for dim, old, new in zip(dims, before, after, strict=False):
            if dim.HasField("dim_value") and old != new:
                dim.dim_value = new
