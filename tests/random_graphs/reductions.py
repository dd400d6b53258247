"""Blocks that look at many positions at once: squeeze-excitation, normalisations, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from random_graphs.builder import Builder, Size, Tensor
from random_graphs.movement import BATCH, HEIGHT, WIDTH, transpose
from random_graphs.registry import Made, Site, block


def reduced(b: Builder, op_type: str, x: Tensor, axes: list[int], *, keep: bool = True) -> Tensor:
    since = 13 if op_type == "ReduceSum" else 18
    name = b.with_axes(op_type, x.name, axes, since, keepdims=int(keep))
    gone = {axis % x.rank for axis in axes}
    shapes = (tuple(1 if a in gone else d for a, d in enumerate(n) if keep or a not in gone) for n in x.shapes)
    return Tensor(name, tuple(shapes))


def linear(b: Builder, x: Tensor, out: int, *, bias: bool, gemm: bool, transposed: bool = False) -> Tensor:
    """Rows times a weight, as Gemm or MatMul and Add; `transposed` stores the Gemm weight (out, in)."""
    inside = x.shapes[0][-1]
    if gemm:
        weight = b.weight(out, inside) if transposed else b.weight(inside, out, scale=1 / np.sqrt(inside))
        operands = [b.weight(out)] if bias or b.opset < 11 else []
        return b.op("Gemm", [x, weight, *operands], lambda n: (n[0], out), transB=int(transposed))
    made = b.op("MatMul", [x, b.weight(inside, out, scale=1 / np.sqrt(inside))], lambda n: (*n[:-1], out))
    return b.op("Add", [made, b.weight(out)]) if bias else made


@block
def squeeze_excite(s: Site) -> Made:
    b, c = s.b, s.x.channels
    kind = s.pick("conv", "gemm", "matmul", "mean", "one conv")
    pooled = b.op("GlobalAveragePool", [s.x], lambda n: (*n[:2], 1, 1))
    width = s.pick(2, 4, 1)
    if kind in ("mean", "conv", "one conv"):
        pooled = reduced(b, "ReduceMean", s.x, [2, 3]) if kind == "mean" else pooled
        for out in (c,) if kind == "one conv" else (width, c):
            weight = b.weight(out, pooled.channels, 1, 1)
            pooled = b.op("Conv", [pooled, weight, b.weight(out)], lambda n, o=out: (n[0], o, 1, 1))
            pooled = b.op(s.pick("Relu", "Tanh") if out == width else "Sigmoid", [pooled])
        return b.op("Mul", s.pick([s.x, pooled], [pooled, s.x]), np.broadcast_shapes)
    flat = s.pick("Flatten", "Reshape", "Squeeze")
    if flat == "Flatten":
        rows = b.op("Flatten", [pooled], lambda n: n[:2])
    elif flat == "Reshape":
        rows = b.reshape(pooled, [BATCH, s.pick(c, Size((1,)))], s.pick.flag())
    else:
        rows = Tensor(b.with_axes("Squeeze", pooled.name, [2, 3]), tuple(n[:2] for n in pooled.shapes))
    gemm = kind == "gemm"
    hidden = b.op("Relu", [linear(b, rows, width, bias=True, gemm=gemm, transposed=s.pick.flag())])
    scale = b.op("Sigmoid", [linear(b, hidden, c, bias=s.pick.flag(), gemm=gemm)])
    if s.pick.flag():
        name = b.with_axes("Unsqueeze", scale.name, [2, 3])
        wide = Tensor(name, tuple((*n, 1, 1) for n in scale.shapes))
    else:
        wide = b.reshape(scale, [BATCH, s.pick(c, Size((1,))), 1, 1], s.pick.flag())
    if s.pick.flag() and b.opset >= 8:
        wide = b.op("Expand", [wide, b.node("Shape", [s.x.name])[0]], lambda n: n)
        wide = Tensor(wide.name, s.x.shapes)
    return b.op("Mul", [s.x, wide])


@block
def centred(s: Site) -> Made:
    """Minus its mean over the image, over channels, or over both."""
    b = s.b
    axes = s.pick([2, 3], [-1], [1], [1, 2, 3])
    kind = s.pick("ReduceMean", "ReduceMax", "ReduceMin")
    return b.op("Sub", [s.x, reduced(b, kind, s.x, axes)])


def standardised(b: Builder, x: Tensor, axes: list[int]) -> Tensor:
    """Mean 0 and variance 1 over some axes, in single steps."""
    difference = b.op("Sub", [x, reduced(b, "ReduceMean", x, axes)])
    variance = reduced(b, "ReduceMean", b.op("Mul", [difference, difference]), axes)
    deviation = b.op("Sqrt", [b.op("Add", [variance, b.constant(0.01)])])
    return b.op("Div", [difference, deviation])


@block
def instance_norm(s: Site) -> Made:
    b, c = s.b, s.x.channels
    if s.x.smallest() < 2:
        return None
    if s.pick.flag():
        made = standardised(b, s.x, [2, 3])
        return b.op("Add", [b.op("Mul", [made, b.weight(1, c, 1, 1, positive=True)]), b.weight(1, c, 1, 1)])
    return b.op("InstanceNormalization", [s.x, b.weight(c, positive=True), b.weight(c)], epsilon=0.01)


@block
def group_norm(s: Site) -> Made:
    """Native, as InstanceNormalization between two Reshapes (PyTorch), or in single steps."""
    b, c = s.b, s.x.channels
    groups = [g for g in (2, 3, 4, 1) if c % g == 0]
    g, kind = s.pick(*groups), s.pick("instance", "native", "steps")
    if kind == "native" and b.opset >= 21:
        operands = [b.weight(c, positive=True), b.weight(c)]
        return b.op("GroupNormalization", [s.x, *operands], num_groups=g, epsilon=0.01)
    if kind == "steps":
        apart = b.reshape(s.x, [BATCH, g, c // g, HEIGHT, WIDTH], s.pick.flag())
        made = standardised(b, apart, [2, 3, 4])
    else:
        apart = b.reshape(s.x, [BATCH, g, Size((1, 2, 3), divisor=g)], s.pick.flag())
        ones = [b.constant(np.full(g, v, dtype=np.float32)) for v in (1.0, 0.0)]
        made = b.op("InstanceNormalization", [apart, *ones], epsilon=0.01)
    back = b.reshape(made, [BATCH, c, HEIGHT, WIDTH], s.pick.flag(), like=s.x)
    scaled = b.op("Mul", [back, b.weight(c, 1, 1, positive=True)])
    return b.op("Add", [scaled, b.weight(c, 1, 1)])


@block
def layer_norm(s: Site) -> Made:
    """Over channels, in NHWC (ConvNeXt) or in single steps where they are."""
    b, c = s.b, s.x.channels
    if c == 1:
        return None
    if s.pick.flag():
        return b.op("Mul", [standardised(b, s.x, [1]), b.weight(c, 1, 1)])
    last = transpose(b, s.x, [0, 2, 3, 1])
    if b.opset >= 17:
        last = b.op("LayerNormalization", [last, b.weight(c), b.weight(c)], epsilon=0.01)
    else:
        last = b.op("Mul", [standardised(b, last, [-1]), b.weight(c)])
    return transpose(b, last, [0, 3, 1, 2])


@block
def attention(s: Site) -> Made:
    """Pixels look at each other: one head or two, by MatMul of activations."""
    b, c = s.b, s.x.channels
    if s.x.smallest() > 16 or any(n[2] * n[3] > 512 for n in s.x.shapes):
        return None
    tokens = transpose(b, b.reshape(s.x, [BATCH, c, Size((2, 3))], s.pick.flag()), [0, 2, 1])
    heads, width = s.pick(1, 2), 4
    names = [linear(b, tokens, width, bias=s.pick.flag(), gemm=False) for _ in range(3)]
    if heads == 2:
        names = [transpose(b, b.reshape(t, [BATCH, Size((1,)), 2, 2], True), [0, 2, 1, 3]) for t in names]
    query, key, value = names
    rank = query.rank
    swapped = transpose(b, key, [*range(rank - 2), rank - 1, rank - 2])
    scores = b.op("MatMul", [query, swapped], lambda q, k: (*q[:-1], k[-1]))
    weights = b.op("Softmax", [scores], axis=rank - 1)
    mixed = b.op("MatMul", [weights, value], lambda w, v: (*w[:-1], v[-1]))
    if heads == 2:
        mixed = b.reshape(transpose(b, mixed, [0, 2, 1, 3]), [BATCH, Size((1,)), 4], True)
    out = linear(b, mixed, c, bias=s.pick.flag(), gemm=False)
    return b.op("Add", [s.x, b.reshape(transpose(b, out, [0, 2, 1]), [BATCH, c, HEIGHT, WIDTH], like=s.x)])


@block
def gram(s: Site) -> Made:
    """Channels look at each other, which keeps them all."""
    b, c = s.b, s.x.channels
    flat = b.op("Tanh", [b.reshape(s.x, [BATCH, c, Size((2, 3))])])
    swapped = transpose(b, flat, [0, 2, 1])
    scores = b.op("MatMul", [flat, swapped], lambda q, k: (*q[:-1], k[-1]))
    mixed = b.op("MatMul", [b.op("Softmax", [scores], axis=2), flat], lambda w, v: (*w[:-1], v[-1]))
    return b.reshape(mixed, [BATCH, c, HEIGHT, WIDTH], like=s.x)


@block
def softmax(s: Site) -> Made:
    if s.b.opset < 13 and s.pick.flag():
        return s.b.op("Softmax", [s.x], axis=3)
    axis: Any = s.pick(3, 1, 2)
    return s.b.op("Softmax", [s.x], axis=axis if s.b.opset >= 13 else 3)


@block
def tied_linear(s: Site) -> Made:
    """Over the channels in NHWC by a weight, and back by the same weight transposed."""
    b, c = s.b, s.x.channels
    last = transpose(b, s.x, [0, 2, 3, 1])
    out = s.pick(4, 6, 1)
    weight = b.weight(c, out)
    made = b.op("Tanh", [b.op("MatMul", [last, weight], lambda n: (*n[:3], out))])
    swapped = b.node("Transpose", [weight], perm=[1, 0])[0]
    return transpose(b, b.op("MatMul", [made, swapped], lambda n: (*n[:3], c)), [0, 3, 1, 2])


@block
def einsum(s: Site) -> Made:
    b, c, out = s.b, s.x.channels, s.pick(4, 1)
    if b.opset < 12:
        return None
    kind = s.pick("bchw,oc->bohw", "bchw,co->bohw", "bchw,c->bchw", "oc,bchw->bohw")
    weight = b.weight(*((c,) if kind == "bchw,c->bchw" else (c, out) if ",co" in kind else (out, c)))
    operands = [weight, s.x] if kind.startswith("oc") else [s.x, weight]
    return b.op("Einsum", operands, lambda n: n if kind == "bchw,c->bchw" else (n[0], out, *n[2:]), equation=kind)


@block
def neighbours(s: Site) -> Made:
    """Operators that mix neighbouring or all channels."""
    b, axis = s.b, s.pick(1, 2)
    kind = s.pick("LRN", "LpNormalization", "MeanVarianceNormalization", "CumSum")
    if kind == "LRN":
        return b.op("LRN", [s.x], size=3)
    if kind == "MeanVarianceNormalization" and b.opset >= 9 and s.x.smallest() > 1:
        return b.op("MeanVarianceNormalization", [s.x], axes=s.pick([0, 2, 3], [2, 3], [1, 2, 3]))
    if kind == "CumSum" and b.opset >= 11:
        return b.op("Tanh", [b.op("CumSum", [s.x, b.constant(np.array(axis, dtype=np.int64))])])
    return b.op("LpNormalization", [s.x], axis=axis)


@block
def recurrent(s: Site) -> Made:
    """The mean over the height as a sequence along the width."""
    b, c, hidden = s.b, s.x.channels, s.pick(4, 3)
    if s.x.smallest() > 16:
        return None
    rows = transpose(b, reduced(b, "ReduceMean", s.x, [2], keep=False), [2, 0, 1])
    kind, gates = s.pick(("GRU", 3), ("LSTM", 4), ("RNN", 1))
    weights = [b.weight(1, gates * hidden, c, scale=0.5), b.weight(1, gates * hidden, hidden, scale=0.5)]
    made = b.op(kind, [rows, *weights], lambda n: (n[0], 1, n[1], hidden), hidden_size=hidden)
    name = b.with_axes("Squeeze", made.name, [1])
    tokens = transpose(b, Tensor(name, tuple((n[0], n[2], n[3]) for n in made.shapes)), [1, 2, 0])
    return Tensor(b.with_axes("Unsqueeze", tokens.name, [2]), tuple((*n[:2], 1, n[2]) for n in tokens.shapes))
