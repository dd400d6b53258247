"""What an operator rule sees, what it says, and the table of rules.

A rule states facts about one operator; it never walks the graph. Adding an operator means adding one
function with `@op_rule` (and, where the operator bakes a channel count into an operand or attribute, one
with `onnx_dnscp.ops.resize.resize_rule`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.errors import ModelError
from onnx_dnscp.model.fields import IdField, axis_rows, collapse, connected_components, on_axis, varying_axes
from onnx_dnscp.model.graph import Node
from onnx_dnscp.ops.table import RuleTable


@dataclass(frozen=True)
class Value:
    """A tensor as rules see it.

    Attributes:
        name: Tensor name; empty for an omitted optional operand.
        shape: Concrete shape of the trace.
        fields: Id fields, each of the tensor's rank.
        reason: Why an axis without a field stays whole ("graph input 'x'").
        constant: Whether it is computed from stored tensors alone.
        known: Whether it is computed from stored tensors and sizes of tensors alone, so that the trace tells its value.
    """

    name: str
    shape: tuple[int, ...]
    fields: tuple[IdField, ...] = ()
    reason: str = ""
    constant: bool = False
    known: bool = False

    def varying(self, axis: int) -> tuple[IdField, ...]:
        """Fields that vary along `axis`."""
        return tuple(f for f in self.fields if f.shape[axis] > 1)


@dataclass(frozen=True)
class Read:
    """A consumer: a weight operand that reads units on an input-channel axis.

    Attributes:
        operand: Position of the weight among the node's inputs.
        channel_ids: (input channels,) id of each position of the reduced axis of the activation.
        weight_ids: Ids in the weight's own slices, broadcastable to the weight operand's shape; united with
            `channel_ids` position by position. The mask multiplies here.
    """

    operand: int
    channel_ids: IdField
    weight_ids: IdField


@dataclass
class Flow:
    """What a rule says: the fields of each output, and which ids belong together.

    Attributes:
        outputs: Fields per node output (missing ones carry none).
        unions: Broadcastable pairs of id arrays to unite position by position.
        reads: Weights that read units.
        writes: Id arrays of output-channel axes of weights, for reports.
        locks: Ids that must stay, with the reason.
        balanced: Id arrays (groups, channels per group) whose rows must lose equally many.
        reason: Why output axes without a field stay whole; empty passes the inputs' reason on.
    """

    outputs: list[tuple[IdField, ...]] = field(default_factory=list)
    unions: list[tuple[IdField, IdField]] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    writes: list[IdField] = field(default_factory=list)
    locks: list[tuple[IdField, str]] = field(default_factory=list)
    balanced: list[IdField] = field(default_factory=list)
    reason: str = ""

    def lock(self, ids: IdField, reason: str) -> None:
        """Keep `ids` whole."""
        self.locks.append((ids, reason))

    def channel_vector(self, value: Value, axis: int) -> IdField | None:
        """One id per position of `axis`, after uniting all that the value's fields say along it.

        Returns None where nothing varies along the axis. Ids that differ along other axes at the same position
        are united: whoever asks needs whole slices of this axis.
        """
        rows = [axis_rows(f, axis) for f in value.varying(axis)]
        if not rows:
            return None
        first = rows[0][:, :1]
        self.unions += [(first, r) for r in rows if r.size > first.size or r is not rows[0]]
        return first[:, 0]

    def lock_other_axes(self, value: Value, allowed: tuple[int, ...], reason: str) -> None:
        """Keep whole every field that varies along an axis not in `allowed`."""
        for ids in value.fields:
            if any(axis not in allowed for axis in varying_axes(ids)):
                self.lock(ids, reason)

    def whole_blocks(self, fields: Sequence[IdField], mixed: Collection[int], reason: str) -> tuple[IdField, ...]:
        """Fields that pass an operator that mixes positions along some axes, block by block.

        All ids that are mixed with each other are united, so that what is mixed goes or stays as a whole. Where that
        leaves one block only, nothing can go: the field is kept whole and does not pass.
        """
        passed = []
        for ids in fields:
            if set(mixed).isdisjoint(varying_axes(ids)):
                passed.append(ids)
                continue
            local = ids - ids.min()
            first = collapse(local, mixed)
            blocks = connected_components(int(local.max()) + 1, [(first, local)])[first]
            if (blocks == blocks.flat[0]).all():
                self.lock(ids, reason)
            else:
                self.unions.append((collapse(ids, mixed), ids))
                passed.append(ids)
        return tuple(passed)

    def picked(self, fields: Sequence[IdField], op: Op) -> tuple[IdField, ...]:
        """Fields of what an operator picks out of its data, without those of which one id or none is left.

        A single channel is seen along an axis that cannot shrink further, or along none, so it is kept.
        """
        for ids in fields:
            if ids.size == 1:
                self.lock(ids, f"the only channel that {op.node} picks")
        return tuple(ids for ids in fields if ids.size > 1)

    def join_vector(self, ids: IdField | None, parameter: Value | None, axis: int, reason: str) -> None:
        """Tie a parameter's axis to the channel vector `ids`, or keep it whole where there is none."""
        if parameter is None:
            return
        for own in parameter.varying(axis):
            if ids is None:
                self.lock(own, reason)
            else:
                self.unions.append((on_axis(ids, axis, own.ndim), own))
        if ids is not None and parameter.shape[axis] > 1 and not parameter.varying(axis):
            self.lock(ids, f"tied to {parameter.reason or repr(parameter.name)}")


@dataclass(frozen=True)
class Refusal:
    """A rule's answer when a node's channels must be left whole, with the reason."""

    reason: str


@dataclass(frozen=True)
class Op:
    """One node with everything a rule may look at.

    Attributes:
        inputs: One value per operand; None where an optional operand is omitted.
        integers: Traced values, by operand position, of integer operands that are the same for all inputs of one shape.
        stored: Answers with the value of an operand that the file stores, by position; None for others and large ones.
        fresh: Makes new ids of a given shape for positions no stored tensor holds, such as padding.
    """

    node: Node
    opset: int
    inputs: tuple[Value | None, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    integers: Mapping[int, NDArray[Any]]
    fresh: Callable[[tuple[int, ...]], IdField]
    stored: Callable[[int], NDArray[Any] | None] = lambda _: None

    def input(self, position: int) -> Value | None:
        """The operand at `position`, or None if it is omitted."""
        return self.inputs[position] if position < len(self.inputs) else None

    def operand(self, position: int) -> Value:
        """A required operand.

        Raises:
            ModelError: It is left out.
        """
        value = self.input(position)
        if value is None:
            raise ModelError(f"{self.node} has no operand {position}, which it needs; export the model again.")
        return value

    @property
    def data(self) -> Value:
        """The first operand."""
        return self.operand(0)

    def axes(self, attribute: str, operand: int) -> list[int] | None:
        """An axis list that older opsets keep in an attribute and newer ones in an operand."""
        if attribute in self.node.attributes:
            return [int(a) for a in np.atleast_1d(self.node.attributes[attribute])]
        if operand in self.integers:
            return [int(a) for a in self.integers[operand].ravel()]
        return None


# Operators that make channels where none arrive: they repeat one position, or fill a shape with a constant.
MAKES_IDS = frozenset({"ConstantOfShape", "Expand", "Tile"})

OpRule = Callable[[Op], Flow | Refusal]
_TABLE: RuleTable[OpRule] = RuleTable("op")
op_rule = _TABLE.register


_INTEGER_DATA: RuleTable[tuple[int, ...]] = RuleTable("integer data")


def integer_data(*op_types: str, operands: tuple[int, ...], domain: str = "") -> None:
    """Say which operands hold data where they are int32 or int64 (a bias), and not shapes or indices."""
    _INTEGER_DATA.register(*op_types, domain=domain)(operands)


def integer_data_operands(node: Node) -> tuple[int, ...]:
    """Operands of a node whose 32- or 64-bit integers are data."""
    return _INTEGER_DATA.get(node.domain, node.op_type) or ()


def rule_for(node: Node) -> OpRule | None:
    """The registered rule of a node's operator, or None. Import `onnx_dnscp.ops` first."""
    return _TABLE.get(node.domain, node.op_type)


def ruled_operators() -> tuple[tuple[str, str], ...]:
    """(domain, op type) of every registered rule."""
    return _TABLE.operators()
