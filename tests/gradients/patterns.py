"""Groups of nodes that the runtime fuses into one operator before it differentiates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradient_check import GradientCase, between, distinct, gradient_case, normal

from gradients.opsets import AXES_AS_ATTRIBUTE, AXES_AS_INPUT

X, W = normal(2, 3, 4), normal(4, seed=1)
CONSTANTS = {"two": 2.0, "half": 0.5, "one": 1.0, "eps": 0.01, "root": 1.4142135, "bend": 0.044715, "slope": 0.7978846}
NORM = "d = Sub(x, m) p = Pow(d, two) v = ReduceMean{axes}(p{operand}) e = Add(v, eps) s = Sqrt(e) n = Div(d, s) z = Mul(n, w)"
RMS = "p = Pow(x, two) v = ReduceMean{axes}(p{operand}) e = Add(v, eps) s = Sqrt(e) n = Div(x, s) y = Mul(n, w)"
OLD, NEW = {"axes": "<axes = [-1]>", "operand": ""}, {"axes": "", "operand": ", last"}


def pattern(name: str, body: str, opsets: Sequence[int] = (14, 18, 21), **stored: Any) -> GradientCase:
    """A case; `CONSTANTS` that the body names are stored."""
    read = {
        k: v for k, v in CONSTANTS.items() if k in body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    }
    return gradient_case(name, "", body, opsets=opsets, fixed=" ".join(read), **stored, **read)


PATTERNS = [
    *(
        pattern(
            f"layer-norm-{opsets[0]}",
            f"m = ReduceMean{how['axes']}(x{how['operand']}) {NORM.format(**how)} y = Add(z, b)",
            opsets,
            x=X,
            w=W,
            b=normal(4, seed=2),
            last=[-1],
        )
        for how, opsets in ((OLD, AXES_AS_ATTRIBUTE), (NEW, AXES_AS_INPUT))
    ),
    *(
        pattern(
            f"layer-norm-without-bias-{opsets[0]}",
            f"m = ReduceMean{how['axes']}(x{how['operand']}) {NORM.format(**how)} y = Tanh(z)",
            opsets,
            x=X,
            w=W,
            last=[-1],
        )
        for how, opsets in ((OLD, AXES_AS_ATTRIBUTE), (NEW, AXES_AS_INPUT))
    ),
    *(
        pattern(f"root-mean-square-norm-{opsets[0]}", RMS.format(**how), opsets, x=X, w=W, last=[-1])
        for how, opsets in ((OLD, AXES_AS_ATTRIBUTE), (NEW, AXES_AS_INPUT))
    ),
    pattern("gelu", "a = Div(x, root) e = Erf(a) f = Add(e, one) g = Mul(x, f) y = Mul(g, half)", x=X),
    pattern(
        "gelu-after-bias",
        "t = Add(x, b) a = Div(t, root) e = Erf(a) f = Add(e, one) g = Mul(t, f) y = Mul(g, half)",
        x=X,
        b=W,
    ),
    pattern(
        "fast-gelu",
        "p = Pow(x, three) q = Mul(p, bend) r = Add(x, q) s = Mul(r, slope) t = Tanh(s) u = Add(t, one) v = Mul(x, half) y = Mul(v, u)",
        x=X,
        three=3,
    ),
    pattern("quick-gelu", "a = Mul(x, root) s = Sigmoid(a) y = Mul(x, s)", x=X),
    pattern("silu", "s = Sigmoid(x) y = Mul(x, s)", x=X),
    pattern(
        "matmul-and-bias", "p = MatMul(x, w) y = Add(p, b)", x=normal(3, 4), w=normal(4, 5, seed=1), b=normal(5, seed=2)
    ),
    pattern(
        "matmul-transposed-and-scaled",
        "t = Transpose<perm = [0, 2, 1]>(w) p = MatMul(x, t) y = Mul(p, half)",
        x=X,
        w=normal(2, 5, 4, seed=1),
    ),
    pattern(
        "matmul-transposed-twice",
        "t = Transpose<perm = [0, 2, 1]>(x) p = MatMul(t, w) u = Transpose<perm = [0, 2, 1]>(p) y = Div(u, root)",
        x=X,
        w=normal(2, 3, 5, seed=1),
    ),
    pattern("softmax-with-bias", "t = Add(x, b) y = Softmax<axis = -1>(t)", x=X, b=normal(2, 1, 4, seed=1)),
    pattern(
        "attention",
        "k = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, k) q = Div(s, root) p = Softmax<axis = -1>(q) y = MatMul(p, x)",
        x=X,
    ),
    pattern(
        "not-where", "g = Greater(x, w) n = Not(g) y = Where(n, x, z)", x=distinct(2, 3, 4), w=normal(4, seed=1), z=X
    ),
    pattern(
        "conv-and-bias",
        "c = Conv(x, w) y = Add(c, b)",
        x=normal(2, 3, 4, 4),
        w=normal(4, 3, 2, 2, seed=1),
        b=normal(4, 1, 1, seed=2),
    ),
    pattern("conv-and-relu", "c = Conv(x, w) y = Relu(c)", x=between(1, 2, 2, 3, 4, 4), w=between(0.1, 1, 4, 3, 2, 2)),
    pattern(
        "pad-and-conv",
        "p = Pad(x, pads) y = Conv(p, w)",
        x=normal(2, 3, 4, 4),
        w=normal(4, 3, 2, 2, seed=1),
        pads=[0, 0, 1, 1, 0, 0, 2, 1],
    ),
    pattern(
        "scalar-gathers",
        "u = Gather<axis = 1>(x, i) v = Gather<axis = 1>(x, j) w = Gather<axis = 1>(x, k) p = Mul(u, v) y = Add(p, w)",
        x=X,
        i=0,
        j=1,
        k=2,
    ),
    pattern(
        "weight-norm",
        "q = Mul(w, w) s = ReduceSum<keepdims = 1>(q, axes) r = Sqrt(s) n = Div(w, r) v = Mul(n, g) y = Conv(x, v)",
        x=normal(2, 3, 4, 4),
        w=normal(4, 3, 2, 2, seed=1),
        g=normal(4, 1, 1, 1, seed=2),
        axes=[1, 2, 3],
    ),
    pattern("decomposed-then-read-twice", "h = HardSwish(x) y = Mul(h, h)", x=between(-2, 2, 2, 3)),
    pattern("cast-then-read-twice", "t = Tanh(x) d = Cast<to = 1>(t) y = Mul(d, d)", x=X),
    pattern("dropout-then-read-twice", "t = Tanh(x) d = Dropout(t) y = Mul(d, d)", x=X),
    pattern("reshape-chain", "a = Reshape(x, s) b = Reshape(a, t) y = Mul(b, b)", x=X, s=[6, 4], t=[3, 8]),
    pattern("squeeze-unsqueeze", "a = Unsqueeze(x, i) b = Squeeze(a, i) y = Mul(a, a)", x=X, i=[1]),
]
