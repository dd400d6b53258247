"""Operators that pick or write single positions."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from onnx_dnscp.model.fields import IdField, varying_axes
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.registry import Flow, Op, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetOperand, resize_rule


@op_rule("Gather")
def gather(op: Op) -> Flow:
    """The axes of the indices stand where the gathered axis was; ids are gathered along it.

    Rows picked from a stored table by the data (an embedding) are made by it, like channels by a weight.
    """
    x, indices = op.data, op.operand(1)
    axis = int(op.node.attributes.get("axis", 0)) % len(x.shape)
    flow = Flow(reason=f"made by {op.node}" if x.constant else "")
    kept, picked = [], []
    for ids in x.fields:
        if ids.shape[axis] == 1:
            kept.append(ids.reshape(ids.shape[:axis] + (1,) * len(indices.shape) + ids.shape[axis + 1 :]))
        elif 1 in op.integers:
            picked.append(ids.take(op.integers[1], axis=axis))
        else:
            flow.lock(ids, f"{op.node} picks from this axis by computed indices")
    if x.constant and 1 not in op.integers:
        flow.writes += kept
    flow.outputs = [(*kept, *flow.picked(picked, op))]
    return flow


@resize_rule("Gather")
def resize_gather(op: Resize) -> list[Edit]:
    """Indices count kept channels, and those of removed channels go."""
    axis = int(op.node.attributes.get("axis", 0)) % len(op.before(op.x))
    keep = op.keep(op.x, axis)
    indices = op.integers(1)
    if keep.all() or indices is None:
        return []
    picked = [op.keep(op.y, axis + i) for i in range(indices.ndim)]
    left = indices[np.ix_(*picked)] if picked else indices
    places = np.cumsum(keep) - 1
    return [SetOperand(op.node, 1, np.where(left < 0, places[left] - keep.sum(), places[left]))]


@op_rule("GatherND")
def gather_nd(op: Op) -> Flow:
    """Picks along the batch axes and the axes after them that an index tuple names; the last axes pass."""
    x, indices = op.data, op.operand(1)
    named = int(op.node.attributes.get("batch_dims", 0)) + indices.shape[-1]
    flow = Flow()
    passed = _off_axes(flow, op, x, range(named))
    lead = (1,) * (len(op.output_shapes[0]) - len(x.shape) + named)
    flow.outputs = [tuple(ids.reshape(lead + ids.shape[named:]) for ids in passed)]
    return flow


@op_rule("ScatterND")
def scatter_nd(op: Op) -> Flow:
    """Writes along the first axes, those that an index tuple names; the last axes of data and updates are joined."""
    x, indices, updates = op.data, op.operand(1), op.operand(2)
    named = indices.shape[-1]
    flow = Flow()
    joined = []
    for value, picks in ((x, named), (updates, len(indices.shape) - 1)):
        passed = _off_axes(flow, op, value, range(picks))
        tails = tuple(ids.reshape(ids.shape[picks:]) for ids in passed)
        joined.append(Value(value.name, value.shape[picks:], tails, value.reason))
    flow.outputs = [join_broadcast(flow, joined, op)]
    return flow


@op_rule("GatherElements", "ScatterElements", "Scatter")
def elements(op: Op) -> Flow:
    """Every element has an index of its own, in a tensor of full shape."""
    flow = Flow()
    for value in filter(None, op.inputs):
        _off_axes(flow, op, value, range(len(value.shape)))
    return flow


@op_rule("ReverseSequence")
def reverse_sequence(op: Op) -> Flow:
    """Reverses the start of one axis, as far as each position of another says."""
    attributes = op.node.attributes
    flow = Flow()
    flow.outputs = [
        _off_axes(flow, op, op.data, (int(attributes.get("time_axis", 0)), int(attributes.get("batch_axis", 1))))
    ]
    return flow


@op_rule("Trilu")
def trilu(op: Op) -> Flow:
    """Zeroes a triangle of the last two axes."""
    rank = len(op.data.shape)
    flow = Flow()
    flow.outputs = [_off_axes(flow, op, op.data, (rank - 2, rank - 1))]
    return flow


@op_rule("EyeLike")
def eye_like(op: Op) -> Refusal:
    """The shape of the operand is the shape of the result."""
    return Refusal("it makes a diagonal as long as the operand")


def _off_axes(flow: Flow, op: Op, value: Value, axes: Collection[int]) -> tuple[IdField, ...]:
    """Fields that do not vary along some axes; the others stay whole."""
    passed = []
    for ids in value.fields:
        if set(axes).isdisjoint(varying_axes(ids)):
            passed.append(ids)
        else:
            flow.lock(ids, f"{op.node} picks single positions of this axis")
    return tuple(passed)
