"""Convolutions: operators that slide a weight over space and treat axis 1 as channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnx_dnscp.model.fields import IdField, collapse, on_axis, varying_axes
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, resize_rule


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
    group = int(op.node.attributes.get("group", 1))
    in_blocks = next((f for f in weight.fields if varying_axes(f)[:2] == (0, 1)), None)
    channels = _Channels(
        group=group,
        arriving=flow.channel_vector(x, CHANNEL_AXIS),
        read=flow.channel_vector(weight, 1) if in_blocks is None else _block_rows(in_blocks, group),
        made=flow.channel_vector(replace(weight, fields=tuple(f for f in weight.fields if f is not in_blocks)), 0),
        whole=x.reason or f"{op.node} reads channels that are not prunable",
        weight=weight,
        operand=weight_operand,
        in_blocks=in_blocks,
    )
    if channels.group > 1 and channels.arriving is not None and groups_go_whole(channels.group, weight.shape[1]):
        _couple_whole_groups(flow, channels, op)
    else:
        _couple_equal_counts(flow, channels)
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
    """Id vectors of one convolution: what arrives, what the weight reads (of all or of each group) and makes."""

    group: int
    arriving: IdField | None
    read: IdField | None
    made: IdField | None
    whole: str
    weight: Value
    operand: int
    in_blocks: IdField | None


def groups_go_whole(group: int, in_per_group: int) -> bool:
    """Whether a grouped convolution loses whole groups; otherwise every group loses equally many channels."""
    return in_per_group < group


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


def _couple_equal_counts(flow: Flow, c: _Channels) -> None:
    """Every group keeps equally many channels; with one group, channels are free.

    A weight that holds the channels of each group apart may lose others in every group. One that is read in another
    way too has one position for all groups.
    """
    if c.made is not None and c.group > 1:
        flow.balanced.append(c.made.reshape(c.group, -1))
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
        groups = c.arriving.reshape(c.group, -1)
        if c.group > 1:
            flow.balanced.append(groups)
        flow.unions.append((np.atleast_2d(c.read), groups))
        weight_ids = on_axis(c.read, 1, len(c.weight.shape)) if c.in_blocks is None else c.in_blocks
        flow.reads.append(Read(c.operand, c.arriving, weight_ids))


def _block_rows(field: IdField, group: int) -> IdField:
    """(groups, input channels per group) of a weight's field that is the same for all outputs of a group."""
    return field.reshape(field.shape[:2])[:: len(field) // group]


BLOCKED = frozenset({"Conv", "FusedConv", "DeformConv"})
"""Convolutions whose weight may lose other input channels in each of its groups."""


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
