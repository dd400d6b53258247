"""Weight gradients of convolutions over small maps, by convolutions on blocks of pixels.

`ConvGrad` unrolls the image and multiplies matrices, which is slow while these are small. Here the sum over samples and
pixels is taken by the blocked convolution kernels: a block holds adjacent pixels instead of channels, the pixels
of a sample are the kernel, and the input channels are the places it stands at.

Contract: the same values up to rounding, in the order of the sums.
"""

from __future__ import annotations

from itertools import product
from math import prod

import onnx

from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution_gradient
from onnx_dnscp.training.rewrites.input_gradient import write_bias_gradient
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen

_SMALL_MAP = 256  # pixels; measured: from 1024 on, maps no longer fit the caches well and nothing is gained


def block_weight_gradient(pen: Pen, node: onnx.NodeProto) -> bool:
    """`ConvGrad` whose dx is made already, with dy in blocks."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) else None
    if (
        conv is None
        or node.output[0]
        or not node.output[1]
        or not _fits(conv, pen.block)
        or node.input[0] not in pen.blocked
    ):
        return False
    gradient, x, _ = node.input
    (samples, inputs, height, width), outputs = conv.x, conv.w[0]
    map_blocks = height * width // pen.block
    split = pen.reshape(pen.blocked[gradient], [samples, outputs // pen.block, height * width * pen.block])
    turned = pen.emit("Transpose", split, perm=[1, 0, 2])
    # A pixel and its neighbour meet where both tensors are moved against each other: x by rows, dy by columns.
    pixels = pen.reshape(x, [samples * inputs, height * width])
    rows = [
        pen.reshape(_shifted(pen, pixels, -width * offset), [1, samples * pen.block, 1, inputs * map_blocks])
        for offset in _offsets(conv, 0)
    ]
    lines = pen.reshape(turned, [outputs // pen.block * samples * height, width * pen.block])
    kernels = [
        pen.reshape(_shifted(pen, lines, pen.block * offset), [outputs, samples * pen.block, 1, map_blocks])
        for offset in _offsets(conv, 1)
    ]
    sums = [
        pen.emit("Conv", row, kernel, domain=BLOCKED_DOMAIN, kernel_shape=[1, map_blocks], strides=[1, map_blocks])
        for row, kernel in product(rows, kernels)
    ]
    stacked = pen.emit("Concat", *sums, axis=0) if len(sums) > 1 else sums[0]
    plain = pen.emit("ReorderOutput", stacked, domain=BLOCKED_DOMAIN, channels=outputs)
    taps = pen.emit("Transpose", pen.reshape(plain, [conv.positions, outputs * inputs]), perm=[1, 0])
    pen.reshape(taps, conv.w, output=node.output[1])
    write_bias_gradient(pen, node)
    return True


def _fits(conv: Convolution, block: int) -> bool:
    """Whether y is as large as x, its channels and the map's pixels fill whole blocks, and the map is small."""
    pixels = prod(conv.x[2:])
    plain = conv.group == 1 and conv.strides == (1, 1) and conv.x[2:] == conv.y[2:]
    return plain and conv.positions > 1 and conv.w[0] % block == 0 and pixels % block == 0 and pixels <= _SMALL_MAP


def _offsets(conv: Convolution, axis: int) -> list[int]:
    """How far each element of the kernel looks along an axis of the image."""
    return [conv.dilations[axis] * place - conv.begins[axis] for place in range(conv.kernel[axis])]


def _shifted(pen: Pen, x: str, distance: int) -> str:
    """The second axis moved by `distance` towards its end; zeros come in, the rest falls out."""
    return pen.emit("Pad", x, pen.integers([0, distance, 0, -distance])) if distance else x
