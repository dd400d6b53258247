"""How many multiply-accumulates an operator with a weight takes."""

from __future__ import annotations

from collections.abc import Callable

from onnx_dnscp.ops.table import RuleTable

Shape = tuple[int, ...]
MacsRule = Callable[[Shape, Shape, Shape], float]  # shapes of the first two operands and the first output
_TABLE: RuleTable[MacsRule] = RuleTable("MACs")
macs_rule = _TABLE.register


def macs_rule_for(domain: str, op_type: str) -> MacsRule | None:
    """The registered count, or None for an operator that has no weight. Import `onnx_dnscp.ops` first."""
    return _TABLE.get(domain, op_type)
