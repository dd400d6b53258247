"""Operators that the runtime differentiates, but wrongly in some spellings: each in the spelling that is right."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from onnx_dnscp.training.decompositions.registry import Site, decomposition


@decomposition("Cast")
def cast(site: Site) -> str | None:
    """Nothing, where floats become floats: the runtime fails to remove such a Cast where one node reads it twice."""
    return site.operand(0) if site.attribute("to") == TensorProto.FLOAT else None


@decomposition("CastLike")
def cast_like(site: Site) -> str | None:
    """Cast to the type of the other operand; None where that is computed, and not of floats."""
    like = site.value(1)
    if like is None:
        return None if site.operand(1) in site.not_floats else site.operand(0)
    if like.dtype == np.float32:
        return site.operand(0)
    return site.emit("Cast", site.operand(0), to=helper.np_dtype_to_tensor_dtype(like.dtype))


@decomposition("Where")
def where(site: Site) -> str | None:
    """Where with both choices expanded first: the runtime does not sum their gradients over axes that they lack."""
    shape = site.shapes[site.node.output[0]]
    if site.shape(1) == shape == site.shape(2):
        return None
    target = site.integers(shape)
    choices = [
        site.operand(k) if site.shape(k) == shape else site.emit("Expand", site.operand(k), target) for k in (1, 2)
    ]
    return site.emit("Where", site.operand(0), *choices)


@decomposition("Gemm")
def gemm(site: Site) -> str | None:
    """A scalar bias as a vector of one: the runtime's gradient has that shape."""
    if not site.operand(2) or site.shape(2):
        return None
    bias = site.reshape(site.operand(2), (1,))
    return site.emit("Gemm", site.operand(0), site.operand(1), bias, outputs=1, **site.attributes)
