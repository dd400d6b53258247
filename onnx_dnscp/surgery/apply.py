"""Carry out decided cuts on a copy of a ModelProto: the file keeps its names and structure, shapes shrink."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import onnx
from onnx import helper

from onnx_dnscp.model.graph import Graph, read_graph
from onnx_dnscp.model.structure import all_nodes, bodies
from onnx_dnscp.model.units import Units
from onnx_dnscp.ops.resize import SetAttribute, SetOperand
from onnx_dnscp.surgery.cuts import Cuts, cut_array
from onnx_dnscp.surgery.operands import set_operands
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.tracing.sizes import follow_shapes

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


def apply_cuts(model: onnx.ModelProto, units: Units, cuts: Cuts) -> onnx.ModelProto:
    """Return `model` without the channels that `cuts` removes.

    Args:
        model: The model that `units` was found in, or one that differs in its weights' values only.
        units: What discovery found.
        cuts: The decision, from `plan_cuts`.
    """
    stored = (units.graph if model is units.graph.proto else read_graph(model)).stored
    result = copy_with_weights(model, {name: cut_array(stored[name], keeps) for name, keeps in cuts.keeps.items()})
    nodes = list(all_nodes(result.graph))  # edits below may add nodes; those of the units' graph keep their objects
    operand_edits = [edit for edit in cuts.edits if isinstance(edit, SetOperand)]
    actual = follow_shapes(units.graph, units.trace, [(e.node, e.operand) for e in operand_edits], cuts.shapes)
    for edit in cuts.edits:
        if isinstance(edit, SetAttribute):
            _set_attribute(nodes[edit.node.index], edit)
    replaced = [
        (edit, found)
        for edit in operand_edits
        for found in [actual.get((edit.node.index, edit.operand))]
        if found is None or not np.array_equal(found.ravel(), edit.values.ravel())
    ]
    resized: Shapes = {}
    if replaced:
        resized = set_operands(result, units, replaced)
        _drop_dead_nodes(result, units.graph)
    _update_declared_shapes(result.graph, {**cuts.shapes, **resized}, set())
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
    reads = Counter(_names_read(model.graph))
    dead = []
    for index in reversed(range(len(model.graph.node))):  # readers come after what they read
        node = model.graph.node[index]
        if any(reads[o] for o in node.output) or not any(o in used_before for o in node.output):
            continue
        dead.append(index)
        reads.subtract(_names_node_reads(node))
    for index in dead:  # from the back, so that no index moves
        del model.graph.node[index]
    inputs = {i.name for i in model.graph.input}
    for index in reversed(range(len(model.graph.initializer))):
        name = model.graph.initializer[index].name
        if not reads[name] and name in used_before and name not in inputs:
            del model.graph.initializer[index]


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Tensor names that nodes, sub-graphs and the graph's outputs read, once per reader."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from _names_node_reads(node)


def _names_node_reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for body in bodies(node):
        yield from _names_read(body)


def _update_declared_shapes(graph: onnx.GraphProto, shapes: Shapes, outside: AbstractSet[str]) -> None:
    """Shrink the sizes written in value_info and in graph inputs that repeat initializers, sub-graphs included.

    Args:
        graph: Modified in place.
        shapes: Tensors whose shape changes: (before, after).
        outside: Names of the graphs around it; what `graph` makes under such a name is another tensor.
    """
    own = {*(i.name for i in graph.input), *(t.name for t in graph.initializer)}
    own.update(name for node in graph.node for name in node.output)
    if hidden := own & outside:
        shapes = {name: change for name, change in shapes.items() if name not in hidden}
    visible = own | outside
    for node in graph.node:
        for body in bodies(node):
            _update_declared_shapes(body, shapes, visible)
    for declared in (*graph.value_info, *graph.input, *graph.output):
        if declared.name not in shapes:
            continue
        before, after = shapes[declared.name]
        dims: Sequence[onnx.TensorShapeProto.Dimension] = declared.type.tensor_type.shape.dim
        for dim, old, new in zip(dims, before, after, strict=False):
            if dim.HasField("dim_value") and old != new:
                dim.dim_value = new
