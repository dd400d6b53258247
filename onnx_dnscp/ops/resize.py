"""Channel counts that nodes bake into attributes and integer operands, and how they shrink.

A resize rule states what one node must say once some units are gone. Operators whose counts follow their
operands by themselves (Concat, Transpose, Add ...) need none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.graph import Node
from onnx_dnscp.model.units import Removal, Units
from onnx_dnscp.ops.table import RuleTable


@dataclass(frozen=True)
class SetAttribute:
    """Give a node's attribute a new value; None removes the attribute."""

    node: Node
    name: str
    value: int | list[int] | None


@dataclass(frozen=True)
class SetOperand:
    """Make an integer operand of a node read `values` (in the concrete sizes of the trace).

    Where their number differs from what the operand says, they have the operand's new shape.
    """

    node: Node
    operand: int
    values: NDArray[np.int64]


Edit = SetAttribute | SetOperand


@dataclass(frozen=True)
class Resize:
    """One node together with its operands' shapes before and after the removal."""

    node: Node
    removal: Removal

    @property
    def units(self) -> Units:
        """What discovery found."""
        return self.removal.units

    def before(self, name: str) -> tuple[int, ...]:
        """Traced shape of a tensor."""
        return self.units.trace.shapes[name]

    def after(self, name: str) -> tuple[int, ...]:
        """Its shape once the units are gone."""
        return self.removal.shape(name)

    def keep(self, name: str, axis: int) -> NDArray[np.bool_]:
        """Which positions of a tensor's axis stay."""
        keep = self.removal.axis_keep(name, axis)
        return np.ones(self.before(name)[axis], dtype=bool) if keep is None else keep

    @cached_property
    def x(self) -> str:
        """Name of the first operand."""
        return self.node.inputs[0]

    @cached_property
    def y(self) -> str:
        """Name of the first output."""
        return self.node.outputs[0]

    def has_operand(self, position: int) -> bool:
        """Whether an optional operand is given."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def integers(self, operand: int) -> NDArray[np.int64] | None:
        """Traced value of an integer operand, if it is given."""
        if not self.has_operand(operand):
            return None
        return np.asarray(self.units.trace.integers[self.node.inputs[operand]], dtype=np.int64)

    def set(self, attribute: str, operand: int, values: list[int]) -> Edit:
        """Put a list where this node keeps it: in an attribute (older opsets) or an operand."""
        if attribute in self.node.attributes:
            return SetAttribute(self.node, attribute, values)
        return SetOperand(self.node, operand, np.array(values, dtype=np.int64))

    def sizes(self, operand: int) -> list[int]:
        """Sizes of the output that an operand names (of its `axes` or last ones), with those that change replaced."""
        named = [int(v) for v in np.asarray(self.integers(operand)).ravel()]
        before, after = self.before(self.y), self.after(self.y)
        rank = len(before)
        for i, axis in enumerate(self.node.attributes.get("axes", range(rank - len(named), rank))):
            if named[i] == before[axis]:  # an Expand also writes 1 for "as it is"
                named[i] = after[axis]
        return named


ResizeRule = Callable[[Resize], list[Edit]]
_TABLE: RuleTable[ResizeRule] = RuleTable("resize")
resize_rule = _TABLE.register


def required_edits(removal: Removal) -> list[Edit]:
    """Every attribute and integer operand that has to change for this removal."""
    edits: list[Edit] = []
    units = removal.units
    computed = {name for name in units.trace.integers if name not in units.graph.stored}
    for node in units.graph.nodes:
        rule = _TABLE.get(node.domain, node.op_type)
        if rule is None:
            continue
        runs_through = any(units.fields.get(name) for name in (*node.inputs, *node.outputs))
        # A size may be read off a tensor that shrinks and be wanted for one that does not.
        if runs_through or any(is_size(node, i) and name in computed for i, name in enumerate(node.inputs)):
            edits += rule(Resize(node, removal))
    return edits


def is_size(node: Node, operand: int) -> bool:
    """Whether an operand is one that the node's resize rule answers for."""
    answered = _TABLE.get(node.domain, node.op_type) is not None
    return answered and (operand > 0 or node.op_type == "ConstantOfShape")


def list_value(op: Resize, attribute: str, operand: int) -> list[int]:
    """An integer list from an attribute (older opsets) or an operand; empty if neither is given."""
    if attribute in op.node.attributes:
        return [int(v) for v in np.atleast_1d(op.node.attributes[attribute])]
    values = op.integers(operand)
    return [] if values is None else [int(v) for v in values.ravel()]
