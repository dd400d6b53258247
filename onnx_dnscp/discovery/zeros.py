"""Whether a 0 written into a stored weight is a 0 to the operator that reads it.

A plan promises that setting stored input-channel slices to zero silences the channels. That holds behind operators
that move or convert the weight or take a piece of it, and in products of stored tensors; quantised weights keep it
where their zero point is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.graph import ONE_TO_ONE, Graph, Node

# Everywhere the zero point stands two operands behind what it belongs to.
_WITH_ZERO_POINT = frozenset({"QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger"})
# What pieces of a weight are taken with, and functions that are 0 at 0.
_KEEP_ZERO = frozenset({"Slice", "Split", "Gather", "Abs", "Neg", "Sign", "Relu", "Tanh"})
_ZERO = np.zeros(1)
Shapes = Mapping[str, tuple[int, ...]]


def not_silenced(graph: Graph, shapes: Shapes, node: Node, operand: int) -> str:
    """Why zeros in the stored weight behind an operand do not silence it; empty if they do."""
    zero = _zero_point(graph, node, operand) if node.op_type in _WITH_ZERO_POINT else _ZERO
    return _not_zero(graph, shapes, node.inputs[operand], zero)


def _not_zero(graph: Graph, shapes: Shapes, name: str, zero: NDArray[Any] | None) -> str:
    """Why a 0 in any stored tensor behind `name` does not arrive as `zero`; empty if it does."""
    while name not in graph.stored and zero is not None:
        maker = graph.producer.get(name)
        if maker is None or not maker.inputs or maker.domain:
            return f"its weight {name!r} is not stored"
        if not zero.any() and _is_whole_product(maker, shapes):
            return next(filter(None, (_not_zero(graph, shapes, factor, zero) for factor in maker.inputs)), "")
        if maker.op_type not in ONE_TO_ONE | _KEEP_ZERO:
            return f"its weight is computed by {maker}"
        if maker.op_type == "QuantizeLinear" and not _are_equal(_zero_point(graph, maker, 0), zero):
            return "its weight is quantised and read with different zero points"
        zero = _zero_in_front(graph, maker, zero)
        name = maker.inputs[0]
    if zero is None:
        return "the zero point of its weight is computed"
    return "its weight has a zero point other than 0, so no stored value 0 stands for zero" if zero.any() else ""


def _is_whole_product(maker: Node, shapes: Shapes) -> bool:
    """Whether a node multiplies, and its first factor, which a plan names, has every slice of the product."""
    return maker.op_type == "Mul" and shapes[maker.inputs[0]] == shapes[maker.result]


def _zero_in_front(graph: Graph, maker: Node, zero: NDArray[Any]) -> NDArray[Any] | None:
    """What stands for 0 in what a node reads, where `zero` stands for it in what it makes."""
    if maker.op_type == "DequantizeLinear":
        return _zero_point(graph, maker, 0)
    return _ZERO if maker.op_type == "QuantizeLinear" else zero


def _are_equal(own: NDArray[Any] | None, zero: NDArray[Any]) -> bool:
    """Whether two zero points are known and the same on every channel."""
    return own is not None and (own.size in (1, zero.size) or zero.size == 1) and not (own != zero).any()


def _zero_point(graph: Graph, node: Node, operand: int) -> NDArray[Any] | None:
    """(1 or channels,) the value that stands for 0 in a quantised operand; None if it is not in the file."""
    name = node.inputs[operand + 2] if operand + 2 < len(node.inputs) else ""
    if not name:
        return _ZERO
    source = graph.stored_source(name)
    return None if source is None else graph.stored[source].astype(np.float64).ravel()
