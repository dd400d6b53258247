"""Operators that join several tensors, element by element with broadcasting."""

from __future__ import annotations

import numpy as np
from gradient_check import away_from, between, distinct, gradient_case, normal

from gradients.opsets import ALL, SOME

# Shapes of two operands: equal, a channel vector, both stretched, another rank, a scalar.
BROADCASTS = {
    "equal": ((2, 3, 4), (2, 3, 4)),
    "channels": ((2, 3, 4), (3, 1)),
    "both": ((2, 1, 4), (3, 1)),
    "rank-4": ((4,), (2, 1, 3, 1)),
    "scalar": ((2, 3), ()),
}


def _opsets(how: str) -> tuple[int, ...]:
    return ALL if how == "channels" else SOME


JOINING = [
    *(
        gradient_case(f"{op}-{how}", op, f"y = {op}(a, b)", opsets=_opsets(how), a=normal(*a), b=normal(*b, seed=1))
        for op in ("Add", "Sub", "Mul", "Sum", "Mean")
        for how, (a, b) in BROADCASTS.items()
    ),
    *(
        gradient_case(
            f"Div-{how}", "Div", "y = Div(a, b)", opsets=_opsets(how), a=normal(*a), b=between(0.5, 2, *b, seed=1)
        )
        for how, (a, b) in BROADCASTS.items()
    ),
    *(
        gradient_case(
            f"Pow-{how}", "Pow", "y = Pow(a, b)", opsets=_opsets(how), a=between(0.5, 2, *a), b=normal(*b, seed=1)
        )
        for how, (a, b) in BROADCASTS.items()
    ),
    *(
        gradient_case(
            f"Pow-constant-{exponent}",
            "Pow",
            "y = Pow(a, b)",
            opsets=SOME,
            fixed="b",
            a=away_from((0,), 2, 3, margin=0.4),
            b=exponent,
        )
        for exponent in (1.0, 2.0, 3.0, -1.0, 4.0)
    ),
    *(
        gradient_case(
            f"Pow-root-{exponent}", "Pow", "y = Pow(a, b)", opsets=SOME, fixed="b", a=between(0.5, 2, 2, 3), b=exponent
        )
        for exponent in (0.5, -0.5, 1.7)
    ),
    gradient_case("Pow-integer-exponent", "Pow", "y = Pow(a, b)", opsets=SOME, a=away_from((0,), 2, 3), b=3),
    *(
        gradient_case(
            f"{op}-{how}",
            op,
            f"y = {op}(a, b)",
            opsets=_opsets(how),
            a=distinct(*a),
            b=distinct(*b, seed=1) + np.float32(0.1),
        )
        for op in ("Max", "Min")
        for how, (a, b) in BROADCASTS.items()
    ),
    *(
        gradient_case(f"{op}-of-one", op, f"y = {op}(a)", opsets=SOME, a=normal(2, 3))
        for op in ("Max", "Min", "Sum", "Mean")
    ),
    *(
        gradient_case(
            f"{op}-of-three",
            op,
            f"y = {op}(a, b, c)",
            opsets=SOME,
            a=distinct(2, 3, 4),
            b=distinct(3, 1, seed=1) + np.float32(0.1),
            c=distinct(1, seed=2) + np.float32(0.05),
        )
        for op in ("Max", "Min", "Sum", "Mean")
    ),
    *(
        gradient_case(
            f"PRelu-{how}",
            "PRelu",
            "y = PRelu(x, slope)",
            opsets=_opsets(how),
            x=away_from((0,), 2, 3, 4),
            slope=normal(*shape, seed=1),
        )
        for how, shape in {"channels": (3, 1), "one": (1,), "all": (2, 3, 4), "last": (4,), "rank-3": (1, 3, 1)}.items()
    ),
    gradient_case(
        "Pow-exponent-per-channel",
        "Pow",
        "y = Pow(a, b)",
        opsets=SOME,
        fixed="b",
        a=between(0.5, 2, 2, 3),
        b=[0.5, 2.0, -1.5],
    ),
    gradient_case(
        "Pow-exponent-of-rank-3", "Pow", "y = Pow(a, b)", opsets=SOME, fixed="b", a=away_from((0,), 2, 3), b=[[[2.0]]]
    ),
    gradient_case(
        "Pow-equal-exponents", "Pow", "y = Pow(a, b)", opsets=SOME, fixed="b", a=away_from((0,), 2, 1), b=[3.0, 3.0]
    ),
    gradient_case("Pow-constant-base", "Pow", "y = Pow(a, b)", opsets=SOME, fixed="a", a=2.0, b=normal(2, 3)),
    *(
        gradient_case(f"{op}-of-itself", op, f"y = {op}(a, a)", opsets=SOME, a=between(0.5, 2, 3, 3))
        for op in ("Mul", "Add", "Div", "Sum", "Mean", "Pow", "MatMul")
    ),
    gradient_case("Max-of-equal", "Max", "y = Max(a, a)", opsets=SOME, a=normal(2, 3)),
    gradient_case("Min-of-equal", "Min", "y = Min(a, a)", opsets=SOME, a=normal(2, 3)),
    gradient_case(
        "Mod", "Mod", "y = Mod<fmod = 1>(a, b)", opsets=ALL, a=normal(2, 3) * 3, b=between(0.8, 1.2, 3, seed=1)
    ),
    gradient_case(
        "Where", "Where", "y = Where(c, a, b)", opsets=ALL, c=normal(2, 3, 1) > 0, a=normal(3, 4), b=normal(1, seed=1)
    ),
    gradient_case(
        "Where-computed",
        "Where Greater",
        "c = Greater(a, b) y = Where(c, a, b)",
        opsets=SOME,
        a=distinct(2, 3, 4),
        b=distinct(4, seed=1) + np.float32(0.1),
    ),
]
