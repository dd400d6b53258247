"""Convolutions: operators that slide a weight over space and treat axis 1 as channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnx_dnscp.fields import IdField, collapse, on_axis, varying_axes
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, resize_rule

CHANNEL_AXIS = 1


@op_rule("Conv")
def conv(op: Op) -> Flow | Refusal:
    """Weight (out, in / group, *kernel): axis 0 makes channels, axis 1 reads them."""
    return convolution(op, weight_operand=1, bias=op.input(2))


def convolution(op: Op, weight_operand: int, bias: Value | None) -> Flow | Refusal:
    """A convolution whose weight is one of its operands; a quantised one has scales in between."""
    x, weight = op.data, op.operand(weight_operand)
    if not weight.constant:
        return Refusal("its weight is computed from the input")
    flow = Flow(reason=f"made by {op.node}")
    x = over_space(flow, op)
    flow.lock_other_axes(weight, (0, 1), f"kernel axis of {op.node}")
    channels = _Channels(
        group=int(op.node.attributes.get("group", 1)),
        arriving=flow.channel_vector(x, CHANNEL_AXIS),
        read=flow.channel_vector(weight, 1),
        made=flow.channel_vector(weight, 0),
        whole=x.reason or f"{op.node} reads channels that are not prunable",
        weight=weight,
        operand=weight_operand,
    )
    if channels.group > 1 and channels.arriving is not None and weight.shape[1] < channels.group:
        _couple_whole_groups(flow, channels, op)
    else:
        _couple_equal_positions(flow, channels)
    put_out(flow, op, x, channels.made, bias)
    return flow


def over_space(flow: Flow, op: Op) -> Value:
    """The first operand as an operator sees it that works in each channel or over channels, and slides over space.

    Ids that vary over space are united per channel (a sub-pixel shuffle before it): whole channels are needed.
    """
    x = op.data
    space = range(CHANNEL_AXIS + 1, len(x.shape))
    kept = flow.whole_blocks(x.fields, space, f"{op.node} slides over this axis")
    return replace(x, fields=tuple(collapse(f, space) for f in kept))


def put_out(flow: Flow, op: Op, x: Value, made: IdField | None, bias: Value | None) -> None:
    """Set the output of a convolution: the batch of `x`, and the channels `made` (out,) with their bias."""
    flow.join_vector(made, bias, 0, f"bias of the only channel of {op.node}")
    flow.outputs = [tuple(f for f in x.fields if varying_axes(f) == (0,))]
    if made is not None:
        flow.writes.append(made)
        flow.outputs[0] += (on_axis(made, CHANNEL_AXIS, len(op.output_shapes[0])),)


@dataclass(frozen=True)
class _Channels:
    """Id vectors of one convolution: what arrives, what the weight reads (per group) and makes."""

    group: int
    arriving: IdField | None
    read: IdField | None
    made: IdField | None
    whole: str
    weight: Value
    operand: int


def _couple_whole_groups(flow: Flow, c: _Channels, op: Op) -> None:
    """Groups come and go whole; with one channel per group this is the depthwise convolution."""
    assert c.arriving is not None
    grouped = c.arriving.reshape(c.group, -1)
    flow.unions.append((grouped[:, :1], grouped))
    if c.made is None:
        flow.lock(c.arriving, f"read by {c.weight.reason}")
    else:
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
        flow.reads.append(Read(c.operand, c.arriving, on_axis(c.read, 1, len(c.weight.shape))))


@resize_rule("Conv", "DeformConv")
def resize_conv(op: Resize) -> list[Edit]:
    """`group` follows the channels where whole groups go."""
    return resize_group(op, weight_operand=1)


def resize_group(op: Resize, weight_operand: int) -> list[Edit]:
    """`group` of a convolution whose weight is one of its operands."""
    group = int(op.node.attributes.get("group", 1))
    per_group = op.after(op.node.inputs[weight_operand])[1]
    new_group = op.after(op.x)[1] // per_group
    return [] if new_group == group else [SetAttribute(op.node, "group", new_group)]


@macs_rule("Conv", "DeformConv")
def conv_macs(x: Shape, weight: Shape, y: Shape) -> float:
    """Every output element sums over one window of its group."""
    return float(np.prod(y) * np.prod(weight[1:]))


@op_rule("DeformConv")
def deform_conv(op: Op) -> Flow | Refusal:
    """A convolution that samples where its third operand says; the fifth weighs the samples."""
    if int(op.node.attributes.get("offset_group", 1)) > 1:
        return Refusal("its offset groups partition the channels")
    flow = convolution(op, weight_operand=1, bias=op.input(3))
    if isinstance(flow, Refusal):
        return flow
    for ids in op.data.varying(0):
        flow.lock(ids, f"{op.node} has offsets for each image")
    for operand in (op.input(2), op.input(4)):
        if operand is not None:
            flow.lock_other_axes(operand, (), f"{op.node} samples where it says")
    return flow
