"""Matrix products with a constant: one axis of the weight makes channels, the other reads them."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.fields import align, on_axis, varying_axes
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, op_rule


@op_rule("Gemm")
def gemm(op: Op) -> Flow | Refusal:
    """Y = A B + C with A (M, K), B (K, N), either transposed by attribute."""
    x, weight = op.data, op.operand(1)
    if not weight.constant:
        return Refusal("its second operand is computed from the input")
    attributes = op.node.attributes
    x_axes = (1, 0) if attributes.get("transA") else (0, 1)  # (rows, reduced)
    w_axes = (1, 0) if attributes.get("transB") else (0, 1)  # (reduced, columns)
    flow = Flow(reason=f"made by {op.node}")
    _read(flow, op, x, x_axes[1], weight, 1, w_axes[0])
    made = flow.channel_vector(weight, w_axes[1])
    rows = tuple(f.transpose(x_axes) for f in x.fields if varying_axes(f) == (x_axes[0],))
    out = rows if made is None else (*rows, on_axis(made, 1, 2))
    if made is not None:
        flow.writes.append(made)
    bias = op.input(2)
    if bias is not None:
        product = Value("", op.output_shapes[0], out, reason=flow.reason)
        out = join_broadcast(flow, (product, bias), op)
    flow.outputs = [out]
    return flow


@op_rule("MatMul")
def matmul(op: Op) -> Flow | Refusal:
    """Stacks of matrices (..., M, K) x (..., K, N), where one side is constant."""
    left, right = op.data, op.operand(1)
    if min(len(left.shape), len(right.shape)) < 2:
        return Refusal("it multiplies a vector")
    if left.constant == right.constant:
        return Refusal("both sides are computed from the input" if not left.constant else "both sides are constant")
    rank = len(op.output_shapes[0])
    flow = Flow(reason=f"made by {op.node}")
    weight, position = (right, 1) if right.constant else (left, 0)
    if right.constant:
        _read(flow, op, left, len(left.shape) - 1, right, 1, len(right.shape) - 2)
    else:
        _read(flow, op, right, len(right.shape) - 2, left, 0, len(left.shape) - 1)
    made_axis = len(weight.shape) - (1 if position == 1 else 2)
    made = flow.channel_vector(weight, made_axis)
    if made is not None:
        flow.writes.append(made)
    # A stack of weights is indexed by the activation's batch axes, which then must stay whole.
    flow.lock_other_axes(weight, (len(weight.shape) - 1, len(weight.shape) - 2), f"stacked weights of {op.node}")
    x = left if right.constant else right
    reduced = len(x.shape) - (1 if right.constant else 2)
    kept = []
    for ids in x.fields:
        if reduced in varying_axes(ids):
            continue
        if any(a < len(x.shape) - 2 for a in varying_axes(ids)) and len(weight.shape) > 2:
            flow.lock(ids, f"stacked weights of {op.node}")
        kept.append(align(ids, rank))
    if made is not None:
        kept.append(on_axis(made, rank - (1 if position == 1 else 2), rank))
    flow.outputs = [tuple(kept)]
    return flow


def _read(flow: Flow, op: Op, x: Value, x_axis: int, weight: Value, operand: int, weight_axis: int) -> None:
    """Tie the reduced axis of the activation to the weight axis that reads it."""
    arriving = flow.channel_vector(x, x_axis)
    read = flow.channel_vector(weight, weight_axis)
    if read is None:
        if arriving is not None:
            one = weight.shape[weight_axis] == 1
            flow.lock(arriving, f"{op.node} reads one channel" if one else f"{op.node} reads it by {weight.reason}")
        return
    if arriving is None:
        flow.lock(read, x.reason or f"{op.node} reads channels that are not prunable")
        return
    flow.unions.append((read, arriving))
    flow.reads.append(Read(operand, arriving, on_axis(read, weight_axis, len(weight.shape))))


@macs_rule("Gemm")
def gemm_macs(a: Shape, b: Shape, y: Shape) -> float:
    """(M, K) x (K, N), whichever way either is stored."""
    return float(np.prod(a) * y[1])


@macs_rule("MatMul")
def matmul_macs(a: Shape, b: Shape, y: Shape) -> float:
    """Every output element sums over the last axis of the left operand."""
    return float(np.prod(y) * a[-1])
