"""Normalisations: what is normalised together goes or stays together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from onnx_dnscp.model.fields import IdField, align, collapse, on_axis
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.registry import Flow, Op, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, resize_rule

_OVER = "{node} normalises over this axis"


@op_rule("BatchNormalization")
def batch_normalization(op: Op) -> Flow:
    """Scale, bias, mean and variance belong to the channel they normalise."""
    attributes = op.node.attributes
    # In training mode, which old files spell by their outputs, statistics are taken over everything but the channels.
    trains = attributes.get("training_mode", 0) or any(op.node.outputs[1:]) or not attributes.get("spatial", 1)
    x, flow = op.data, Flow()
    if trains:
        x = _per_channel(flow, op, (0, *range(CHANNEL_AXIS + 1, len(x.shape))))
    channels = _join_parameters(flow, op, x, range(1, 5))
    statistics = () if channels is None else (on_axis(channels, 0, 1),)
    flow.outputs = [x.fields, *(statistics for _ in op.output_shapes[1:])]
    return flow


@op_rule("InstanceNormalization")
def instance_normalization(op: Op) -> Flow:
    """Normalises each channel over space.

    Behind a Reshape to (N, groups, the rest) this is a group normalisation: what is one channel here goes as a whole.
    """
    flow = Flow()
    x = _per_channel(flow, op, range(CHANNEL_AXIS + 1, len(op.data.shape)))
    _join_parameters(flow, op, x, (1, 2))
    flow.outputs = [x.fields]
    return flow


@op_rule("GroupNormalization")
def group_normalization(op: Op) -> Flow:
    """Normalises consecutive channels and space together; before opset 21 there is one scale per group."""
    flow = Flow()
    x = _per_channel(flow, op, range(CHANNEL_AXIS + 1, len(op.data.shape)))
    channels = flow.channel_vector(x, CHANNEL_AXIS)
    if channels is not None:
        num_groups = int(op.node.attributes["num_groups"])
        grouped = flow.whole_blocks((channels.reshape(num_groups, -1),), (1,), _OVER.format(node=op.node))
        if not grouped:
            x = replace(x, fields=tuple(f for f in x.fields if f.shape[CHANNEL_AXIS] == 1))
            channels = None
        elif op.operand(1).shape[0] == num_groups:
            channels = grouped[0][:, 0]
    _join_parameters(flow, op, x, (1, 2), channels)
    flow.outputs = [x.fields]
    return flow


@resize_rule("GroupNormalization")
def resize_group_normalization(op: Resize) -> list[Edit]:
    """Groups go whole, so their number shrinks with the channels."""
    num_groups = int(op.node.attributes["num_groups"])
    per_group = op.before(op.x)[CHANNEL_AXIS] // num_groups
    left = op.after(op.x)[CHANNEL_AXIS] // per_group
    return [] if left == num_groups else [SetAttribute(op.node, "num_groups", left)]


def _per_channel(flow: Flow, op: Op, mixed: Collection[int]) -> Value:
    """The first operand without the fields that a normalisation over the axes `mixed` locks."""
    return replace(op.data, fields=flow.whole_blocks(op.data.fields, mixed, _OVER.format(node=op.node)))


def _join_parameters(
    flow: Flow, op: Op, x: Value, operands: Collection[int], channels: IdField | None = None
) -> IdField | None:
    """Tie vector operands to the channels of `x`, unless `channels` says to what else; returns those ids."""
    if channels is None:
        channels = flow.channel_vector(x, CHANNEL_AXIS)
    for position in operands:
        flow.join_vector(channels, op.input(position), 0, x.reason or f"parameter of {op.node}")
    return channels


@op_rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalization(op: Op) -> Flow:
    """Normalises over `axis` and all after it; further outputs are statistics of size 1 on those axes."""
    rank = len(op.data.shape)
    return normalised_sum(op, range(int(op.node.attributes.get("axis", -1)) % rank, rank))


def normalised_sum(op: Op, mixed: Collection[int]) -> Flow:
    """Fields of a normalisation of operands that are broadcast: the result, two statistics, the operands' sum."""
    flow = Flow(reason=f"made by {op.node}")
    rank = len(op.output_shapes[0])
    over = _OVER.format(node=op.node)
    # Mixed positions stay in any case, and those of a scale must not tie together the blocks that share it.
    operands = [
        replace(v, fields=flow.whole_blocks([align(f, rank) for f in v.fields], mixed, over))
        for v in op.inputs
        if v is not None
    ]
    fields = join_broadcast(flow, operands, op)
    statistics = tuple(collapse(f, mixed) for f in fields)
    flow.outputs = [fields, statistics, statistics, fields]
    return flow


@op_rule("LpNormalization")
def lp_normalization(op: Op) -> Flow:
    """Normalises along one axis."""
    return normalise(op, {int(op.node.attributes.get("axis", -1)) % len(op.data.shape)})


@op_rule("MeanVarianceNormalization")
def mean_variance_normalization(op: Op) -> Flow:
    """Normalises over `axes`, by default all but the channels; old files say `across_channels`."""
    rank = len(op.data.shape)
    axes = op.node.attributes.get("axes", [0, *range(2, rank)])
    across = [CHANNEL_AXIS] if op.node.attributes.get("across_channels") else []
    return normalise(op, {int(axis) % rank for axis in (*axes, *across)})


@op_rule("LRN")
def local_response_normalization(op: Op) -> Flow:
    """Divides by what neighbouring channels hold."""
    return normalise(op, {CHANNEL_AXIS}, "mixes neighbours along")


def normalise(op: Op, mixed: Collection[int], verb: str = "normalises over") -> Flow:
    """An operator without parameters that mixes positions along some axes and keeps the shape."""
    flow = Flow(reason=f"made by {op.node}")
    flow.outputs = [flow.whole_blocks(op.data.fields, mixed, f"{op.node} {verb} this axis")]
    return flow
