"""Products in other spellings than Conv, Gemm and MatMul, and recurrent layers."""

from __future__ import annotations

from itertools import product
from typing import Any

from gradient_check import GradientCase, away_from, gradient_case, normal

from gradients.opsets import ENDS

EQUATIONS = {
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 5)),
    "bhqd,bhkd->bhqk": ((2, 2, 3, 4), (2, 2, 5, 4)),
    "nchw,cd->ndhw": ((1, 3, 2, 2), (3, 4)),
    "ij,kj": ((2, 3), (4, 3)),
    "bij,bij->bij": ((2, 3, 4), (2, 3, 4)),
    "bij,bij->ib": ((2, 3, 4), (2, 3, 4)),
    "i,j->ij": ((3,), (4,)),
    "i,i->": ((3,), (3,)),
    "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)),
    "b...j,jk->...kb": ((2, 3, 4, 2), (2, 3)),
    "...ij,jk": ((2, 3, 4), (4, 2)),
    "bij,k->bi": ((2, 3, 4), (5,)),
    "ii,ij->j": ((3, 3), (3, 2)),
    "ba->ab": ((2, 3),),
    "ba": ((2, 3),),
    "ij->": ((2, 3),),
    "ii->i": ((3, 3),),
    "ii": ((3, 3),),
    "...ij->...i": ((2, 3, 4),),
    "ab,bc,cd->ad": ((2, 3), (3, 4), (4, 2)),
    "ab,ac,ad->bcd": ((2, 3), (2, 4), (2, 2)),
}

CONTRACTIONS = [
    *(
        gradient_case(
            f"Einsum-{equation}", "Einsum", f'y = Einsum<equation = "{equation}">({", ".join("abc"[: len(shapes)])})',
            opsets=(14, 21), **{"abc"[i]: normal(*shape, seed=i) for i, shape in enumerate(shapes)},
        )
        for equation, shapes in EQUATIONS.items()
    ),
    *(
        gradient_case(
            f"CumSum-{axis}-{exclusive}-{reverse}", "CumSum",
            f"y = CumSum<exclusive = {exclusive}, reverse = {reverse}>(x, a)", opsets=ENDS, x=normal(2, 3, 4), a=axis,
        )
        for axis, exclusive, reverse in product((0, 1, -1), (0, 1), (0, 1))
    ),
    gradient_case("CumSum-vector", "CumSum", "y = CumSum(x, a)", opsets=ENDS, x=normal(4), a=0),
    *(
        gradient_case(
            f"FusedConv-{name}", "com.microsoft.FusedConv",
            f"y = com.microsoft.FusedConv<strides = [2, 1], {attributes}>({operands})",
            x=normal(1, 2, 4, 3), w=normal(2, 2, 2, 2, seed=4, scale=0.3), b=[9.0, -9.0],
            **({"z": normal(1, 2, 2, 2, seed=3)} if "z" in operands else {}),
        )
        for name, attributes, operands in (
            ("relu", 'activation = "Relu"', "x, w, b"),
            ("tanh", 'activation = "Tanh"', "x, w"),
            ("added", 'activation = "Relu"', "x, w, b, z"),
            ("leaky", 'activation = "LeakyRelu", activation_params = [0.2]', "x, w, b"),
            ("clip", 'activation = "Clip", activation_params = [-5.0, 20.0]', "x, w, b"),
            ("hard-sigmoid", 'activation = "HardSigmoid", activation_params = [0.05, 0.5]', "x, w, b"),
        )
    ),
    *(
        gradient_case(
            f"FusedGemm-{activation}", "com.microsoft.FusedGemm",
            f'y = com.microsoft.FusedGemm<transB = 1, alpha = 0.5, activation = "{activation}"{more}>(x, w, b)',
            x=normal(3, 4, scale=0.3), w=normal(2, 4, seed=1, scale=0.3), b=[0.5, -0.5],
        )
        for activation, more in (("Relu", ""), ("LeakyRelu", ", activation_alpha = 0.1"), ("Sigmoid", ""))
    ),
]  # fmt: skip


def _recurrent(op: str, gates: int, direction: str, operands: str, attributes: str = "") -> GradientCase:
    """A layer of 2 inputs and 3 hidden units on 4 steps of 2 samples."""
    count = 2 if direction == "bidirectional" else 1
    shapes = {
        "w": (count, 3 * gates, 2), "r": (count, 3 * gates, 3), "b": (count, 6 * gates), "h": (count, 2, 3),
        "c": (count, 2, 3), "p": (count, 9), "x": (4, 2, 2),
    }  # fmt: skip
    names = [name.strip() for name in operands.split(",")]
    results = ("y", "v", "u")[: 3 if op == "LSTM" else 2]
    stored: dict[str, Any] = {n: normal(*shapes[n], seed=i, scale=0.5) for i, n in enumerate(names) if n in shapes}
    length = ""
    if "l" in names:
        stored["l64"], length = [4, 4], "l = Cast<to = 6>(l64) "  # the operator takes int32
    return gradient_case(
        "-".join(part for part in (op, direction, operands.replace(", ", "").replace(",", ""), attributes) if part), op,
        f'{length}{", ".join(results)} = {op}<hidden_size = 3, direction = "{direction}"{attributes}>({operands})',
        opsets=(14, 21) if direction == "bidirectional" else (12,), outputs=" ".join(results), **stored,
    )  # fmt: skip


DIRECTIONS = ("forward", "reverse", "bidirectional")
RECURRENT = [
    *(
        _recurrent(op, gates, direction, operands)
        for (op, gates), direction in product({"RNN": 1, "GRU": 3, "LSTM": 4}.items(), DIRECTIONS)
        for operands in ("x, w, r", "x, w, r, b, l", "x, w, r, , , h")
    ),
    *(_recurrent("LSTM", 4, direction, "x, w, r, b, , h, c, p") for direction in DIRECTIONS),
    *(
        _recurrent("GRU", 3, direction, operands, ", linear_before_reset = 1")
        for direction, operands in product(DIRECTIONS, ("x, w, r", "x, w, r, b, , h"))
    ),
    _recurrent("LSTM", 4, "forward", "x, w, r, b", ', activations = ["Tanh", "Sigmoid", "Sigmoid"]'),
    _recurrent("GRU", 3, "bidirectional", "x, w, r, b", ', activations = ["Sigmoid", "Tanh", "Tanh", "Sigmoid"]'),
    gradient_case(
        "RNN-relu", "RNN", 'y = RNN<hidden_size = 2, activations = ["Relu"]>(x, w, r)', opsets=(14, 21),
        x=away_from([], 3, 1, 2, seed=3) + 2, w=normal(1, 2, 2, seed=1) ** 2, r=normal(1, 2, 2, seed=2) ** 2,
    ),
    gradient_case(
        "LSTM-computed-weight", "LSTM", "m = Mul(w, v) y = LSTM<hidden_size = 3>(x, m, r)", opsets=(14, 21),
        x=normal(3, 2, 2), w=normal(1, 12, 2, seed=1), v=normal(1, 1, 2, seed=2), r=normal(1, 12, 3, seed=3),
    ),
    gradient_case(
        "LSTM-last-only", "LSTM", "u, y = LSTM<hidden_size = 3>(x, w, r)", opsets=(14, 21),
        x=normal(1, 2, 2), w=normal(1, 12, 2, seed=1), r=normal(1, 12, 3, seed=3),
    ),
]  # fmt: skip
