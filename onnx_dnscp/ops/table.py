"""Tables that are filled by decorators: rules by operator, and whatever else is registered under a key of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")
Entry = TypeVar("Entry")
Rule = TypeVar("Rule")
MICROSOFT = "com.microsoft"  # domain of the operators that ONNX Runtime adds


class Table(Mapping[Key, Entry]):
    """Entries by key, in the order in which they were registered, each of them once.

    Args:
        kind: What an entry is called in messages.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._entries: dict[Key, Entry] = {}

    def add(self, key: Key, entry: Entry) -> None:
        """Register an entry.

        Raises:
            ValueError: There is one under this key.
        """
        if key in self._entries:
            raise ValueError(f"the {self._kind} {key!r} is registered twice")
        self._entries[key] = entry

    def remove(self, key: Key) -> None:
        """Forget an entry, so that another can be registered in its place, as in a notebook whose cell runs twice."""
        del self._entries[key]

    def __getitem__(self, key: Key) -> Entry:
        return self._entries[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class RuleTable(Generic[Rule]):
    """Rules by (domain, op type), each registered once.

    Args:
        kind: What the rules are called in messages.
    """

    def __init__(self, kind: str) -> None:
        self._rules: Table[tuple[str, str], Rule] = Table(f"{kind} rule")

    def register(self, *op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
        """Decorate a rule for operators of one domain.

        Raises:
            ValueError: An operator is registered twice.
        """

        def add(rule: Rule) -> Rule:
            for op_type in op_types:
                self._rules.add((domain, op_type), rule)
            return rule

        return add

    def get(self, domain: str, op_type: str) -> Rule | None:
        """The rule of an operator, or None."""
        return self._rules.get((domain, op_type))

    def operators(self) -> tuple[tuple[str, str], ...]:
        """(domain, op type) of every rule."""
        return tuple(sorted(self._rules))
