"""Activations and other operators on one tensor, element by element.

Where a function is smooth at 0, its spelling has the right slope there too: zeros are common behind padding and masks.
`Relu` has slope 0 at 0, so `x - Relu(x)`, the negative part, has slope 1.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from onnx_dnscp.training.decompositions.registry import Site, decomposition

_GELU_CUBE = 0.044715  # of the approximation with tanh, as the operator defines it
_SELU_ALPHA = 1.67326319217681884765625  # the operator's defaults
_SELU_GAMMA = 1.05070102214813232421875
_ATAN_TERMS = 6  # of the series; with three halvings |t| < 0.2, and what is left out is below 1e-10


@decomposition("HardSigmoid")
def hard_sigmoid(site: Site) -> str:
    """clip(alpha * x + beta, 0, 1)."""
    return _ramp(site, site.attribute("alpha", 0.2), site.attribute("beta", 0.5))


@decomposition("HardSwish")
def hard_swish(site: Site) -> str:
    """`x * clip(x / 6 + 1 / 2, 0, 1)`."""
    return site.emit("Mul", site.operand(0), _ramp(site, 1 / 6, 0.5))


@decomposition("Elu")
def elu(site: Site) -> str:
    """max(x, 0) + alpha * (exp(min(x, 0)) - 1)."""
    return _exponential_unit(site, alpha=site.attribute("alpha", 1.0))


@decomposition("Celu")
def celu(site: Site) -> str:
    """max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)."""
    alpha = site.attribute("alpha", 1.0)
    return _exponential_unit(site, alpha=alpha, scale=1 / alpha)


@decomposition("Selu")
def selu(site: Site) -> str:
    """`gamma * (max(x, 0) + alpha * (exp(min(x, 0)) - 1))`."""
    unit = _exponential_unit(site, alpha=site.attribute("alpha", _SELU_ALPHA))
    return site.emit("Mul", unit, site.constant(site.attribute("gamma", _SELU_GAMMA)))


@decomposition("PRelu")
def prelu(site: Site) -> str:
    """max(x, 0) + slope * min(x, 0); the slope may learn, and stretches to the shape of x."""
    positive, negative = _parts(site)
    return site.emit("Add", positive, site.emit("Mul", negative, site.operand(1)))


@decomposition("ThresholdedRelu")
def thresholded_relu(site: Site) -> str:
    """`x` where x > alpha, else 0."""
    above = site.emit("Greater", site.operand(0), site.constant(site.attribute("alpha", 1.0)))
    return site.emit("Where", above, site.operand(0), site.constant(0.0))


@decomposition("Shrink")
def shrink(site: Site) -> str:
    """`x + bias` below -lambd, x - bias above lambd, else 0."""
    x, bias, limit = site.operand(0), site.attribute("bias", 0.0), site.attribute("lambd", 0.5)
    above, below = site.emit("Greater", x, site.constant(limit)), site.emit("Less", x, site.constant(-limit))
    low = site.emit("Where", below, site.emit("Add", x, site.constant(bias)), site.constant(0.0))
    return site.emit("Where", above, site.emit("Sub", x, site.constant(bias)), low)


@decomposition("Softplus")
def softplus(site: Site) -> str:
    """log(1 + exp(x)); see `_log_one_plus_exp`."""
    return _log_one_plus_exp(site)


@decomposition("Mish")
def mish(site: Site) -> str:
    """`x * tanh(log(1 + exp(x)))`."""
    return site.emit("Mul", site.operand(0), site.emit("Tanh", _log_one_plus_exp(site)))


@decomposition("Softsign")
def softsign(site: Site) -> str:
    """`x / (1 + |x|)`."""
    size = site.emit("Abs", site.operand(0))
    return site.emit("Div", site.operand(0), site.emit("Add", size, site.constant(1.0)))


@decomposition("Gelu")
def gelu(site: Site) -> str | None:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.

    The runtime's gradient is that of the exact form whatever `approximate` says; that form stays as it is.
    """
    if site.attribute("approximate", "none") == "none":
        return None
    x = site.operand(0)
    cube = site.emit("Mul", site.emit("Mul", x, x), x)
    bent = site.emit("Add", x, site.emit("Mul", cube, site.constant(_GELU_CUBE)))
    step = site.emit("Tanh", site.emit("Mul", bent, site.constant(math.sqrt(2 / math.pi))))
    return site.emit("Mul", site.emit("Mul", x, site.constant(0.5)), site.emit("Add", step, site.constant(1.0)))


@decomposition("Sign")
def sign(site: Site) -> str:
    """(x > 0) - (x < 0); comparisons have no gradient."""
    return _sign(site, site.operand(0))


@decomposition("Floor")
def floor(site: Site) -> str:
    """The whole part, less 1 where that is above x."""
    whole = whole_part(site, site.operand(0))
    return site.emit("Sub", whole, _as_float(site, site.emit("Greater", whole, site.operand(0))))


@decomposition("Ceil")
def ceil(site: Site) -> str:
    """The whole part, plus 1 where that is below x."""
    whole = whole_part(site, site.operand(0))
    return site.emit("Add", whole, _as_float(site, site.emit("Less", whole, site.operand(0))))


@decomposition("Round")
def round_half_to_even(site: Site) -> str:
    """The whole part, one further from 0 where the rest is above 1/2, or 1/2 and the whole part odd."""
    x, half = site.operand(0), site.constant(0.5)
    whole = whole_part(site, x)
    rest = site.emit("Abs", site.emit("Sub", x, whole))
    pair = whole_part(site, site.emit("Mul", whole, half))
    odd = site.emit("Not", site.emit("Equal", site.emit("Add", pair, pair), whole))
    tie = site.emit("And", site.emit("Equal", rest, half), odd)
    further = _as_float(site, site.emit("Or", site.emit("Greater", rest, half), tie))
    return site.emit("Add", whole, site.emit("Mul", further, _sign(site, x)))


@decomposition("Tan")
def tan(site: Site) -> str:
    """`sin(x) / cos(x)`."""
    return site.emit("Div", site.emit("Sin", site.operand(0)), site.emit("Cos", site.operand(0)))


@decomposition("Sinh")
def sinh(site: Site) -> str:
    """(exp(x) - exp(-x)) / 2."""
    return _half(site, "Sub", *_exponentials(site))


@decomposition("Cosh")
def cosh(site: Site) -> str:
    """(exp(x) + exp(-x)) / 2."""
    return _half(site, "Add", *_exponentials(site))


@decomposition("Asinh")
def asinh(site: Site) -> str:
    """log(|x| + sqrt(x^2 + 1)) with the sign of x: no cancellation for negative x.

    At 0 the lower branch counts, where |x| has the slope -1.
    """
    x = site.operand(0)
    size = site.emit("Sub", *_parts(site))
    root = site.emit("Sqrt", site.emit("Add", site.emit("Mul", x, x), site.constant(1.0)))
    upright = site.emit("Log", site.emit("Add", size, root))
    return site.emit("Where", site.emit("Greater", x, site.constant(0.0)), upright, site.emit("Neg", upright))


@decomposition("Acosh")
def acosh(site: Site) -> str:
    """log(x + sqrt(x^2 - 1))."""
    x = site.operand(0)
    root = site.emit("Sqrt", site.emit("Sub", site.emit("Mul", x, x), site.constant(1.0)))
    return site.emit("Log", site.emit("Add", x, root))


@decomposition("Atanh")
def atanh(site: Site) -> str:
    """log((1 + x) / (1 - x)) / 2."""
    x, one = site.operand(0), site.constant(1.0)
    return _half(site, "Sub", *(site.emit("Log", site.emit(op, one, x)) for op in ("Add", "Sub")))


@decomposition("Atan")
def atan(site: Site) -> str:
    """See `_arc_tangent`."""
    return _arc_tangent(site, site.operand(0), halvings=3)


@decomposition("Asin")
def asin(site: Site) -> str:
    """2 * atan(x / (1 + sqrt(1 - x^2)))."""
    return _arc_sine(site)


@decomposition("Acos")
def acos(site: Site) -> str:
    """`pi / 2 - asin(x)`."""
    return site.emit("Sub", site.constant(math.pi / 2), _arc_sine(site))


def whole_part(site: Site, x: str) -> str:
    """Write the rounding of x towards 0, through integers, which stop gradients; |x| < 2^63."""
    return _as_float(site, site.emit("Cast", x, to=TensorProto.INT64))


def _as_float(site: Site, x: str) -> str:
    return site.emit("Cast", x, to=TensorProto.FLOAT)


def _sign(site: Site, x: str) -> str:
    zero = site.constant(0.0)
    return site.emit("Sub", *(_as_float(site, site.emit(op, x, zero)) for op in ("Greater", "Less")))


def _parts(site: Site) -> tuple[str, str]:
    """max(x, 0) and min(x, 0), of slope 0 and 1 at 0."""
    positive = site.emit("Relu", site.operand(0))
    return positive, site.emit("Sub", site.operand(0), positive)


def _ramp(site: Site, slope: float, offset: float) -> str:
    """clip(slope * x + offset, 0, 1)."""
    scaled = site.emit("Mul", site.operand(0), site.constant(slope))
    shifted = site.emit("Add", scaled, site.constant(offset))
    return site.emit("Clip", shifted, site.constant(0.0), site.constant(1.0))


def _exponential_unit(site: Site, *, alpha: float, scale: float = 1.0) -> str:
    """max(x, 0) + alpha * (exp(scale * min(x, 0)) - 1)."""
    positive, negative = _parts(site)
    if scale != 1:
        negative = site.emit("Mul", negative, site.constant(scale))
    bent = site.emit("Sub", site.emit("Exp", negative), site.constant(1.0))
    return site.emit("Add", positive, site.emit("Mul", bent, site.constant(alpha)))


def _log_one_plus_exp(site: Site) -> str:
    """max(x, 0) + log(1 + exp(-|x|)), which cannot overflow; -|x| is min(x, 0) - max(x, 0), of slope 1 at 0."""
    positive, negative = _parts(site)
    falling = site.emit("Exp", site.emit("Sub", negative, positive))
    return site.emit("Add", positive, site.emit("Log", site.emit("Add", falling, site.constant(1.0))))


def _exponentials(site: Site) -> tuple[str, str]:
    return site.emit("Exp", site.operand(0)), site.emit("Exp", site.emit("Neg", site.operand(0)))


def _half(site: Site, op_type: str, a: str, b: str) -> str:
    return site.emit("Mul", site.emit(op_type, a, b), site.constant(0.5))


def _arc_sine(site: Site) -> str:
    x, one = site.operand(0), site.constant(1.0)
    square = site.emit("Mul", site.emit("Sub", one, x), site.emit("Add", one, x))
    lower = site.emit("Add", site.emit("Sqrt", square), one)
    return _arc_tangent(site, site.emit("Div", x, lower), halvings=2, doublings=1)


def _arc_tangent(site: Site, x: str, *, halvings: int, doublings: int = 0) -> str:
    """Write 2^doublings * atan(x).

    The runtime differentiates no inverse of a trigonometric function. atan(x) = 2 * atan(x / (1 + sqrt(1 + x^2)))
    brings x near 0, where t - t^3 / 3 + t^5 / 5 - ... converges fast.

    Source: Abramowitz and Stegun 1964, 4.4.42 (the series) and 4.4.34 with equal arguments (the halving).
    """
    one = site.constant(1.0)
    for _ in range(halvings):
        root = site.emit("Sqrt", site.emit("Add", site.emit("Mul", x, x), one))
        x = site.emit("Div", x, site.emit("Add", root, one))
    square = site.emit("Mul", x, x)
    factors = [(-1) ** k / (2 * k + 1) for k in range(_ATAN_TERMS)]
    total = site.constant(factors[-1])
    for factor in reversed(factors[:-1]):
        total = site.emit("Add", site.emit("Mul", total, square), site.constant(factor))
    scale = site.constant(np.exp2(halvings + doublings))
    return site.emit("Mul", site.emit("Mul", x, scale), total)
