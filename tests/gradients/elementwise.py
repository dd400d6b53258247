"""Operators on one tensor, element by element."""

from __future__ import annotations

import numpy as np
from gradient_check import GradientCase, away_from, between, gradient_case, normal

from gradients.opsets import ALL, FROM_14, FROM_18, FROM_20, SOME

SHAPE = (2, 3, 4)


def unary(op: str, *, kinks: tuple[float, ...] = (), attributes: str = "", name: str = "") -> GradientCase:
    """An operator on normal values, in every opset."""
    body = f"y = {op}<{attributes}>(x)" if attributes else f"y = {op}(x)"
    return gradient_case(name or op, op, body, opsets=SOME if attributes else ALL, x=away_from(kinks, *SHAPE))


SMOOTH = ("Asinh", "Atan", "Cos", "Cosh", "Erf", "Exp", "Identity", "Neg", "Sigmoid", "Sin", "Sinh", "Softplus", "Tanh")
KINKED = ("Abs", "Celu", "Elu", "LeakyRelu", "Relu", "Selu", "Softsign")
STEPS = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
HALVES = tuple(step + 0.5 for step in (-5.0, *STEPS))

ELEMENTWISE = [
    *(unary(op) for op in SMOOTH),
    *(unary(op, kinks=(0,)) for op in KINKED),
    unary("Celu", kinks=(0,), attributes="alpha = 2.5", name="Celu-alpha"),
    unary("Elu", kinks=(0,), attributes="alpha = 0.3", name="Elu-alpha"),
    unary("LeakyRelu", kinks=(0,), attributes="alpha = 0.3", name="LeakyRelu-alpha"),
    unary("Selu", kinks=(0,), attributes="alpha = 1.2, gamma = 0.7", name="Selu-attributes"),
    unary("HardSigmoid", kinks=(-2.5, 2.5)),
    unary("HardSigmoid", kinks=(-0.75, 1.75), attributes="alpha = 0.4, beta = 0.3", name="HardSigmoid-attributes"),
    unary("ThresholdedRelu", kinks=(1,)),
    unary("ThresholdedRelu", kinks=(-0.5,), attributes="alpha = -0.5", name="ThresholdedRelu-alpha"),
    unary("Shrink", kinks=(-0.5, 0.5)),
    unary("Shrink", kinks=(-0.8, 0.8), attributes="bias = 0.3, lambd = 0.8", name="Shrink-attributes"),
    *(
        gradient_case(op, op, f"s = {op}(x) y = Mul(s, x)", opsets=ALL, x=away_from(kinks, *SHAPE, scale=2.0))
        for op, kinks in {"Sign": (0.0,), "Ceil": STEPS, "Floor": STEPS, "Round": HALVES}.items()
    ),
    *(  # exp(200) is more than single precision holds
        gradient_case(f"{op}-far-from-0", op, f"y = {op}(x)", opsets=(18,), x=[-200.0, -30.0, 30.0, 200.0])
        for op in ("Celu", "Elu", "HardSwish", "Mish", "Selu", "Softplus", "Softsign")
    ),
    *(  # smooth at 0, where Relu has no slope
        gradient_case(f"{op}-at-0", op, f"y = {op}(x)", opsets=(18,), x=np.zeros(3))
        for op in ("Atan", "Asin", "Celu", "Elu", "HardSwish", "Mish", "Softplus", "Softsign", "Tanh", "Asinh")
    ),
    gradient_case("Log", "Log", "y = Log(x)", opsets=ALL, x=between(0.3, 3, *SHAPE)),
    gradient_case("Sqrt", "Sqrt", "y = Sqrt(x)", opsets=ALL, x=between(0.3, 3, *SHAPE)),
    gradient_case("Reciprocal", "Reciprocal", "y = Reciprocal(x)", opsets=ALL, x=away_from((0,), *SHAPE, margin=0.4)),
    gradient_case("Tan", "Tan", "y = Tan(x)", opsets=ALL, x=between(-1.2, 1.2, *SHAPE)),
    *(
        gradient_case(op, op, f"y = {op}(x)", opsets=ALL, x=between(-0.9, 0.9, *SHAPE))
        for op in ("Acos", "Asin", "Atanh")
    ),
    gradient_case("Acosh", "Acosh", "y = Acosh(x)", opsets=ALL, x=between(1.2, 5, *SHAPE)),
    gradient_case("HardSwish", "HardSwish", "y = HardSwish(x)", opsets=FROM_14, x=away_from((-3, 3), *SHAPE)),
    gradient_case("Mish", "Mish", "y = Mish(x)", opsets=FROM_18, x=normal(*SHAPE)),
    gradient_case("Gelu", "Gelu", "y = Gelu(x)", opsets=FROM_20, x=normal(*SHAPE)),
    gradient_case("Gelu-tanh", "Gelu", 'y = Gelu<approximate = "tanh">(x)', opsets=FROM_20, x=normal(*SHAPE)),
    gradient_case("Gelu-microsoft", "com.microsoft.Gelu", "y = com.microsoft.Gelu(x)", x=normal(*SHAPE)),
    gradient_case(
        "BiasGelu", "com.microsoft.BiasGelu", "y = com.microsoft.BiasGelu(x, b)", x=normal(*SHAPE), b=normal(4, seed=1)
    ),
    gradient_case("FastGelu", "com.microsoft.FastGelu", "y = com.microsoft.FastGelu(x)", x=normal(*SHAPE)),
    gradient_case(
        "FastGelu-bias",
        "com.microsoft.FastGelu",
        "y = com.microsoft.FastGelu(x, b)",
        x=normal(*SHAPE),
        b=normal(4, seed=1),
    ),
    gradient_case("QuickGelu", "com.microsoft.QuickGelu", "y = com.microsoft.QuickGelu(x)", x=normal(*SHAPE)),
    gradient_case(
        "QuickGelu-alpha", "com.microsoft.QuickGelu", "y = com.microsoft.QuickGelu<alpha = 1.0>(x)", x=normal(*SHAPE)
    ),
    gradient_case(
        "Clip",
        "Clip",
        "y = Clip(x, lo, hi)",
        opsets=ALL,
        fixed="lo hi",
        x=away_from((-0.5, 1), *SHAPE),
        lo=-0.5,
        hi=1.0,
    ),
    gradient_case(
        "Clip-low", "Clip", "y = Clip(x, lo)", opsets=SOME, fixed="lo", x=away_from((-0.5,), *SHAPE), lo=-0.5
    ),
    gradient_case("Clip-high", "Clip", "y = Clip(x, , hi)", opsets=SOME, fixed="hi", x=away_from((1,), *SHAPE), hi=1.0),
    gradient_case("Clip-without-bounds", "Clip", "y = Clip(x)", opsets=SOME, x=normal(*SHAPE)),
    gradient_case(
        "Cast", "Cast", "d = Cast<to = 11>(x) z = Mul(d, d) y = Cast<to = 1>(z)", opsets=ALL, x=normal(*SHAPE)
    ),
    gradient_case(
        "Cast-to-integers", "Cast", "i = Cast<to = 7>(x) f = Cast<to = 1>(i) y = Mul(f, x)", x=away_from(STEPS, *SHAPE)
    ),
    *(
        gradient_case(
            f"{op}-of-a-weight",
            op,
            f"s = {op}(w) y = Mul(s, x)",
            opsets=SOME,
            x=normal(2, 3),
            w=away_from((*STEPS, *HALVES), 3, seed=1),
        )
        for op in ("Sign", "Round")
    ),
    gradient_case("CastLike", "CastLike", "y = CastLike(x, w)", opsets=(15, 19, 21), x=normal(*SHAPE), w=normal(2)),
    gradient_case("Dropout", "Dropout", "y = Dropout(x)", opsets=ALL, x=normal(*SHAPE)),
]
