"""Depthwise convolutions and all of their gradients on blocks of channels.

The runtime's own kernels work through one channel at a time, at a small part of the speed.
Contract: the same values up to rounding, in the order of the sums.
"""

from __future__ import annotations

import onnx

from onnx_dnscp.training.rewrites import weights
from onnx_dnscp.training.rewrites.blocked_convolution import emit_blocked, spread
from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution, is_convolution_gradient
from onnx_dnscp.training.rewrites.input_gradient import write_bias_gradient
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen


def block_depthwise(pen: Pen, node: onnx.NodeProto) -> bool:
    """`Conv` with one channel per group, channels in whole blocks."""
    conv = Convolution.read(node, pen.shapes) if is_convolution(node) else None
    if conv is None or not conv.depthwise or conv.x[1] % pen.block:
        return False
    emit_blocked(pen, node, conv, pen.to_blocks(node.input[0]))
    return True


def block_depthwise_gradient(pen: Pen, node: onnx.NodeProto) -> bool:
    """`ConvGrad` of such a convolution: dx as a convolution with flipped kernels, dw as one with dy as the kernels."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) else None
    if conv is None or not conv.depthwise or conv.x[1] % pen.block:
        return False
    pads, ends = conv.mirrored_pads(conv.spread), _weight_ends(conv)
    if pads is None or min(ends) < 0:
        return False
    gradient, x, weight = node.input
    if node.output[0]:
        dx = pen.emit(
            "Conv",
            spread(pen, pen.to_blocks(gradient), conv),
            weights.mirrored_blocked(pen, weight, conv),
            domain=BLOCKED_DOMAIN,
            group=conv.group,
            kernel_shape=conv.kernel,
            dilations=conv.dilations,
            pads=pads,
        )
        pen.from_blocks(dx, node.output[0], conv.x)
    if len(node.output) > 1 and node.output[1]:
        _weight_gradient(pen, pen.to_blocks(gradient), pen.to_blocks(x), conv, ends, node.output[1])
    write_bias_gradient(pen, node)
    return True


def _weight_ends(conv: Convolution) -> list[int]:
    """Padding behind x with which dy, as a kernel, has as many places to stand at as the kernel has elements."""
    return [
        dilation * (kernel - 1) + stride * (out - 1) + 1 - size - begin
        for size, out, kernel, stride, dilation, begin in zip(
            conv.x[2:], conv.y[2:], conv.kernel, conv.strides, conv.dilations, conv.begins, strict=True
        )
    ]


def _weight_gradient(pen: Pen, gradient: str, x: str, conv: Convolution, ends: list[int], output: str) -> None:
    """dw[c, k] = sum over samples and places p of dy[c, p] * x[c, stride * p + dilation * k - pad].

    Every sample's channel is a channel of its own here, with dy as its kernel, whose elements lie `stride` apart;
    blocks of activations lie in memory as blocks of depthwise weights do. The samples are added up at the end.
    """
    samples, channels = conv.x[:2]
    planes = samples * channels
    per_sample = pen.emit(
        "Conv",
        pen.reshape(x, [1, planes, *conv.x[2:]]),
        pen.reshape(gradient, [planes, 1, *conv.y[2:]]),
        domain=BLOCKED_DOMAIN,
        group=planes,
        kernel_shape=conv.y[2:],
        strides=conv.dilations,
        dilations=conv.strides,
        pads=[*conv.begins, *ends],
    )
    rows = pen.reshape(per_sample, [samples, channels * conv.positions])
    total = pen.emit("ReduceSum", rows, pen.integers([0]), keepdims=0)
    turned = pen.emit(
        "Transpose", pen.reshape(total, [channels // pen.block, conv.positions, pen.block]), perm=[0, 2, 1]
    )
    pen.reshape(turned, conv.w, output=output)
