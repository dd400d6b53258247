"""Gradients of convolutions' inputs as forward convolutions, which have faster kernels than `ConvGrad`.

dL/dx of y = w * x with stride 1 is the convolution of dL/dy with w flipped, its inputs and outputs exchanged.
Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.
"""

from __future__ import annotations

import onnx

from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution_gradient
from onnx_dnscp.training.rewrites.pen import Pen
from onnx_dnscp.training.rewrites.weights import mirrored


def split_input_gradient(pen: Pen, node: onnx.NodeProto) -> bool:
    """`ConvGrad` with stride 1 and one group: dx by `Conv`; dw, and the bias's gradient, stay with it."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) and node.output[0] else None
    if conv is None or conv.group != 1 or conv.strides != (1, 1):
        return False
    pads = conv.mirrored_pads(conv.y[2:])
    if pads is None:
        return False
    gradient, _, weight = node.input
    pen.emit(
        "Conv",
        gradient,
        mirrored(pen, weight, conv),
        output=node.output[0],
        shape=conv.x,
        kernel_shape=conv.kernel,
        dilations=conv.dilations,
        pads=pads,
    )
    keep_weight_gradient(pen, node)
    return True


def keep_weight_gradient(pen: Pen, node: onnx.NodeProto) -> None:
    """Write a `ConvGrad` node again without its first output."""
    if any(node.output[1:]):
        rest = onnx.NodeProto()
        rest.CopyFrom(node)
        rest.output[0] = ""
        pen.add(rest)


def write_bias_gradient(pen: Pen, node: onnx.NodeProto) -> None:
    """Write the third output of a `ConvGrad` node, if it is wanted: the sum of dy over samples and places."""
    if len(node.output) > 2 and node.output[2]:
        pen.emit("ReduceSum", node.input[0], pen.integers([0, 2, 3]), output=node.output[2], keepdims=0)
