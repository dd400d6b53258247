"""How many multiply-accumulates an operator with a weight takes."""

from __future__ import annotations

from collections.abc import Callable

Shape = tuple[int, ...]
MacsRule = Callable[[Shape, Shape, Shape], float]
_RULES: dict[tuple[str, str], MacsRule] = {}


def macs_rule(op_type: str, domain: str = "") -> Callable[[MacsRule], MacsRule]:
    """Register the count for one operator, from the shapes of its first two operands and its first output.

    Raises:
        ValueError: The operator is registered twice.
    """

    def register(rule: MacsRule) -> MacsRule:
        if (domain, op_type) in _RULES:
            raise ValueError(f"operator {domain or 'ai.onnx'}::{op_type} has two MACs rules")
        _RULES[domain, op_type] = rule
        return rule

    return register


def macs_rule_for(domain: str, op_type: str) -> MacsRule | None:
    """The registered count, or None for an operator that has no weight. Import `onnx_dnscp.ops` first."""
    return _RULES.get((domain, op_type))
