"""Weight gradients of convolutions by convolutions on blocks of samples.

`ConvGrad` unrolls the image and multiplies matrices of plain tensors. Here the sum over samples and places is taken by
the blocked convolution kernels: a block holds samples instead of channels, dy is the kernel, and it stands at as many
places as the weights have elements. Both tensors come from their blocks of channels; nothing is put back in between.

Contract: the same values up to rounding, in the order of the sums.
"""

from __future__ import annotations

from math import ceil, prod

import onnx

from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution_gradient
from onnx_dnscp.training.rewrites.input_gradient import write_bias_gradient
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen

_CACHED = 1 << 18  # elements of dy that the kernels work through again and again; 1 MiB, half of a second-level cache
_MOST_BLOCKS = 4  # of output channels that the runtime's kernels compute at once
_WASTE = 1.25  # zero samples may fill up the last block to so many times their number


def block_weight_gradient(pen: Pen, node: onnx.NodeProto) -> bool:
    """`ConvGrad` whose dx is made already, with x and dy in blocks of channels."""
    conv = Convolution.read(node, pen.shapes) if is_convolution_gradient(node) else None
    if conv is None or node.output[0] or not node.output[1] or not _fits(conv, pen.block):
        return False
    gradient, x, _ = node.input
    if gradient not in pen.blocked or x not in pen.blocked:
        return False
    rows = _rows_at_once(conv, pen.block)
    parts = conv.y[2] // rows
    sample_blocks = ceil(conv.x[0] / pen.block)
    images = _sliding(pen, pen.blocked[x], conv, sample_blocks, rows)
    kernels = _kernels(pen, pen.blocked[gradient], conv, sample_blocks)
    depth = sample_blocks * parts * pen.block
    sums = pen.emit(
        "Conv",
        images,
        pen.reshape(kernels, [conv.w[0], depth, rows, conv.y[3]]),
        domain=BLOCKED_DOMAIN,
        kernel_shape=[rows, conv.y[3]],
        strides=[conv.dilations[0], 1],
        dilations=[conv.strides[0], conv.strides[1] * pen.block],
    )
    _as_weights(pen, sums, conv, node.output[1])
    write_bias_gradient(pen, node)
    return True


def _fits(conv: Convolution, block: int) -> bool:
    """Whether channels fill whole blocks, samples nearly do, and elements of the kernel are neighbours in a row."""
    whole = conv.group == 1 and conv.x[1] % block == 0 and conv.w[0] % block == 0
    samples = ceil(conv.x[0] / block) * block
    return whole and samples <= _WASTE * conv.x[0] and (conv.dilations[1] == 1 or conv.kernel[1] == 1)


def _rows_at_once(conv: Convolution, block: int) -> int:
    """Rows of dy in one kernel: all, or so many that what is used at once stays in the cache."""
    row = conv.y[3] * block * block * min(_MOST_BLOCKS, conv.w[0] // block)
    height = conv.y[2]
    return max(rows for rows in range(1, height + 1) if height % rows == 0 and (rows == 1 or rows * row <= _CACHED))


def _in_whole_blocks(pen: Pen, blocks: str, sample: int, conv: Convolution, sample_blocks: int) -> str:
    """Samples of `sample` elements, with zero ones behind them that fill the last block."""
    missing = sample_blocks * pen.block - conv.x[0]
    rows = pen.reshape(blocks, [conv.x[0], sample])
    return pen.emit("Pad", rows, pen.integers([0, 0, missing, 0])) if missing else rows


def _sliding(pen: Pen, blocks: str, conv: Convolution, sample_blocks: int, rows: int) -> str:
    """The image x as (C / block, samples, rows, columns * channels of a block), padded as the convolution pads it.

    Where dy is cut into parts of some rows, the rows that each part meets follow each other.
    """
    block, (_, channels, height, width) = pen.block, conv.x
    wide = [
        conv.dilations[axis] * (conv.kernel[axis] - 1) + conv.strides[axis] * (conv.y[2 + axis] - 1) + 1
        for axis in range(2)
    ]
    samples = _in_whole_blocks(pen, blocks, prod(conv.x[1:]), conv, sample_blocks)
    flat = pen.reshape(samples, [1, sample_blocks * block, 1, prod(conv.x[1:])])
    turned = pen.emit("ReorderInput", flat, domain=BLOCKED_DOMAIN)
    if sample_blocks > 1 and channels > block:
        parted = pen.reshape(turned, [sample_blocks, channels // block, height * width * block * block])
        turned = pen.emit("Transpose", parted, perm=[1, 0, 2])
    lines = pen.reshape(turned, [channels // block * sample_blocks, height, width * block * block])
    (above, left), (below, right) = (
        conv.begins,
        [w - x - b for w, x, b in zip(wide, conv.x[2:], conv.begins, strict=True)],
    )
    pads = [0, above, left * block * block, 0, below, right * block * block]
    padded = pen.emit("Pad", lines, pen.integers(pads)) if any(pads) else lines
    parts = conv.y[2] // rows
    tall = conv.dilations[0] * (conv.kernel[0] - 1) + conv.strides[0] * (rows - 1) + 1
    if parts > 1:
        met = [part * rows * conv.strides[0] + row for part in range(parts) for row in range(tall)]
        padded = pen.emit("Gather", padded, pen.integers(met), axis=1)
    return pen.reshape(padded, [channels // block, sample_blocks * parts * block, tall, wide[1] * block])


def _kernels(pen: Pen, blocks: str, conv: Convolution, sample_blocks: int) -> str:
    """The gradient dy as weights: (O / block, samples / block, places, samples of a block, channels of a block)."""
    block, outputs, places = pen.block, conv.w[0], prod(conv.y[2:])
    samples = _in_whole_blocks(pen, blocks, prod(conv.y[1:]), conv, sample_blocks)
    if outputs > block:
        parted = pen.reshape(samples, [sample_blocks * block, outputs // block, places * block])
        samples = pen.emit("Transpose", parted, perm=[1, 0, 2])
    # What reorders images whose channels come last reorders samples here: pieces of a block's size move to the front.
    flat = pen.reshape(samples, [outputs // block * sample_blocks, block, 1, places * block])
    return pen.emit("ReorderInput", flat, domain=BLOCKED_DOMAIN, channels_last=1)


def _as_weights(pen: Pen, sums: str, conv: Convolution, output: str) -> None:
    """From (I / block, O / block, kernel, I in block, O in block) to (O, I, kernel); three steps are the fastest."""
    block, (outputs, inputs) = pen.block, conv.w[:2]
    turned = pen.reshape(sums, [inputs // block, outputs // block, conv.positions * block * block])
    if inputs > block and outputs > block:
        turned = pen.emit("Transpose", turned, perm=[1, 0, 2])
    rows = pen.reshape(turned, [outputs // block, inputs * conv.positions, block])
    turned = pen.emit("Transpose", rows, perm=[0, 2, 1])
    if conv.positions > 1:
        split = pen.reshape(turned, [outputs * inputs // block, conv.positions, block])
        turned = pen.emit("Transpose", split, perm=[0, 2, 1])
    pen.reshape(turned, conv.w, output=output)
