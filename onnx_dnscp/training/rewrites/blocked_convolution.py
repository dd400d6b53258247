"""Dense convolutions on blocks of channels, the layout of the runtime's fastest kernels.

Contract: the same values up to rounding, in the order of the sums.
"""

from __future__ import annotations

from math import prod

import onnx

from onnx_dnscp.training.rewrites import weights
from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution, is_convolution_gradient
from onnx_dnscp.training.rewrites.input_gradient import keep_weight_gradient
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen


def block_forward(pen: Pen, node: onnx.NodeProto) -> bool:
    """`Conv` with channels in whole blocks; an image of fewer channels than a block is read as it is."""
    conv = Convolution.read(node, pen.shapes) if is_convolution(node) else None
    if conv is None or not _pays(conv, pen.block) or not (conv.x[1] < pen.block or conv.x[1] % pen.block == 0):
        return False
    emit_blocked(pen, node, conv, node.input[0] if conv.x[1] < pen.block else pen.to_blocks(node.input[0]))
    return True


def emit_blocked(pen: Pen, node: onnx.NodeProto, conv: Convolution, x: str) -> None:
    """Write `node` as a convolution on blocks that reads `x`, which has the layout its kernel wants."""
    y = pen.emit(
        "Conv",
        x,
        weights.blocked(pen, node.input[1], conv),
        *node.input[2:],
        domain=BLOCKED_DOMAIN,
        group=conv.group,
        kernel_shape=conv.kernel,
        strides=conv.strides,
        dilations=conv.dilations,
        pads=[*conv.begins, *conv.ends],
    )
    pen.from_blocks(y, node.output[0], conv.y)


def block_input_gradient(pen: Pen, node: onnx.NodeProto) -> bool:
    """`ConvGrad` with stride 1 and channels in whole blocks: dx by a convolution on blocks, see `input_gradient`."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) and node.output[0] else None
    if conv is None or not _pays(conv, pen.block) or conv.x[1] % pen.block or conv.strides != (1, 1):
        return False
    pads = conv.mirrored_pads(conv.y[2:])
    if pads is None:
        return False
    gradient, _, weight = node.input
    dx = pen.emit(
        "Conv",
        pen.to_blocks(gradient),
        weights.mirrored_blocked(pen, weight, conv),
        domain=BLOCKED_DOMAIN,
        kernel_shape=conv.kernel,
        dilations=conv.dilations,
        pads=pads,
    )
    pen.from_blocks(dx, node.output[0], conv.x)
    keep_weight_gradient(pen, node)
    return True


def _pays(conv: Convolution, block: int) -> bool:
    """Whether a faster kernel makes up for the reordering.

    Measured with AVX512: 1x1 kernels are as fast on plain tensors, and weights with more elements than the activations
    take longer to reorder than what is gained.
    """
    dense = conv.group == 1 and conv.positions > 1 and conv.w[0] % block == 0
    return dense and prod(conv.w) <= prod(conv.y)
