"""Matrix products in other spellings: with vectors, cumulative sums, and those of com.microsoft."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.decompositions.activations import activate
from onnx_dnscp.training.decompositions.axis_maps import apply_matrix
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_LONGEST_SUM = 4096  # positions of a cumulative sum: its matrix then has 64 MB


@decomposition("MatMul")
def matmul(site: Site) -> str | None:
    """A vector as a matrix of one row or column: the runtime's gradient wants matrices."""
    left, right = site.shape(0), site.shape(1)
    if min(len(left), len(right)) > 1:
        return None
    a = site.reshape(site.operand(0), (1, *left)) if len(left) == 1 else site.operand(0)
    b = site.reshape(site.operand(1), (*right, 1)) if len(right) == 1 else site.operand(1)
    return site.reshape(site.emit("MatMul", a, b), site.shapes[site.node.output[0]])


@decomposition("CumSum")
def cumulative_sum(site: Site) -> str | None:
    """A product with a triangle of ones; None if the axis is computed from data, or long."""
    shape, axis = site.shape(), site.value(1)
    if axis is None or shape[int(axis.item())] > _LONGEST_SUM:
        return None
    where = int(axis.item()) % len(shape)
    ones = np.ones((shape[where], shape[where]))
    triangle = np.tril(ones, -1 if site.attribute("exclusive", 0) else 0)
    return apply_matrix(site, site.operand(0), shape, where, triangle.T if site.attribute("reverse", 0) else triangle)


@decomposition("FusedMatMul", domain=MICROSOFT)
def fused_matmul(site: Site) -> str | None:
    """A @ B * alpha, either of them transposed; None where the batch axis moves, too."""
    if site.attribute("transBatchA", 0) or site.attribute("transBatchB", 0):
        return None
    shapes = site.shape(0), site.shape(1)
    if min(map(len, shapes)) < 2:
        return None
    operands = []
    for position, name in enumerate(("transA", "transB")):
        operand, axes = site.operand(position), list(range(len(shapes[position])))
        axes[-2:] = reversed(axes[-2:])
        operands.append(site.emit("Transpose", operand, perm=axes) if site.attribute(name, 0) else operand)
    product = site.emit("MatMul", *operands)
    alpha = site.attribute("alpha", 1.0)
    return product if alpha == 1 else site.emit("Mul", product, site.constant(alpha))


@decomposition("FusedConv", domain=MICROSOFT)
def fused_conv(site: Site) -> str | None:
    """A convolution, an addend, an activation."""
    y = site.emit("Conv", *site.node.input[:3], **_plain_attributes(site))
    if site.operand(3):
        y = site.emit("Add", y, site.operand(3))
    return activate(site, site.attribute("activation", "Relu"), y, site.attribute("activation_params", ()))


@decomposition("FusedGemm", domain=MICROSOFT)
def fused_gemm(site: Site) -> str | None:
    """A Gemm and an activation."""
    y = site.emit("Gemm", *site.node.input, **_plain_attributes(site))
    parameters = [site.attribute(f"activation_{name}") for name in ("alpha", "beta")]
    return activate(site, site.attribute("activation", "Relu"), y, [p for p in parameters if p is not None])


def _plain_attributes(site: Site) -> dict[str, Any]:
    """The attributes that the operator has in common with the one of the default domain."""
    return {name: value for name, value in site.attributes.items() if not name.startswith("activation")}
