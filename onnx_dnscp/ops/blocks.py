"""Operators that move channels into space and back, block by block."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.model.fields import IdField, on_axis, varying_axes
from onnx_dnscp.model.graph import CHANNEL_AXIS
from onnx_dnscp.ops.registry import Flow, Op, op_rule

_RANK = 4  # (batch, channels, height, width)


@op_rule("DepthToSpace")
def depth_to_space(op: Op) -> Flow:
    """The block x block channels that become one output channel go together.

    DCR (the default): channel (row, column, output channel); CRD: (output channel, row, column).
    """
    area = int(op.node.attributes["blocksize"]) ** 2
    columns_first = op.node.attributes.get("mode", "DCR") == "CRD"
    flow = Flow()
    ids = _channels(flow, op)
    made = None
    if ids is not None:
        per_output = ids.reshape(-1, area) if columns_first else ids.reshape(area, -1).T
        made = per_output[:, 0]
        flow.unions.append((made[:, None], per_output))
    _put_out(flow, op, made)
    return flow


@op_rule("SpaceToDepth")
def space_to_depth(op: Op) -> Flow:
    """Every position of a block makes a copy of all channels: output channel (row, column, channel)."""
    area = int(op.node.attributes["blocksize"]) ** 2
    flow = Flow()
    ids = _channels(flow, op)
    _put_out(flow, op, None if ids is None else np.tile(ids, area))
    return flow


def _channels(flow: Flow, op: Op) -> IdField | None:
    flow.lock_other_axes(op.data, (0, CHANNEL_AXIS), f"{op.node} moves this axis into or out of the channels")
    return flow.channel_vector(op.data, CHANNEL_AXIS)


def _put_out(flow: Flow, op: Op, channels: IdField | None) -> None:
    fields = [f for f in op.data.fields if varying_axes(f) == (0,)]
    if channels is not None:
        fields += flow.picked([on_axis(channels, CHANNEL_AXIS, _RANK)], op)
    flow.outputs = [tuple(fields)]


@op_rule("Col2Im")
def col2im(op: Op) -> Flow:
    """Columns of overlapping windows are summed; their sizes are written in two operands."""
    flow = Flow(reason=f"made by {op.node}")
    flow.lock_other_axes(op.data, (0,), f"{op.node} folds this axis into windows")
    rank = len(op.output_shapes[0])
    flow.outputs = [tuple(on_axis(f.ravel(), 0, rank) for f in op.data.fields if varying_axes(f) == (0,))]
    return flow
