"""Activations that other operators carry as an attribute."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_dnscp.training.decompositions.registry import Site

PLAIN = frozenset({"Relu", "Sigmoid", "Tanh"})


def activate(site: Site, name: str, x: str, parameters: Sequence[float] = ()) -> str | None:
    """Write the activation `name` of x; None if it is not known. Without `parameters` it has ONNX's defaults."""
    if name in PLAIN:
        return site.emit(name, x)
    if name == "LeakyRelu":
        return site.emit(name, x, alpha=float(parameters[0]) if parameters else 0.01)
    if name == "Clip" and parameters:
        return site.emit(name, x, *[site.constant(bound) for bound in parameters[:2]])
    if name == "HardSigmoid":
        alpha, beta = parameters[:2] if parameters else (0.2, 0.5)
        line = site.emit("Add", site.emit("Mul", x, site.constant(alpha)), site.constant(beta))
        return site.emit("Clip", line, site.constant(0.0), site.constant(1.0))
    return None
