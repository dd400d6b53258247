"""Quantised operators: values as small integers, with a scale and a zero point for a tensor or for each channel.

Scales and zero points of an axis belong to its channels, like the parameters of a normalisation. All arithmetic is
exact on integers, so a slice that holds its zero point contributes nothing. Whether 0 is that value is asked of
every weight in `onnx_dnscp.discovery.zeros`.
"""

from __future__ import annotations

from dataclasses import replace

from onnx_dnscp.model.fields import IdField, collapse, varying_axes
from onnx_dnscp.ops.conv import conv_macs, convolution, resize_group
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.linear import affine, gemm_macs, matmul_macs, stacked
from onnx_dnscp.ops.macs import macs_rule, weight_is_at
from onnx_dnscp.ops.norm import normalise
from onnx_dnscp.ops.pieces import concat
from onnx_dnscp.ops.pool import pool
from onnx_dnscp.ops.registry import Flow, Op, Refusal, integer_data, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, resize_rule
from onnx_dnscp.ops.table import MICROSOFT

QUANTIZED_WEIGHT = 3  # operand of QLinearConv, QLinearMatMul and QGemm, behind the data, its scale and its zero point

integer_data("DequantizeLinear", operands=(0, 2))
integer_data("DequantizeLinear", operands=(0, 2), domain=MICROSOFT)
integer_data("QLinearConv", operands=(8,))
integer_data("QGemm", operands=(6,), domain=MICROSOFT)
weight_is_at(QUANTIZED_WEIGHT, "QLinearConv", "QLinearMatMul")
weight_is_at(QUANTIZED_WEIGHT, "QGemm", domain=MICROSOFT)
macs_rule("QLinearConv", "ConvInteger")(conv_macs)
macs_rule("QLinearMatMul", "MatMulInteger")(matmul_macs)
macs_rule("QGemm", domain=MICROSOFT)(gemm_macs)


@op_rule("QuantizeLinear", "DequantizeLinear", domain=MICROSOFT)
@op_rule("QuantizeLinear", "DequantizeLinear")
def quantize(op: Op) -> Flow:
    """Works on each position; scale and zero point are one number, a vector along `axis`, or one number per block."""
    x = op.data
    flow = Flow(outputs=[x.fields])
    if not x.shape:
        return flow
    axis = int(op.node.attributes.get("axis", 1))
    for parameter in (op.operand(1), op.input(2)):
        if parameter is None:
            continue
        if len(parameter.shape) > 1:
            _join_blocks(flow, op, axis % len(x.shape), parameter.fields)
        elif max(parameter.shape, default=1) > 1:
            channels = flow.channel_vector(x, axis % len(x.shape))
            flow.join_vector(channels, parameter, 0, x.reason or f"parameter of {op.node}")
    return flow


def _join_blocks(flow: Flow, op: Op, axis: int, parameters: tuple[IdField, ...]) -> None:
    """A blocked parameter has the data's rank: the blocked axis is kept whole, positions of the others are shared."""
    for ids in (*op.data.fields, *parameters):
        if axis in varying_axes(ids):
            flow.lock(ids, f"{op.node} quantises blocks of this axis")
    shared = [ids for ids in parameters if axis not in varying_axes(ids)]
    for ids in op.data.fields:
        flow.unions += [(ids, own) for own in shared if set(varying_axes(ids)) & set(varying_axes(own))]
        other = [a for a in varying_axes(ids) if a != axis and not any(a in varying_axes(own) for own in shared)]
        if other:
            flow.lock(ids, f"{op.node} quantises it by parameters that are not prunable")


@op_rule("DynamicQuantizeLinear")
def dynamic_quantize(op: Op) -> Flow:
    """One scale for the whole tensor, measured on every run: every channel is seen by all others."""
    flow = Flow(reason=f"made by {op.node}")
    for ids in op.data.fields:
        flow.lock(ids, f"{op.node} measures one range over all channels")
    return flow


@op_rule("QLinearConv")
def qlinear_conv(op: Op) -> Flow | Refusal:
    """Operands: x, its scale and zero point, weight, its, those of the result, bias."""
    return _join(op, convolution(op, QUANTIZED_WEIGHT, op.input(8)), QUANTIZED_WEIGHT, 0, (4, 5))


@op_rule("ConvInteger")
def conv_integer(op: Op) -> Flow | Refusal:
    """Operands: x, weight, zero point of each; the sums stay 32-bit integers."""
    return _join(op, convolution(op, 1, None), 1, 0, (3,))


@op_rule("QLinearMatMul")
def qlinear_matmul(op: Op) -> Flow | Refusal:
    """Operands: left, its scale and zero point, right, its, those of the result."""
    flow = _join(op, stacked(op, QUANTIZED_WEIGHT), 0, -2, (1, 2))
    return _join(op, flow, QUANTIZED_WEIGHT, -1, (4, 5))


@op_rule("MatMulInteger")
def matmul_integer(op: Op) -> Flow | Refusal:
    """Operands: left, right, zero point of each; the sums stay 32-bit integers."""
    return _join(op, _join(op, stacked(op, 1), 0, -2, (2,)), 1, -1, (3,))


@op_rule("QGemm", domain=MICROSOFT)
def qgemm(op: Op) -> Flow | Refusal:
    """Operands: A, its scale and zero point, B, its, bias, those of the result (if that is quantised)."""
    column = 0 if op.node.attributes.get("transB") else 1
    return _join(op, affine(op, QUANTIZED_WEIGHT, op.input(6)), QUANTIZED_WEIGHT, column, (4, 5))


def _join(op: Op, flow: Flow | Refusal, operand: int, axis: int, parameters: tuple[int, ...]) -> Flow | Refusal:
    """Tie scales and zero points that are vectors to an axis of the operand they belong to."""
    if isinstance(flow, Refusal):
        return flow
    value = op.operand(operand)
    for parameter in map(op.input, parameters):
        if parameter is None or max(parameter.shape, default=1) == 1:
            continue
        if len(parameter.shape) > 1 or len(value.shape) < 2:
            return Refusal("it is quantised by stacked matrices")
        channels = flow.channel_vector(value, axis % len(value.shape))
        flow.join_vector(channels, parameter, 0, value.reason or f"parameter of {op.node}")
    return flow


@resize_rule("QLinearConv")
def resize_qlinear_conv(op: Resize) -> list[Edit]:
    """`group` follows the channels where whole groups go."""
    return resize_group(op, QUANTIZED_WEIGHT)


@resize_rule("ConvInteger")
def resize_conv_integer(op: Resize) -> list[Edit]:
    """`group` follows the channels where whole groups go."""
    return resize_group(op, 1)


@op_rule("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_binary(op: Op) -> Flow:
    """Two operands with a scale and a zero point each."""
    flow = Flow()
    flow.outputs = [join_broadcast(flow, [op.data, op.operand(3)], op)]
    return flow


@op_rule("QLinearLeakyRelu", "QLinearSigmoid", domain=MICROSOFT)
def qlinear_unary(op: Op) -> Flow:
    """A table look-up for each position."""
    return Flow(outputs=[op.data.fields])


@op_rule("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(op: Op) -> Flow | Refusal:
    """Scale and zero point of the result, then every part with its own."""
    return concat(replace(op, inputs=op.inputs[2::3]))


@op_rule("QLinearGlobalAveragePool", "QLinearAveragePool", domain=MICROSOFT)
def qlinear_pool(op: Op) -> Flow | Refusal:
    """Works inside each channel; channels are the last axis where `channels_last` is set."""
    if not op.node.attributes.get("channels_last"):
        return pool(op)
    flow = Flow()
    space = range(1, len(op.data.shape) - 1)
    kept = flow.whole_blocks(op.data.fields, space, f"{op.node} slides over this axis")
    flow.outputs = [tuple(collapse(f, space) for f in kept)]
    return flow


@op_rule("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(op: Op) -> Flow:
    """Normalises along `axis`; in the manner of `opset` 12 or older, along that axis and all after it."""
    rank = len(op.data.shape)
    axis = int(op.node.attributes.get("axis", -1)) % rank
    return normalise(op, {axis} if op.node.attributes.get("opset", 13) >= 13 else range(axis, rank))
