"""Operators that mix positions along some axes: fine over space, over channels in whole blocks at best."""

from __future__ import annotations

from collections.abc import Collection

from onnx_dnscp.model.fields import collapse
from onnx_dnscp.ops.norm import normalise
from onnx_dnscp.ops.registry import Flow, Op, Refusal, op_rule


@op_rule(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduction(op: Op) -> Flow:
    """Axes come from an attribute or, in newer opsets, an operand; none means all."""
    rank = len(op.data.shape)
    axes = op.axes("axes", 1)
    if not axes:
        axes = [] if op.node.attributes.get("noop_with_empty_axes") else list(range(rank))
    return _reduced(op, {axis % rank for axis in axes}, "reduces", keepdims=_keeps_dims(op))


@op_rule("ArgMax", "ArgMin")
def position_of_extreme(op: Op) -> Flow:
    """The result counts along the axis, so what is compared stays together."""
    return _reduced(op, {_axis(op, 0)}, "counts along", keepdims=_keeps_dims(op))


@op_rule("TopK")
def top_k(op: Op) -> Flow:
    """Values and positions, the largest first."""
    return _reduced(op, {_axis(op, -1)}, "sorts along")


@op_rule("Compress")
def compress(op: Op) -> Flow | Refusal:
    """Takes the positions of one axis that a condition names."""
    if "axis" not in op.node.attributes:
        return Refusal("it selects from all positions, flattened")
    return _reduced(op, {_axis(op, 0)}, "selects along")


@op_rule("Det")
def determinant(op: Op) -> Flow:
    """The last two axes are a matrix."""
    rank = len(op.data.shape)
    return _reduced(op, {rank - 2, rank - 1}, "takes the determinant over", keepdims=False)


@op_rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(op: Op) -> Flow:
    """Normalises along one axis; before opset 13, along that axis and all after it."""
    axis = _axis(op, -1 if op.opset >= 13 else 1)
    return normalise(op, {axis} if op.opset >= 13 else range(axis, len(op.data.shape)))


@op_rule("CumSum", "CumProd")
def cumulative(op: Op) -> Flow | Refusal:
    """Every position holds a sum or product of those before it; the axis is an operand."""
    axis = op.axes("", 1)
    if axis is None:
        return Refusal("its axis is no integer the trace could see")
    return normalise(op, {axis[0] % len(op.data.shape)}, "accumulates along")


def _axis(op: Op, default: int) -> int:
    return int(op.node.attributes.get("axis", default)) % len(op.data.shape)


def _keeps_dims(op: Op) -> bool:
    return bool(op.node.attributes.get("keepdims", 1))


def _reduced(op: Op, mixed: Collection[int], verb: str, *, keepdims: bool = True) -> Flow:
    """Outputs in which the mixed axes hold no ids any more, or are gone."""
    flow = Flow(reason=f"made by {op.node}")
    kept = flow.whole_blocks(op.data.fields, mixed, f"{op.node} {verb} this axis")
    fields = [collapse(f, mixed) for f in kept]
    flow.outputs = [tuple(fields if keepdims else (f.squeeze(tuple(mixed)) for f in fields)) for _ in op.output_shapes]
    return flow
