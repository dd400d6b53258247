"""Batch norm by the batch, and its gradient, on blocks of channels: what convolutions on blocks exchange stays there.

Everything that is as large as the activations is a depthwise convolution: subtracting the mean and scaling are 1x1
ones with weights made in the graph, and the sum of a product over a map is one whose kernel is the map. The rest are
vectors of one number per channel, whose order is the same in blocks and outside.

Contract: the same values up to rounding. The variance is that of the centred values, as in the operator itself: of
the mean of squares less the square of the mean, nothing would be left where the mean is large.

Source of the gradient: Ioffe and Szegedy 2015, "Batch Normalization", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx

from onnx_dnscp.model.editor import attributes
from onnx_dnscp.training.rewrites.blocked_convolution import reads_blocks
from onnx_dnscp.training.rewrites.blocked_elementwise import is_elementwise
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen
from onnx_dnscp.training.rewrites.shapes import Shape


class BlockedBatchNorm:
    """The rules for both directions; the gradient starts from the centred values that the forward pass made.

    Only a batch norm between convolutions on blocks gains from it: it is no faster in itself, but spares reordering.
    """

    def __init__(self, pen: Pen, nodes: Sequence[onnx.NodeProto]) -> None:
        self._centred: dict[str, str] = {}  # by the name of the saved mean, which both nodes know
        self._wanted: set[str] = set()  # tensors that convolutions read in blocks, or what they read is made of
        for node in reversed(nodes):
            if reads_blocks(pen, node):
                self._wanted.add(node.input[0])
            elif is_elementwise(node) and node.output[0] in self._wanted:
                self._wanted.update(node.input)

    def forward(self, pen: Pen, node: onnx.NodeProto) -> bool:
        """`BatchNormInternal` of a tensor that was made in blocks, for a convolution on blocks."""
        if node.op_type != "BatchNormInternal":
            return False
        if node.input[0] not in pen.made_in_blocks or node.output[0] not in self._wanted:
            return False
        x, scale, bias, *running = node.input
        y, *following, saved_mean, saved_inverse = node.output
        shape, given = pen.shapes[x], attributes(node)
        share = pen.number(1 / (prod(shape) // shape[1]))
        blocks = pen.blocked[x]
        mean = pen.emit("Mul", _sums(pen, blocks, shape), share, output=saved_mean)
        ones = pen.constant(np.ones((shape[1], 1, 1, 1), dtype=np.float32))
        centred = _affine(pen, blocks, shape, ones, pen.emit("Neg", mean))
        variance = pen.emit("Mul", _products(pen, centred, centred, shape), share)
        deviation = pen.emit("Sqrt", pen.emit("Add", variance, pen.number(given["epsilon"])))
        inverse = pen.emit("Reciprocal", deviation, output=saved_inverse)
        factor = pen.emit("Mul", scale, inverse)
        pen.from_blocks(_affine(pen, centred, shape, _kernels(pen, factor, shape), bias), y, shape)
        momentum = given["momentum"]
        for old, new, seen in zip(running, following, (mean, variance), strict=True):
            if new:
                kept = pen.emit("Mul", old, pen.number(momentum))
                pen.emit("Add", kept, pen.emit("Mul", seen, pen.number(1 - momentum)), output=new)
        self._centred[saved_mean] = centred
        return True

    def backward(self, pen: Pen, node: onnx.NodeProto) -> bool:
        """`BatchNormalizationGrad` of such a node.

        With g = dL/dy, c = x - mean, i = 1 / std and n elements per channel: dL/dscale = i * sum(g * c),
        dL/dbias = sum(g), and dL/dx = scale * i * (g - c * i^2 * sum(g * c) / n - sum(g) / n).
        """
        centred = self._centred.get(node.input[3]) if node.op_type == "BatchNormalizationGrad" else None
        if centred is None:
            return False
        gradient, x, scale, _, inverse = node.input
        dx, dscale, dbias = node.output
        shape = pen.shapes[x]
        blocks = pen.to_blocks(gradient)
        bias_gradient = _sums(pen, blocks, shape, output=dbias)
        scale_gradient = pen.emit("Mul", _products(pen, blocks, centred, shape), inverse, output=dscale)
        factor = pen.emit("Mul", scale, inverse)
        negative = pen.emit("Mul", factor, pen.number(-1 / (prod(shape) // shape[1])))
        slope = pen.emit("Mul", pen.emit("Mul", negative, inverse), scale_gradient)
        rest = _affine(pen, centred, shape, _kernels(pen, slope, shape), pen.emit("Mul", negative, bias_gradient))
        pen.from_blocks(_affine(pen, blocks, shape, _kernels(pen, factor, shape), "", rest), dx, shape)
        return True


def _affine(pen: Pen, blocks: str, shape: Shape, kernels: str, *more: str) -> str:
    """Every channel times its kernel, plus a number per channel (may be ""), plus another tensor in blocks."""
    return pen.emit("Conv", blocks, kernels, *more, domain=BLOCKED_DOMAIN, group=shape[1], kernel_shape=[1, 1])


def _kernels(pen: Pen, vector: str, shape: Shape) -> str:
    return pen.reshape(vector, [shape[1], 1, 1, 1])


def _sums(pen: Pen, blocks: str, shape: Shape, *, output: str = "") -> str:
    """Sum of every channel over samples and places."""
    samples, channels, *space = shape
    lanes = pen.reshape(blocks, [samples * channels // pen.block, prod(space), pen.block])
    per_sample = pen.emit("ReduceSum", lanes, pen.integers([1]), keepdims=0)
    return _over_samples(pen, per_sample, shape, output)


def _products(pen: Pen, left: str, right: str, shape: Shape) -> str:
    """Sum of the products of every channel of two tensors in blocks, over samples and places."""
    samples, channels, *space = shape
    planes = samples * channels
    per_sample = pen.emit(
        "Conv",
        pen.reshape(left, [1, planes, *space]),
        pen.reshape(right, [planes, 1, *space]),
        domain=BLOCKED_DOMAIN,
        group=planes,
        kernel_shape=space,
    )
    return _over_samples(pen, per_sample, shape, "")


def _over_samples(pen: Pen, per_sample: str, shape: Shape, output: str) -> str:
    return pen.emit("ReduceSum", pen.reshape(per_sample, shape[:2]), pen.integers([0]), output=output, keepdims=0)
