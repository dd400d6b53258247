"""How many multiply-accumulates an operator with a weight takes."""

from __future__ import annotations

from collections.abc import Callable

from onnx_dnscp.model.graph import Node
from onnx_dnscp.ops.table import RuleTable

Shape = tuple[int, ...]
MacsRule = Callable[[Shape, Shape, Shape], float]  # shapes of the data, the weight and the first output
NodeMacs = Callable[[Node], tuple[MacsRule, ...]]
_TABLE: RuleTable[MacsRule] = RuleTable("MACs")
_NODE_TABLE: RuleTable[NodeMacs] = RuleTable("MACs of a node")
_WEIGHT_TABLE: RuleTable[int] = RuleTable("weight operand")
macs_rule = _TABLE.register
macs_rules_of_node = _NODE_TABLE.register
"""For an operator whose attributes say what is multiplied, or that takes a sum of several products of sizes."""


def macs_rules_for(node: Node) -> tuple[MacsRule, ...]:
    """The registered counts, to be added; none for an operator without a weight. Import `onnx_dnscp.ops` first.

    Each is a product of sizes, so that it shrinks with each of its axes.
    """
    of_node, plain = _NODE_TABLE.get(node.domain, node.op_type), _TABLE.get(node.domain, node.op_type)
    if of_node is not None:
        return of_node(node)
    return () if plain is None else (plain,)


def weight_is_at(operand: int, *op_types: str, domain: str = "") -> None:
    """Say where operators have their weight that do not have it as the second operand."""
    _WEIGHT_TABLE.register(*op_types, domain=domain)(operand)


def data_and_weight(node: Node) -> tuple[str, str]:
    """Names of the operands that a node's counts are about."""
    return node.inputs[0], node.inputs[_WEIGHT_TABLE.get(node.domain, node.op_type) or 1]
