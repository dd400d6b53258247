"""A table of rules keyed by operator; every kind of rule has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

R = TypeVar("R")
MICROSOFT = "com.microsoft"  # domain of the operators that ONNX Runtime adds


class RuleTable(Generic[R]):
    """Rules by (domain, op type), each registered once.

    Args:
        kind: What the rules are called in messages.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._rules: dict[tuple[str, str], R] = {}

    def register(self, *op_types: str, domain: str = "") -> Callable[[R], R]:
        """Decorate a rule for operators of one domain.

        Raises:
            ValueError: An operator is registered twice.
        """

        def add(rule: R) -> R:
            for op_type in op_types:
                if (domain, op_type) in self._rules:
                    raise ValueError(f"operator {domain or 'ai.onnx'}::{op_type} has two {self._kind} rules")
                self._rules[domain, op_type] = rule
            return rule

        return add

    def get(self, domain: str, op_type: str) -> R | None:
        """The rule of an operator, or None."""
        return self._rules.get((domain, op_type))

    def operators(self) -> tuple[tuple[str, str], ...]:
        """(domain, op type) of every rule."""
        return tuple(sorted(self._rules))
