"""Transposed convolution: the weight is stored the other way round, and one axis of it is shared by all groups."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.model.fields import IdField, on_axis
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.ops.conv import groups_go_whole, over_space, put_out
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, resize_rule


@op_rule("ConvTranspose")
def conv_transpose(op: Op) -> Flow | Refusal:
    """Weight (in, out / group, *kernel): axis 0 reads channels, axis 1 makes those of every group."""
    weight = op.operand(1)
    if not weight.constant:
        return Refusal("its weight is computed from the input")
    flow = Flow(reason=f"made by {op.node}")
    x = over_space(flow, op)
    flow.lock_other_axes(weight, (0, 1), f"kernel axis of {op.node}")
    group = int(op.node.attributes.get("group", 1))
    arriving = flow.channel_vector(x, CHANNEL_AXIS)
    if arriving is not None and groups_go_whole(group, weight.shape[0] // group):
        made: IdField | None = _couple_whole_groups(flow, op, arriving.reshape(group, -1), weight)
    else:
        shared = flow.channel_vector(weight, 1)
        made = None if shared is None else np.tile(shared, group)
        _couple_equal_positions(flow, group, x, arriving, weight)
    put_out(flow, op, x, made, op.input(2))
    return flow


def _couple_whole_groups(flow: Flow, op: Op, grouped: IdField, weight: Value) -> IdField:
    """Groups come and go whole; the ids of what they make, as the weight has no axis of that length."""
    flow.unions.append((grouped[:, :1], grouped))
    read = flow.channel_vector(weight, 0)
    if read is None:
        flow.lock(grouped, f"read by {weight.reason}")
    else:
        flow.unions.append((read, grouped.ravel()))
    shared = flow.channel_vector(weight, 1)
    if shared is not None:
        flow.lock(shared, f"inside the groups of {op.node}, which are removed whole")
    return np.repeat(grouped[:, 0], weight.shape[1])


def _couple_equal_positions(flow: Flow, group: int, x: Value, arriving: IdField | None, weight: Value) -> None:
    """Every group keeps the same positions (so equal counts); with one group, channels are free."""
    read = flow.channel_vector(weight, 0)
    if arriving is None:
        if read is not None:
            flow.lock(read, x.reason or f"{x.name!r} is not prunable")
    elif read is None:
        flow.lock(arriving, f"read by {weight.reason}")
    else:
        per_group = arriving.reshape(group, -1)
        flow.unions += [(read, arriving), (per_group[:1], per_group)]
        flow.reads.append(Read(1, arriving, on_axis(read, 0, len(weight.shape))))


@resize_rule("ConvTranspose")
def resize_conv_transpose(op: Resize) -> list[Edit]:
    """`group` follows the channels where whole groups go."""
    new_group = op.after(op.y)[CHANNEL_AXIS] // op.after(op.node.inputs[1])[1]
    return [] if new_group == op.node.attributes.get("group", 1) else [SetAttribute(op.node, "group", new_group)]


@macs_rule("ConvTranspose")
def conv_transpose_macs(x: Shape, weight: Shape, y: Shape) -> float:
    """Every input element is spread over one window of its group's outputs."""
    return float(np.prod(x) * np.prod(weight[1:]))
