"""Blocks of activations, element-wise arithmetic with constants, and joins of branches."""

from __future__ import annotations

import numpy as np

from random_graphs.builder import Builder, Tensor
from random_graphs.convolutions import convolve, convolve_by
from random_graphs.registry import Made, Picks, Site, block

SAFE_UNARY = (  # (operator, first opset)
    ("Relu", 7), ("Tanh", 7), ("Sigmoid", 7), ("LeakyRelu", 7), ("Elu", 7), ("Softplus", 7), ("Softsign", 7),
    ("HardSigmoid", 7), ("Abs", 7), ("Neg", 7), ("Selu", 7), ("Identity", 7), ("Sin", 7), ("Cos", 7), ("Erf", 9),
    ("ThresholdedRelu", 10), ("Celu", 12), ("HardSwish", 14), ("Mish", 18), ("Gelu", 20), ("Atan", 7), ("Asinh", 9),
)  # fmt: skip


@block
def activation(s: Site) -> Made:
    known = [name for name, since in SAFE_UNARY if since <= s.b.opset]
    return s.b.op(s.pick(*known), [s.x])


@block
def gated(s: Site) -> Made:
    """SiLU, hard swish and other activations that are spelled with a product."""
    b, x = s.b, s.x
    kind = s.pick("SiLU", "HardSwish", "Mish", "GELU", "step")
    if kind == "SiLU":
        return b.op("Mul", [x, b.op("Sigmoid", [x])])
    if kind == "HardSwish":
        return b.op("Mul", [b.op("HardSigmoid", [x], alpha=1 / 6, beta=0.5), x])
    if kind == "Mish":
        return b.op("Mul", [x, b.op("Tanh", [b.op("Softplus", [x])])])
    if kind == "GELU" and b.opset >= 9:
        erf = b.op("Erf", [b.op("Div", [x, b.constant(2**0.5)])])
        half = b.op("Mul", [x, b.op("Add", [erf, b.constant(1.0)])])
        return b.op("Mul", [half, b.constant(0.5)])
    if b.opset >= 9:  # Greater and Cast of bool
        step = b.op("Cast", [b.op("Greater", [x, b.constant(0.0)])], to=1)
        return b.op("Mul", [x, step])
    return b.op("Exp", [b.op("Neg", [b.op("Abs", [x])])])


@block
def prelu(s: Site) -> Made:
    slope = s.pick((s.x.channels, 1, 1), (1, s.x.channels, 1, 1), (1,))
    if slope[0] == 1 and s.b.opset < 9:
        slope = (s.x.channels, 1, 1)
    return s.b.op("PRelu", [s.x, s.b.weight(*slope, scale=0.3)])


@block
def with_constant(s: Site) -> Made:
    """Arithmetic with a stored vector, a stored scalar, or twice the same stored vector."""
    b, c = s.b, s.x.channels
    shape: tuple[int, ...] = s.pick((c, 1, 1), (1, c, 1, 1), (), (1,), (1, 1, 1))
    kind = s.pick("Add", "Mul", "Sub", "Div", "Pow", "Max", "Min", "clip", "where")
    if kind == "clip":
        return clip(b, s.x)
    if kind == "Pow":
        return b.op("Pow", [b.op("Tanh", [s.x]), b.constant(2.0)])
    if kind == "where" and b.opset >= 9:
        condition = b.constant(b.values.random(shape) < 0.5)
        return b.op("Where", [condition, s.x, b.weight(*shape)])
    if kind in ("Max", "Min", "where") and b.opset < 8:
        kind = "Add"
    kind = "Mul" if kind == "where" else kind
    stored = b.weight(*shape, positive=kind in ("Mul", "Div"))
    if kind in ("Sub", "Add", "Mul") and s.pick.flag():
        return b.op(kind, [stored, s.x])
    made = b.op(kind, [s.x, stored])
    return b.op("Add", [made, stored]) if s.pick.flag() else made


def clip(b: Builder, x: Tensor) -> Tensor:
    if b.opset < 11:
        return b.op("Clip", [x], min=-1.5, max=6.0)
    return b.op("Clip", [x, b.constant(-1.5), b.constant(6.0)])


@block
def dropout(s: Site) -> Made:
    if s.b.opset < 12:
        return s.b.op("Dropout", [s.x], ratio=0.3)
    return s.b.op("Dropout", [s.x, *([s.b.constant(0.3)] if s.pick.flag() else [])])


@block
def cast_and_back(s: Site) -> Made:
    """Double precision in between."""
    return s.b.op("Cast", [s.b.op("Cast", [s.x], to=11)], to=1)


@block
def batch_norm(s: Site) -> Made:
    b, c = s.b, s.x.channels
    shared = b.weight(c, positive=True)
    scale, var = (shared, shared) if s.pick.flag() else (shared, b.weight(c, positive=True))
    operands = [s.x.name, scale, b.weight(c), b.weight(c, scale=0.3), var]
    if b.opset >= 14 and s.pick(False, False, True):
        return Tensor(b.node("BatchNormalization", operands, 3, training_mode=1, epsilon=0.01)[0], s.x.shapes)
    return Tensor(b.node("BatchNormalization", operands)[0], s.x.shapes)


def join(b: Builder, kind: str, left: Tensor, right: Tensor) -> Tensor:
    if kind == "Mul":
        left = b.op("Tanh", [left])
    return b.op(kind, [left, right])


@block
def residual(s: Site) -> Made:
    """Two convolutions around an activation, added to their input."""
    b, c = s.b, s.x.channels
    width = s.pick(c, 3, 6)
    inner = convolve_by(b, s.x, b.weight(width, c, 1, 1), width, 1, Picks([]), plain=True)
    inner = b.op(s.pick("Relu", "Tanh"), [inner])
    outer = convolve_by(b, inner, b.weight(c, width, 3, 3), c, 3, s.pick, plain=True)
    joined = join(b, s.pick("Add", "Sum", "Sub", "Max", "Mean", "Min", "Mul"), s.x, outer)
    return b.op("Relu", [joined]) if s.pick.flag() else joined


@block
def join_branches(s: Site) -> Made:
    """Any two maps of one size, the second made to fit by a convolution where its channels differ."""
    b, x = s.b, s.x
    other = s.partner(lambda m: [n[2:] for n in m.shapes] == [n[2:] for n in x.shapes])
    if other is None:
        return None
    if other.channels != x.channels:
        other = convolve_by(b, other, b.weight(x.channels, other.channels, 1, 1), x.channels, 1, s.pick, plain=True)
    kind = s.pick("Add", "Sum", "Max", "Mean", "Mul", "Sub", "Sum3")
    return b.op("Sum", [x, other, x]) if kind == "Sum3" else join(b, kind, x, other)


@block
def second_input(s: Site) -> Made:
    """A graph input of its own, convolved and added, or left as a map."""
    b = s.b
    new = b.input(s.pick(3, 2, 1))
    if s.pick.flag():
        return new
    return convolve(b, new, s.pick(4, s.x.channels), s.pick)


@block
def middle_output(s: Site) -> Made:
    s.b.output(s.b.op("Identity", [s.x]) if s.pick.flag() else s.x)
    return None


@block
def scale_by_position(s: Site) -> Made:
    """A stored image that every channel is multiplied with; needs a static size."""
    if not (s.x.is_static(2) and s.x.is_static(3)):
        return None
    height, width = s.x.shapes[0][2:]
    c = s.pick(1, s.x.channels)
    return s.b.op("Mul", [s.x, s.b.constant(s.b.values.uniform(0.5, 1.5, (c, height, width)).astype(np.float32))])
