"""Matrix products: Gemm and MatMul."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.products import Factor, product
from onnx_dnscp.ops.registry import Flow, Op, Value, op_rule


@op_rule("Gemm")
def gemm(op: Op) -> Flow:
    """Y = A B + C with A (M, K), B (K, N), either transposed by attribute."""
    return affine(op, right_operand=1, bias=op.input(2))


def affine(op: Op, right_operand: int, bias: Value | None) -> Flow:
    """A Gemm with B at some operand; a quantised one has scales in between."""
    left, right = op.data, op.operand(right_operand)
    attributes = op.node.attributes
    left_labels = ("k", "m") if attributes.get("transA") else ("m", "k")
    right_labels = ("n", "k") if attributes.get("transB") else ("k", "n")
    flow = Flow(reason=f"made by {op.node}")
    out = product(flow, op, (Factor(0, left, left_labels), Factor(right_operand, right, right_labels)), ("m", "n"))
    if bias is not None:
        result = Value("", op.output_shapes[0], out, reason=flow.reason)
        out = join_broadcast(flow, (result, bias), op)
    flow.outputs = [out]
    return flow


@op_rule("MatMul")
def matmul(op: Op) -> Flow:
    """Stacks of matrices (..., M, K) x (..., K, N); a vector has K alone, and the result then lacks M or N."""
    return stacked(op, right_operand=1)


def stacked(op: Op, right_operand: int) -> Flow:
    """A MatMul with the right side at some operand; a quantised one has scales in between."""
    left, right = op.data, op.operand(right_operand)
    stack = [f"stack {i}" for i in range(max(len(left.shape), len(right.shape), 2) - 2)]
    labels = [
        ("k",) if len(value.shape) == 1 else (*stack[len(stack) - len(value.shape) + 2 :], *matrix)
        for value, matrix in ((left, ("m", "k")), (right, ("k", "n")))
    ]
    kept = [*stack, *(label for own in labels for label in own if label in ("m", "n"))]
    flow = Flow(reason=f"made by {op.node}")
    factors = (Factor(0, left, labels[0]), Factor(right_operand, right, labels[1]))
    flow.outputs = [product(flow, op, factors, kept)]
    return flow


@macs_rule("Gemm")
def gemm_macs(a: Shape, b: Shape, y: Shape) -> float:
    """(M, K) x (K, N), whichever way either is stored."""
    return float(np.prod(a) * y[1])


@macs_rule("MatMul")
def matmul_macs(a: Shape, b: Shape, y: Shape) -> float:
    """Every output element sums over the last axis of the left operand."""
    return float(np.prod(y) * a[-1])
