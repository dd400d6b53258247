"""Normalisations that work channel by channel at inference."""

from __future__ import annotations

from onnx_dnscp.fields import on_axis
from onnx_dnscp.ops.registry import Flow, Op, op_rule

CHANNEL_AXIS = 1


@op_rule("BatchNormalization")
def batch_normalization(op: Op) -> Flow:
    """Scale, bias, mean and variance belong to the channel they normalise."""
    x = op.data
    flow = Flow()
    channels = flow.channel_vector(x, CHANNEL_AXIS)
    for position in range(1, 5):
        flow.join_vector(channels, op.input(position), 0, x.reason or f"parameter of {op.node}")
    # In training mode the other outputs are statistics, one per channel.
    statistics = () if channels is None else (on_axis(channels, 0, 1),)
    flow.outputs = [x.fields, *(statistics for _ in op.output_shapes[1:])]
    return flow
