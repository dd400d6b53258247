"""Operators that join several tensors, element by element with broadcasting."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.training.decompositions.elementwise import whole_part
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_SMALLEST = 1e-37  # base of a power under a logarithm, which has no value at 0


@decomposition("Sum")
def add_all(site: Site) -> str:
    """One Add after the other."""
    return _total(site)


@decomposition("Mean")
def mean(site: Site) -> str:
    """The sum, divided by the number of operands."""
    return site.emit("Mul", _total(site), site.constant(1 / len(site.node.input)))


@decomposition("Pow")
def power(site: Site) -> str | None:
    """`exp(exponent * log(base))` where the exponent is not one constant; the base must not be negative then.

    The runtime differentiates by the base alone, and takes one exponent of the base's type and no higher rank.
    """
    exponent = site.value(1)
    if exponent is not None and np.all(exponent == exponent.flat[0]):
        if exponent.size == 1 and exponent.ndim <= len(site.shape()) and exponent.dtype == np.float32:
            return None
        same = site.emit("Pow", site.operand(0), site.constant(exponent.flat[0]))
        return site.emit("Expand", same, site.integers(site.shapes[site.node.output[0]]))
    base = site.emit("Clip", site.operand(0), site.constant(_SMALLEST))
    factor = site.operand(1) if exponent is None else site.constant(exponent)
    return site.emit("Exp", site.emit("Mul", site.emit("Log", base), factor))


@decomposition("Mod")
def remainder(site: Site) -> str | None:
    """`a - b * (the whole part of a / b)`, for fmod=1; without, the operator takes integers only."""
    if not site.attribute("fmod", 0):
        return None
    whole = whole_part(site, site.emit("Div", site.operand(0), site.operand(1)))
    return site.emit("Sub", site.operand(0), site.emit("Mul", whole, site.operand(1)))


def _total(site: Site) -> str:
    total = site.operand(0)
    for name in site.node.input[1:]:
        total = site.emit("Add", total, name)
    return total
