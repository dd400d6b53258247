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

_MOST_STRIDE = 2  # of a convolution whose dx pays: all but one in stride^2 of the pixels that are read are zeros
_MOST_WEIGHTS = 4  # for every element of the result


def block_forward(pen: Pen, node: onnx.NodeProto) -> bool:
    """`Conv` with channels in whole blocks; an image of fewer channels than a block is read as it is."""
    conv = Convolution.read(node, pen.shapes) if is_convolution(node) else None
    if conv is None or not _pays(conv, pen.block) or not (conv.x[1] < pen.block or conv.x[1] % pen.block == 0):
        return False
    emit_blocked(pen, node, conv, node.input[0] if conv.x[1] < pen.block else pen.to_blocks(node.input[0]))
    return True


def reads_blocks(pen: Pen, node: onnx.NodeProto) -> bool:
    """Whether a node becomes a dense convolution that reads blocks."""
    conv = Convolution.read(node, pen.shapes) if is_convolution(node) else None
    return conv is not None and conv.x[1] % pen.block == 0 and _pays(conv, pen.block)


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
    """`ConvGrad` with channels in whole blocks: dx by a convolution on blocks, see `input_gradient`."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) and node.output[0] else None
    if conv is None or not _pays(conv, pen.block) or conv.x[1] % pen.block or max(conv.strides) > _MOST_STRIDE:
        return False
    pads = conv.mirrored_pads(conv.spread)
    if pads is None:
        return False
    gradient, _, weight = node.input
    dx = pen.emit(
        "Conv",
        spread(pen, pen.to_blocks(gradient), conv),
        weights.mirrored_blocked(pen, weight, conv),
        domain=BLOCKED_DOMAIN,
        kernel_shape=conv.kernel,
        dilations=conv.dilations,
        pads=pads,
    )
    pen.from_blocks(dx, node.output[0], conv.x)
    keep_weight_gradient(pen, node)
    return True


def spread(pen: Pen, blocks: str, conv: Convolution) -> str:
    """Blocks of dy with `stride - 1` zeros behind every row and column, which undoes the stride."""
    if conv.strides == (1, 1):
        return blocks
    (down, right), (height, width) = conv.strides, conv.y[2:]
    rows = pen.reshape(blocks, [conv.y[0] * conv.y[1] // pen.block * height, 1, width, pen.block])
    pads = pen.integers([0, 0, 0, 0, 0, down - 1, 0, (right - 1) * pen.block])
    return pen.reshape(pen.emit("Pad", rows, pads), [*conv.y[:2], *conv.spread])


def _pays(conv: Convolution, block: int) -> bool:
    """Whether a faster kernel makes up for the reordering.

    Measured with AVX512: 1x1 kernels are as fast on plain tensors unless they skip pixels, and weights with many more
    elements than the activations take longer to reorder than what is gained.
    """
    dense = conv.group == 1 and conv.w[0] % block == 0
    large = prod(conv.w) > _MOST_WEIGHTS * prod(conv.y)
    return dense and not large and (conv.positions > 1 or conv.strides != (1, 1))
