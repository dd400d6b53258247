"""Tensors that are joined or split along an axis."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.model.fields import IdField, varying_axes
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.registry import Flow, Op, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, SetOperand, resize_rule


@op_rule("Concat")
def concat(op: Op) -> Flow:
    """Ids are concatenated; parts without ids get new ones that stay whole."""
    parts = [v for v in op.inputs if v is not None and 0 not in v.shape]
    rank = len(op.output_shapes[0])
    axis = int(op.node.attributes.get("axis", 1)) % rank
    flow = Flow()
    elsewhere = [Value(v.name, _without(v.shape, axis), _fields_off(v, axis), v.reason) for v in parts]
    fields = join_broadcast(flow, elsewhere, op)
    if any(v.varying(axis) for v in parts):
        joined = [_axis_ids(flow, op, v, axis) for v in parts]
        sizes = np.broadcast_shapes(*(_without(f.shape, axis) for f in joined))
        full = [np.broadcast_to(f, (*sizes[:axis], f.shape[axis], *sizes[axis + 1 :])) for f in joined]
        fields = (*fields, np.concatenate(full, axis=axis))
    flow.outputs = [fields]
    return flow


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _fields_off(value: Value, axis: int) -> tuple[IdField, ...]:
    return tuple(f for f in value.fields if axis not in varying_axes(f))


def _axis_ids(flow: Flow, op: Op, value: Value, axis: int) -> IdField:
    """One field along `axis`; new locked ids where the value has none there."""
    fields = value.varying(axis)
    if fields:
        flow.unions += [(fields[0], other) for other in fields[1:]]
        return fields[0]
    shape = tuple(size if a == axis else 1 for a, size in enumerate(value.shape))
    ids = op.fresh(shape)
    if value.shape[axis] > 1 or value.constant:
        flow.lock(ids, value.reason or f"{op.node} joins it with {value.name!r}")
    else:
        flow.lock(ids, value.reason or f"the only channel of {value.name!r}")
    return ids


@op_rule("Split")
def split(op: Op) -> Flow:
    """Consecutive pieces of one axis."""
    x = op.data
    axis = int(op.node.attributes.get("axis", 0)) % len(x.shape)
    flow = Flow()
    if op.input(1) is not None and 1 not in op.integers:
        for ids in x.varying(axis):
            flow.lock(ids, f"{op.node} splits this axis at positions that depend on the data")
        flow.outputs = [_fields_off(x, axis) for _ in op.output_shapes]
        return flow
    ends = np.cumsum([shape[axis] for shape in op.output_shapes])
    for shape, end in zip(op.output_shapes, ends, strict=True):
        piece = range(int(end) - shape[axis], int(end))
        taken = [f.take(piece, axis=axis) for f in x.varying(axis)]
        flow.outputs.append((*_fields_off(x, axis), *flow.picked(taken, op)))
    return flow


@resize_rule("Split")
def resize_split(op: Resize) -> list[Edit]:
    """Pieces that shrank unequally need their sizes spelled out."""
    axis = int(op.node.attributes.get("axis", 0)) % len(op.before(op.x))
    sizes = [op.after(name)[axis] for name in op.node.outputs]
    if "split" in op.node.attributes or op.has_operand(1):
        return [op.set("split", 1, sizes)]
    if len(set(sizes)) == 1 or sizes == [op.before(name)[axis] for name in op.node.outputs]:
        return []
    if op.units.graph.opset < 13:
        return [SetAttribute(op.node, "split", sizes)]
    return [SetAttribute(op.node, "num_outputs", None), SetOperand(op.node, 1, np.array(sizes, dtype=np.int64))]


@op_rule("SplitToSequence", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "ConcatFromSequence")
def sequence(op: Op) -> Refusal:
    """Sequences are not followed."""
    return Refusal("it keeps channels in a sequence")
