"""Convolution and pooling: operators that slide over space and treat axis 1 as channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_dnscp.fields import IdField, on_axis, varying_axes
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, resize_rule

CHANNEL_AXIS = 1
_WINDOW = "{node} slides over this axis"


@op_rule("Conv")
def conv(op: Op) -> Flow | Refusal:
    """Weight (out, in / group, *kernel): axis 0 makes channels, axis 1 reads them."""
    x, weight = op.data, op.operand(1)
    if not weight.constant:
        return Refusal("its weight is computed from the input")
    flow = Flow(reason=f"made by {op.node}")
    flow.lock_other_axes(x, (0, CHANNEL_AXIS), _WINDOW.format(node=op.node))
    flow.lock_other_axes(weight, (0, 1), f"kernel axis of {op.node}")
    channels = _Channels(
        group=int(op.node.attributes.get("group", 1)),
        arriving=flow.channel_vector(x, CHANNEL_AXIS),
        read=flow.channel_vector(weight, 1),
        made=flow.channel_vector(weight, 0),
        whole=x.reason or f"{op.node} reads channels that are not prunable",
        weight=weight,
    )
    if channels.group > 1 and channels.arriving is not None and weight.shape[1] < channels.group:
        _couple_whole_groups(flow, channels, op)
    else:
        _couple_equal_positions(flow, channels)
    flow.join_vector(channels.made, op.input(2), 0, f"bias of the only channel of {op.node}")
    batch = tuple(f for f in x.fields if varying_axes(f) == (0,))
    rank = len(op.output_shapes[0])
    if channels.made is None:
        flow.outputs = [batch]
    else:
        flow.writes.append(channels.made)
        flow.outputs = [(*batch, on_axis(channels.made, CHANNEL_AXIS, rank))]
    return flow


@dataclass(frozen=True)
class _Channels:
    """Id vectors of one convolution: what arrives, what the weight reads (per group) and makes."""

    group: int
    arriving: IdField | None
    read: IdField | None
    made: IdField | None
    whole: str
    weight: Value


def _couple_whole_groups(flow: Flow, c: _Channels, op: Op) -> None:
    """Groups come and go whole; with one channel per group this is the depthwise convolution."""
    assert c.arriving is not None
    grouped = c.arriving.reshape(c.group, -1)
    flow.unions.append((grouped[:, :1], grouped))
    if c.made is not None:
        flow.unions.append((grouped[:, :1], c.made.reshape(c.group, -1)))
    if c.read is not None:
        flow.lock(c.read, f"inside the groups of {op.node}, which are removed whole")


def _couple_equal_positions(flow: Flow, c: _Channels) -> None:
    """Every group keeps the same positions (so equal counts); with one group, channels are free."""
    if c.made is not None:
        per_group = c.made.reshape(c.group, -1)
        flow.unions.append((per_group[:1], per_group))
    if c.arriving is None:
        if c.read is not None:
            flow.lock(c.read, c.whole)
        if c.made is not None and c.made.size == c.group > 1:
            flow.lock(c.made, c.whole)
    elif c.read is None:
        flow.lock(
            c.arriving, "the only channel of each group" if c.weight.shape[1] == 1 else f"read by {c.weight.reason}"
        )
    else:
        flow.unions.append((c.read[None, :], c.arriving.reshape(c.group, -1)))
        flow.reads.append(Read(1, c.arriving, on_axis(c.read, 1, len(c.weight.shape))))


@resize_rule("Conv")
def resize_conv(op: Resize) -> list[Edit]:
    """`group` follows the channels where whole groups go."""
    group = int(op.node.attributes.get("group", 1))
    per_group = op.after(op.node.inputs[1])[1]
    new_group = op.after(op.x)[1] // per_group
    return [] if new_group == group else [SetAttribute(op.node, "group", new_group)]


@macs_rule("Conv")
def conv_macs(x: Shape, weight: Shape, y: Shape) -> float:
    """Every output element sums over one window of its group."""
    return float(np.prod(y) * np.prod(weight[1:]))


@op_rule("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def pool(op: Op) -> Flow:
    """Works inside each channel."""
    x = op.data
    flow = Flow()
    flow.lock_other_axes(x, (0, CHANNEL_AXIS), _WINDOW.format(node=op.node))
    if len(op.node.outputs) > 1:
        for ids in x.fields:
            flow.lock(ids, f"{op.node} numbers positions across channels")
    flow.outputs = [x.fields for _ in op.output_shapes]
    return flow
