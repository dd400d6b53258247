"""Layouts of convolution weights, made in the graph at every step from the weights that it is fed.

Blocked weights of a dense convolution lie as (O / block, I / block, kernel, I in block, O in block); those of a
depthwise one as (C / block, kernel, C in block). They are declared with the shape of the plain ones.
"""

from __future__ import annotations

from onnx_dnscp.training.rewrites.convolution import Convolution
from onnx_dnscp.training.rewrites.pen import Pen


def blocked(pen: Pen, weight: str, conv: Convolution) -> str:
    """Weights in blocks, for the forward convolution; two transpositions are three times as fast as one."""
    block, (outputs, inputs) = pen.block, conv.w[:2]
    split = pen.reshape(weight, [outputs // block, block, inputs * conv.positions])
    turned = pen.emit("Transpose", split, perm=[0, 2, 1])
    if inputs % block == 0:
        split = pen.reshape(turned, [outputs // block * inputs // block, block, conv.positions, block])
        turned = pen.emit("Transpose", split, perm=[0, 2, 1, 3])
    return pen.reshape(turned, conv.w)


def mirrored(pen: Pen, weight: str, conv: Convolution) -> str:
    """Weights of a dense convolution that lead gradients back: inputs and outputs change places, kernels are flipped.

    With the kernel's positions in front, flipping moves whole planes; three transpositions of matrices are a third of
    the work of one reversing slice.
    """
    outputs, inputs = conv.w[:2]
    if conv.positions == 1:
        turned = pen.emit("Transpose", pen.reshape(weight, [outputs, inputs]), perm=[1, 0])
        return pen.reshape(turned, [inputs, outputs, *conv.kernel])
    planes = pen.emit("Transpose", pen.reshape(weight, [outputs * inputs, conv.positions]), perm=[1, 0])
    flipped = pen.reshape(_flip(pen, planes, conv, axis=0), [conv.positions, outputs, inputs])
    turned = pen.reshape(pen.emit("Transpose", flipped, perm=[0, 2, 1]), [conv.positions, inputs * outputs])
    return pen.reshape(pen.emit("Transpose", turned, perm=[1, 0]), [inputs, outputs, *conv.kernel])


def mirrored_blocked(pen: Pen, weight: str, conv: Convolution) -> str:
    """Weights that lead gradients backwards, in blocks; those of a depthwise convolution are only flipped."""
    block, (outputs, inputs) = pen.block, conv.w[:2]
    if conv.depthwise:
        split = pen.reshape(weight, [outputs // block, block, conv.positions])
        turned = pen.emit("Transpose", split, perm=[0, 2, 1])
        return pen.reshape(_flip(pen, turned, conv, axis=1), conv.w)
    split = pen.reshape(weight, [outputs * inputs // block, block, conv.positions])
    turned = pen.emit("Transpose", split, perm=[0, 2, 1])
    rows = pen.reshape(turned, [outputs, inputs // block, conv.positions * block])
    turned = pen.emit("Transpose", rows, perm=[1, 0, 2])
    split = pen.reshape(turned, [inputs * outputs // block // block, block, conv.positions, block])
    turned = pen.emit("Transpose", split, perm=[0, 2, 1, 3])
    return pen.reshape(_flip(pen, turned, conv, axis=1), [inputs, outputs, *conv.kernel])


def _flip(pen: Pen, x: str, conv: Convolution, *, axis: int) -> str:
    """Turn the kernel positions on `axis` around."""
    return pen.emit("Gather", x, pen.integers(range(conv.positions - 1, -1, -1)), axis=axis)
