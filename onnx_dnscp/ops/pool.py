"""Pooling and sampling: operators that slide or look around in space, channel by channel."""

from __future__ import annotations

from onnx_dnscp.model.fields import varying_axes
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.ops.conv import over_space
from onnx_dnscp.ops.registry import Flow, Op, op_rule


@op_rule("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def pool(op: Op) -> Flow:
    """Works inside each channel."""
    flow = Flow()
    x = over_space(flow, op)
    if len(op.node.outputs) > 1:
        flow.lock_other_axes(x, (), f"{op.node} numbers positions across channels")
    flow.outputs = [x.fields for _ in op.output_shapes]
    return flow


@op_rule("GridSample")
def grid_sample(op: Op) -> Flow:
    """Data (N, C, *space) is sampled where the grid (N, *out, rank) says."""
    flow = Flow()
    x = over_space(flow, op)
    flow.lock_other_axes(x, (CHANNEL_AXIS,), f"{op.node} has a grid for each image")
    flow.lock_other_axes(op.operand(1), (), f"{op.node} samples where it says")
    flow.outputs = [x.fields]
    return flow


@op_rule("RoiAlign", "MaxRoiPool")
def roi_pool(op: Op) -> Flow:
    """Data (N, C, H, W) is pooled inside rectangles: the first axis of the output counts those."""
    flow = Flow()
    x = over_space(flow, op)
    flow.lock_other_axes(x, (CHANNEL_AXIS,), f"{op.node} picks images by their number")
    for operand in op.inputs[1:]:
        if operand is not None:
            flow.lock_other_axes(operand, (), f"{op.node} pools where it says")
    flow.outputs = [tuple(f for f in x.fields if varying_axes(f) == (CHANNEL_AXIS,))]
    return flow
