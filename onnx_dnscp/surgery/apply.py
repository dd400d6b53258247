"""Carry out decided cuts on a copy of a ModelProto: the file keeps its names and structure, shapes shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import onnx

from onnx_dnscp.model.editor import keep_needed, set_attribute
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
            set_attribute(nodes[edit.node.index], edit.name, edit.value)
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


def _drop_dead_nodes(model: onnx.ModelProto, before: Graph) -> None:
    """Remove nodes and initializers that fed only operands which surgery replaced.

    What the user's file already carried unused stays.
    """
    used_before = {name for name, readers in before.readers.items() if readers}
    graph = model.graph
    wanted = {declared.name for declared in (*graph.output, *graph.input)}
    wanted.update(tensor.name for tensor in graph.initializer if tensor.name not in used_before)
    wanted.update(name for node in graph.node if used_before.isdisjoint(node.output) for name in node.output)
    keep_needed(graph, wanted)


def _update_declared_shapes(graph: onnx.GraphProto, shapes: Shapes, outside: AbstractSet[str]) -> None:
    """Shrink the sizes written in value_info and in graph inputs that repeat initializers, sub-graphs included.

    Args:
        graph: Modified in place.
        shapes: Tensors whose shape changes: (before, after).
        outside: Names of the graphs around it; what `graph` makes under such a name is another tensor.
    """
    own = _own_names(graph)
    if hidden := own & outside:
        shapes = {name: change for name, change in shapes.items() if name not in hidden}
    visible = own | outside
    for node in graph.node:
        for body in bodies(node):
            _update_declared_shapes(body, shapes, visible)
    for declared in (*graph.value_info, *graph.input, *graph.output):
        if declared.name in shapes:
            _shrink(declared.type.tensor_type.shape, *shapes[declared.name])


def _own_names(graph: onnx.GraphProto) -> set[str]:
    """What a graph is given, stores or makes."""
    made = {name for node in graph.node for name in node.output}
    return made.union((i.name for i in graph.input), (t.name for t in graph.initializer))


def _shrink(declared: onnx.TensorShapeProto, before: Sequence[int], after: Sequence[int]) -> None:
    for dim, old, new in zip(declared.dim, before, after, strict=False):
        if dim.HasField("dim_value") and old != new:
            dim.dim_value = new
