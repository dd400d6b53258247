"""Blocks in which the number of channels is more than a shape: a factor, or the size of something else."""

from __future__ import annotations

import numpy as np

from random_graphs.builder import Builder, Size, Tensor
from random_graphs.convolutions import convolve_by
from random_graphs.movement import BATCH, HEIGHT, WIDTH, concatenate
from random_graphs.registry import Made, Picks, Site, block

CHANNELS = Size((1,))


def size_vector(b: Builder, x: Tensor, entry: Size) -> str:
    return b.sizes(x, [entry])


@block
def scaled_by_count(s: Site) -> Made:
    """Divided by the square root of a count read with `Shape`, as attention is."""
    b = s.b
    count = b.node("Cast", [size_vector(b, s.x, s.pick(CHANNELS, HEIGHT, Size((1, 2))))], to=1)[0]
    return b.op("Div", [s.x, b.node("Sqrt", [count])[0]])


@block
def borrowed_size(s: Site) -> Made:
    """A map is reshaped, sliced, expanded or padded to the size of another one that may shrink."""
    b = s.b
    other = s.partner(lambda m: m.channels <= s.x.channels) or s.x
    c = other.channels
    kind = s.pick("reshape", "slice", "expand", "zeros")
    if kind == "slice" and b.opset >= 10:
        end, axis = size_vector(b, other, CHANNELS), b.integers([1])
        return b.op("Slice", [s.x, b.integers([0]), end, axis], lambda n: (n[0], c, *n[2:]))
    if kind == "expand" and b.opset >= 8:
        one = b.op("Conv", [s.x, b.weight(1, s.x.channels, 1, 1)], lambda n: (n[0], 1, *n[2:]))
        target = b.node("Concat", [b.integers([1]), size_vector(b, other, CHANNELS), b.integers([1, 1])], axis=0)[0]
        return b.op("Expand", [one, target], lambda n: (n[0], c, *n[2:]))
    if kind == "zeros" and b.opset >= 9:
        sizes = [b.sizes(s.x, [BATCH]), size_vector(b, other, CHANNELS), b.sizes(s.x, [HEIGHT, WIDTH])]
        zeros = b.node("ConstantOfShape", [b.node("Concat", sizes, axis=0)[0]])[0]
        return concatenate(b, [s.x, Tensor(zeros, tuple((n[0], c, *n[2:]) for n in s.x.shapes))])
    if c == s.x.channels:
        parts = [b.sizes(s.x, [BATCH]), size_vector(b, other, CHANNELS), b.integers([-1])]
        flat = b.op("Reshape", [s.x, b.node("Concat", parts, axis=0)[0]], lambda n: (n[0], c, n[2] * n[3]))
        return b.reshape(flat, [BATCH, c, HEIGHT, WIDTH], like=s.x)
    return None


@block
def left_product(s: Site) -> Made:
    """A weight from the left: (out, channels) times (batch, channels, pixels)."""
    b, c, out = s.b, s.x.channels, s.pick(4, 2, 1)
    flat = b.reshape(s.x, [BATCH, c, Size((2, 3))], s.pick.flag())
    made = b.op("MatMul", [b.weight(out, c), flat], lambda n: (n[0], out, n[2]))
    return b.reshape(made, [BATCH, out, HEIGHT, WIDTH], like=s.x)


@block
def computed_weight(s: Site) -> Made:
    """A convolution whose weight is arithmetic on stored tensors: scaled, masked or normalised."""
    b, c, out = s.b, s.x.channels, s.pick(4, 6)
    stored = b.weight(out, c, 1, 1)
    kind = s.pick("scaled", "per output", "per input", "normalised", "sum")
    if kind == "normalised":
        square = b.node("Mul", [stored, stored])[0]
        axes = {"axes": [1, 2, 3]} if b.opset < 13 else {}
        operands = [square] if axes else [square, b.integers([1, 2, 3])]
        norm = b.node("Sqrt", [b.node("ReduceSum", operands, keepdims=1, **axes)[0]])[0]
        weight = b.node("Div", [stored, norm])[0]
    elif kind == "sum":
        weight = b.node("Add", [stored, b.weight(out, c, 1, 1)])[0]
    else:
        shape = {"scaled": (), "per output": (out, 1, 1, 1), "per input": (1, c, 1, 1)}[kind]
        weight = b.node("Mul", [stored, b.weight(*shape, positive=True)])[0]
    return convolve_by(b, s.x, weight, out, 1, Picks([]), plain=True)


@block
def range_of_channels(s: Site) -> Made:
    """Channels gathered by a Range up to their number, or multiplied with it."""
    b = s.b
    if b.opset < 11:
        return None
    scalar = b.constant(np.array(1, dtype=np.int64))
    shape = b.node("Shape", [s.x.name])[0]
    count = b.node("Gather", [shape, scalar], axis=0)[0]
    zero = b.constant(np.array(0, dtype=np.int64))
    numbers = b.node("Range", [zero, count, scalar])[0]
    if s.pick.flag():
        floats = b.node("Cast", [numbers], to=1)[0]
        column = b.with_axes("Unsqueeze", floats, [1, 2])
        return b.op("Add", [s.x, b.node("Cos", [column])[0]])
    return b.op("Gather", [s.x, numbers], axis=1)
