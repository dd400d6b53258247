"""Activations and other element-wise operators."""

from __future__ import annotations

from onnx_dnscp.training.decompositions.registry import Site, decomposition


@decomposition("HardSigmoid")
def hard_sigmoid(site: Site) -> str:
    """clip(alpha * x + beta, 0, 1)."""
    scaled = site.emit("Mul", site.operand(0), site.constant(site.attribute("alpha", 0.2)))
    shifted = site.emit("Add", scaled, site.constant(site.attribute("beta", 0.5)))
    return site.emit("Clip", shifted, site.constant(0.0), site.constant(1.0))
