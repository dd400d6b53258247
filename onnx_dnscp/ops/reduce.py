"""Operators that mix positions along some axes: fine over space, never over channels."""

from __future__ import annotations

from onnx_dnscp.fields import IdField, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, op_rule


@op_rule(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduction(op: Op) -> Flow:
    """Axes come from an attribute or, in newer opsets, an operand; none means all."""
    x = op.data
    rank = len(x.shape)
    axes = op.axes("axes", 1)
    if not axes:
        axes = [] if op.node.attributes.get("noop_with_empty_axes") else list(range(rank))
    reduced = {axis % rank for axis in axes}
    flow = Flow(reason=f"made by {op.node}")
    squeezed = () if op.node.attributes.get("keepdims", 1) else tuple(reduced)
    flow.outputs = [tuple(f.squeeze(squeezed) for f in _untouched(flow, op, reduced, "reduces"))]
    return flow


@op_rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(op: Op) -> Flow:
    """Normalises along one axis; before opset 13, along that axis and all after it."""
    rank = len(op.data.shape)
    axis = int(op.node.attributes.get("axis", -1 if op.opset >= 13 else 1)) % rank
    mixed = {axis} if op.opset >= 13 else set(range(axis, rank))
    flow = Flow(reason=f"made by {op.node}")
    flow.outputs = [_untouched(flow, op, mixed, "normalises over")]
    return flow


def _untouched(flow: Flow, op: Op, mixed: set[int], verb: str) -> tuple[IdField, ...]:
    """Fields that do not vary along the mixed axes; the others are kept whole."""
    kept = []
    for ids in op.data.fields:
        if mixed & set(varying_axes(ids)):
            flow.lock(ids, f"{op.node} {verb} this axis")
        else:
            kept.append(ids)
    return tuple(kept)
