"""Einsum: a sum of products spelled as an equation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from onnx_dnscp.model.graph import Node
from onnx_dnscp.ops.macs import MacsRule, Shape, macs_rules_of_node
from onnx_dnscp.ops.products import Factor, product
from onnx_dnscp.ops.registry import Flow, Op, Refusal, op_rule

_ELLIPSIS = "."


@op_rule("Einsum")
def einsum(op: Op) -> Flow | Refusal:
    """Letters that the result lacks are summed over; a constant among two operands is a weight."""
    values = [v for v in op.inputs if v is not None]
    terms, result = equation_labels(str(op.node.attributes["equation"]), [len(v.shape) for v in values])
    if any(len(set(labels)) < len(labels) for labels in terms):
        return Refusal("it takes a diagonal")
    factors = [Factor(i, value, labels) for i, (value, labels) in enumerate(zip(values, terms, strict=True))]
    flow = Flow(reason=f"made by {op.node}")
    flow.outputs = [product(flow, op, factors, result)]
    return flow


def equation_labels(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """One label per axis of each operand and of the result.

    Args:
        equation: ONNX's spelling, with or without the result: without, it has the axes of the ellipsis and then every
            letter that occurs once, in alphabetical order.
        ranks: Rank of each operand; axes that an ellipsis stands for are aligned at the last one.
    """
    left, arrow, right = equation.replace(" ", "").replace("...", _ELLIPSIS).partition("->")
    written = left.split(",")
    covered = [rank - len(term.replace(_ELLIPSIS, "")) for term, rank in zip(written, ranks, strict=True)]
    most = max((count for term, count in zip(written, covered, strict=True) if _ELLIPSIS in term), default=0)
    if not arrow:
        uses = Counter(left.replace(_ELLIPSIS, "").replace(",", ""))
        right = (_ELLIPSIS if _ELLIPSIS in left else "") + "".join(sorted(c for c, n in uses.items() if n == 1))

    def labels(term: str, count: int) -> tuple[str, ...]:
        ellipsis = [f"{_ELLIPSIS}{i}" for i in range(most - count, most)]
        return tuple(label for c in term for label in (ellipsis if c == _ELLIPSIS else [c]))

    return [labels(term, count) for term, count in zip(written, covered, strict=True)], labels(right, most)


@macs_rules_of_node("Einsum")
def einsum_macs(node: Node) -> tuple[MacsRule, ...]:
    """One multiplication for every combination of letters, if there are two operands."""

    def count(a: Shape, b: Shape, y: Shape) -> float:
        terms, _ = equation_labels(str(node.attributes["equation"]), [len(a), len(b)])
        sizes: dict[str, int] = {}
        for labels, shape in zip(terms, (a, b), strict=True):
            for label, size in zip(labels, shape, strict=True):
                sizes[label] = max(size, sizes.get(label, 1))
        return float(np.prod(list(sizes.values())))

    return (count,) if len(node.inputs) == 2 else ()
