"""Operators that look at a tensor's shape, not its content."""

from __future__ import annotations

from onnx_dnscp.ops.registry import Flow, Op, op_rule


@op_rule("Shape", "Size")
def shape(op: Op) -> Flow:
    """The numbers follow the tensor by themselves when it shrinks."""
    return Flow(reason=f"made by {op.node}")
