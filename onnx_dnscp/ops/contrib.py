"""Fused operators that ONNX Runtime writes into the models it saves; each is the sum of its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_dnscp.ops.conv import conv, conv_macs, resize_conv
from onnx_dnscp.ops.elementwise import broadcasting, join_broadcast, unary
from onnx_dnscp.ops.linear import gemm, gemm_macs, matmul
from onnx_dnscp.ops.macs import Shape, macs_rule
from onnx_dnscp.ops.norm import normalised_sum
from onnx_dnscp.ops.pool import grid_sample
from onnx_dnscp.ops.registry import Flow, Op, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import resize_rule
from onnx_dnscp.ops.table import MICROSOFT

op_rule("Gelu", "QuickGelu", domain=MICROSOFT)(unary)
op_rule("BiasGelu", "FastGelu", domain=MICROSOFT)(broadcasting)
op_rule("GridSample", domain=MICROSOFT)(grid_sample)
op_rule("FusedGemm", domain=MICROSOFT)(gemm)  # its activations are all element-wise, as are those of FusedConv
macs_rule("FusedGemm", domain=MICROSOFT)(gemm_macs)
macs_rule("FusedConv", domain=MICROSOFT)(conv_macs)
resize_rule("FusedConv", domain=MICROSOFT)(resize_conv)


@op_rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(op: Op) -> Flow:
    """A layer normalisation over the last axis, after an addition whose result is the fourth output."""
    return normalised_sum(op, (len(op.data.shape) - 1,))


@op_rule("FusedConv", domain=MICROSOFT)
def fused_conv(op: Op) -> Flow | Refusal:
    """A convolution, the addition of the fourth operand, and an activation."""
    flow = conv(op)
    added = op.input(3)
    if isinstance(flow, Flow) and added is not None:
        product = Value("", op.output_shapes[0], flow.outputs[0], reason=flow.reason)
        flow.outputs = [join_broadcast(flow, (product, added), op)]
    return flow


@op_rule("FusedMatMul", domain=MICROSOFT)
def fused_matmul(op: Op) -> Flow | Refusal:
    """A scaled matrix product, either side of which may be transposed."""
    attributes = op.node.attributes
    if attributes.get("transBatchA") or attributes.get("transBatchB"):
        return Refusal("it moves the batch axis")
    swapped = [bool(attributes.get("transA")), bool(attributes.get("transB"))]
    operands = [_swapped(v) if swap and v is not None else v for v, swap in zip(op.inputs, swapped, strict=True)]
    flow = matmul(replace(op, inputs=tuple(operands)))
    if isinstance(flow, Flow):
        flow.reads = [
            replace(read, weight_ids=read.weight_ids.swapaxes(-1, -2)) if swapped[read.operand] else read
            for read in flow.reads
        ]
    return flow


def _swapped(value: Value) -> Value:
    """A stack of matrices, transposed."""
    if len(value.shape) < 2:
        return value
    shape = (*value.shape[:-2], value.shape[-1], value.shape[-2])
    return replace(value, shape=shape, fields=tuple(f.swapaxes(-1, -2) for f in value.fields))


@macs_rule("FusedMatMul", domain=MICROSOFT)
def fused_matmul_macs(a: Shape, b: Shape, y: Shape) -> float:
    """Every output element sums over one axis of the left matrix; the other one is the output's rows."""
    reduced = a[-1] if min(len(a), len(b)) < 2 else np.prod(a[-2:]) / y[-2]
    return float(np.prod(y) * reduced)
