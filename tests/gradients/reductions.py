"""Reductions over any axes, in both spellings of the axes."""

from __future__ import annotations

import numpy as np
from gradient_check import GradientCase, away_from, distinct, gradient_case
from numpy.typing import NDArray

from gradients.opsets import (
    AXES_AS_ATTRIBUTE,
    AXES_AS_INPUT,
    EVERY_AXES_AS_ATTRIBUTE,
    EVERY_AXES_AS_INPUT,
    FROM_13,
    SOME,
)

OPERATORS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
SHAPE = (2, 3, 4)
AXES = {"last": ([-1], 0), "space": ([2, 1], 1), "batch": ([0], 0), "outer": ([0, 2], 0), "middle": ([1], 1)}


def _values(op: str) -> NDArray[np.float32]:
    if op == "ReduceLogSum":
        return np.abs(distinct(*SHAPE))
    return away_from((0,), *SHAPE, margin=0.4) if op == "ReduceProd" else distinct(*SHAPE)


def _with_attribute(op: str, how: str) -> GradientCase:
    axes, keepdims = AXES[how]
    opsets = EVERY_AXES_AS_ATTRIBUTE if how == "space" else AXES_AS_ATTRIBUTE
    body = f"y = {op}<axes = {axes}, keepdims = {keepdims}>(x)"
    return gradient_case(
        f"{op}-{how}-attribute", op, body, opsets=(12,) if op == "ReduceSum" else opsets, x=_values(op)
    )


def _with_input(op: str, how: str) -> GradientCase:
    axes, keepdims = AXES[how]
    opsets = EVERY_AXES_AS_INPUT if how == "space" else AXES_AS_INPUT
    body = f"y = {op}<keepdims = {keepdims}>(x, axes)"
    return gradient_case(
        f"{op}-{how}-input", op, body, opsets=FROM_13 if op == "ReduceSum" else opsets, x=_values(op), axes=axes
    )


REDUCTIONS = [
    *(_with_attribute(op, how) for op in OPERATORS for how in AXES),
    *(_with_input(op, how) for op in OPERATORS for how in AXES),
    *(
        gradient_case(f"{op}-all-{keepdims}", op, f"y = {op}<keepdims = {keepdims}>(x)", opsets=SOME, x=_values(op))
        for op in OPERATORS
        for keepdims in (0, 1)
    ),
    *(
        gradient_case(
            f"{op}-of-no-axes-{noop}",
            op,
            f"z = {op}<noop_with_empty_axes = {noop}>(x, axes) y = Mul(z, x)",
            opsets=AXES_AS_INPUT,
            x=_values(op),
            axes=np.array([], dtype=np.int64),
        )
        for op in OPERATORS
        for noop in (0, 1)
    ),
    gradient_case(
        "ReduceProd-with-a-zero", "ReduceProd", "y = ReduceProd<axes = [1]>(x)", x=[[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]
    ),
    gradient_case(
        "ReduceLogSumExp-far-from-0",
        "ReduceLogSumExp",
        "y = ReduceLogSumExp<axes = [1]>(x)",
        x=[[200.0, 199.0], [-200.0, -201.0]],
    ),
    gradient_case("ReduceL2-of-one", "ReduceL2", "y = ReduceL2<axes = [1]>(x)", x=[[2.0], [-3.0]]),
]
