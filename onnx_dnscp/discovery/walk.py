"""Run the graph on id fields: every node's rule is asked once, in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnx_dnscp.ops  # noqa: F401  (importing registers the rules)
from onnx_dnscp.discovery.balance import grouped_weights
from onnx_dnscp.discovery.zeros import not_silenced
from onnx_dnscp.model.fields import IdField, on_axis, varying_axes
from onnx_dnscp.model.graph import Graph, Node
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.ops.registry import MAKES_IDS, Flow, Op, Read, Refusal, Value, integer_data_operands, rule_for

_BRANCHING = frozenset({"If", "Loop", "Scan"})  # a size may decide what they do, and the trace shows one size
MAX_LOOKED_AT = 1 << 16  # elements of a stored operand whose values a rule may want (scales, zero points, indices)


Slot = tuple[str, int, int, int]


@dataclass
class Walk:
    """Everything the rules said about one graph.

    Attributes:
        values: Every tensor's fields.
        unions: Pairs of id arrays that belong together.
        reads: Consumers with their node.
        writes: Output-channel ids of weights with their node.
        locks: Ids that stay, with the reason.
        slots: Per stored tensor and axis: (tensor, axis, first id, positions). Ids outside are virtual.
        num_ids: Ids handed out.
        balanced: Id arrays whose rows must lose equally many.
        in_blocks: Fields of grouped weights, by object: they vary along two axes and are cut block by block.
    """

    values: dict[str, Value] = field(default_factory=dict)
    unions: list[tuple[IdField, IdField]] = field(default_factory=list)
    reads: list[tuple[Node, Read]] = field(default_factory=list)
    writes: list[tuple[Node, IdField]] = field(default_factory=list)
    locks: list[tuple[IdField, str]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    num_ids: int = 0
    balanced: list[IdField] = field(default_factory=list)
    in_blocks: list[IdField] = field(default_factory=list)

    def fresh(self, shape: tuple[int, ...]) -> IdField:
        """New ids in an array of `shape`."""
        count = math.prod(shape)
        ids = np.arange(self.num_ids, self.num_ids + count, dtype=np.int64).reshape(shape)
        self.num_ids += count
        return ids


def walk_graph(graph: Graph, trace: Trace) -> Walk:
    """Return what the rules say about every node of `graph`."""
    walk = Walk()
    for value in _given(walk, graph, trace):
        walk.values.setdefault(value.name, value)
    for node in graph.nodes:
        if any(name not in walk.values for name in node.outputs if name):
            _visit(walk, graph, trace, node)
    for name in graph.outputs:
        if name in walk.values:
            _lock_value(walk, walk.values[name], f"graph output {name!r}")
    return walk


def _given(walk: Walk, graph: Graph, trace: Trace) -> Iterator[Value]:
    """What no node makes: inputs, stored tensors, and the inputs of sub-graphs."""
    for name in graph.inputs:
        yield Value(name, trace.shapes[name], reason=f"graph input {name!r}")
    data = _integer_data(graph)
    blocks = grouped_weights(graph)
    for name in graph.stored:
        yield _stored_value(walk, graph, name, name in data, blocks.get(name, 1))
    for sparse in graph.proto.graph.sparse_initializer:
        name = sparse.values.name
        yield Value(name, trace.shapes[name], reason=f"sparse tensor {name!r}", constant=True)
    for node in graph.nodes:
        for name in (name for body in node.bodies for name in body.inputs if name in trace.shapes):
            yield Value(name, trace.shapes[name], reason=f"state of {node}")


def _integer_data(graph: Graph) -> set[str]:
    """Integer tensors that all operators read as data; the others are shapes and indices."""
    found = {
        node.inputs[operand]
        for node in graph.nodes
        for operand in integer_data_operands(node)
        if operand < len(node.inputs) and node.inputs[operand]
    }
    return {n for n in found if all(operand in integer_data_operands(node) for node, operand in graph.readers[n])}


def _stored_value(walk: Walk, graph: Graph, name: str, is_data: bool, groups: int) -> Value:
    """A stored tensor starts with fresh ids on every axis; shapes and indices carry none.

    The weight of a grouped convolution has the input channels of all groups on axis 1, each in the rows of its group.
    """
    shape = graph.stored.shape(name)
    if name in graph.private:
        return Value(name, shape, reason=f"{name!r}, stored inside a function", constant=True, known=True)
    fields = []
    if is_data or graph.stored.is_parameter(name):
        for axis, size in enumerate(shape):
            count = size * groups if axis == 1 else size
            if count < 2:  # an axis of size 0 (the empty `roi` of a Resize) has no ids either
                continue
            ids = walk.fresh((count,))
            walk.slots.append((name, axis, int(ids[0]), count))
            if count == size:
                fields.append(on_axis(ids, axis, len(shape)))
            else:
                rows = np.repeat(ids.reshape(groups, size), shape[0] // groups, axis=0)
                fields.append(rows.reshape(*shape[:2], *(1 for _ in shape[2:])))
                walk.in_blocks.append(fields[-1])
    return Value(name, shape, tuple(fields), reason=f"stored tensor {name!r}", constant=True, known=True)


def _visit(walk: Walk, graph: Graph, trace: Trace, node: Node) -> None:
    """Ask a node's rule and take down what it answers."""
    inputs = tuple(walk.values.get(name) if name else None for name in node.inputs)
    answer = _ask_rule(walk, graph, trace, node, inputs)
    if isinstance(answer, Refusal):
        _lock_all(walk, node, inputs, f"{node}: {answer.reason}")
        answer = Flow(reason=f"made by {node}")
    walk.unions += answer.unions
    walk.reads += [(node, read) for read in answer.reads]
    for read in answer.reads:
        if reason := not_silenced(graph, trace.shapes, node, read.operand):
            walk.locks.append((read.channel_ids, f"{node}: {reason}"))
    walk.writes += [(node, ids) for ids in answer.writes]
    walk.locks += answer.locks
    walk.balanced += answer.balanced
    _enter_outputs(walk, trace, node, inputs, answer)


def _enter_outputs(walk: Walk, trace: Trace, node: Node, inputs: Sequence[Value | None], answer: Flow) -> None:
    passed_on = next((v.reason for v in inputs if v is not None and not v.constant), f"made by {node}")
    constant, known = _certainty(node, inputs)
    for position, name in enumerate(node.outputs):
        if name and name in trace.shapes:
            fields = answer.outputs[position] if position < len(answer.outputs) else ()
            walk.values[name] = Value(name, trace.shapes[name], fields, answer.reason or passed_on, constant, known)


def _lock_all(walk: Walk, node: Node, inputs: Iterable[Value | None], reason: str) -> None:
    """Lock whatever a node reads."""
    inner = (name for body in node.bodies for name in body.outputs)
    outer = () if node.bodies else node.captured  # what the nodes of a readable sub-graph read, they answer for
    for value in (*inputs, *(walk.values.get(name) for name in (*inner, *outer))):
        if value is not None:
            _lock_value(walk, value, reason)


def _certainty(node: Node, inputs: Sequence[Value | None]) -> tuple[bool, bool]:
    """Whether what a node makes is constant, and whether its value is known at the traced size."""
    given = [value for value in inputs if value is not None]
    constant = bool(inputs) and not node.captured and all(value.constant for value in given)
    computed = bool(inputs) and node.op_type not in _BRANCHING and all(value.known for value in given)
    return constant, constant or computed or _is_size(node)


def _is_size(node: Node) -> bool:
    return node.op_type in ("Shape", "Size") and not node.domain


def _ask_rule(walk: Walk, graph: Graph, trace: Trace, node: Node, inputs: tuple[Value | None, ...]) -> Flow | Refusal:
    if unseen := _unseen(trace, node, inputs):
        return Refusal(f"it {unseen} what is no tensor, or what a run of the model did not show")
    if node.bodies:
        return _join_branches(walk, node) if node.op_type == "If" else Refusal("its sub-graph runs several times")
    if node.captured:
        return Refusal("its sub-graphs read outer tensors")
    if node.op_type not in MAKES_IDS and not any(value.fields for value in filter(None, inputs)):
        return Flow()  # nothing prunable arrives: whatever the node does, it cannot matter
    rule = rule_for(node)
    if rule is None:
        domain = f" of domain {node.domain!r}" if node.domain else ""
        return Refusal(f"it has no rule (operator {node.op_type}{domain} is not supported yet)")
    return rule(_op(walk, graph, trace, node, inputs))


def _unseen(trace: Trace, node: Node, inputs: Sequence[Value | None]) -> str:
    """What a node does with tensors that the trace lacks; empty if it has them all."""
    if any(name and value is None for name, value in zip(node.inputs, inputs, strict=True)):
        return "reads"
    return "" if all(name in trace.shapes for name in node.outputs if name) else "makes"


def _op(walk: Walk, graph: Graph, trace: Trace, node: Node, inputs: tuple[Value | None, ...]) -> Op:
    """A node as its rule sees it."""
    integers = {
        i: trace.integers[n]
        for i, (n, v) in enumerate(zip(node.inputs, inputs, strict=True))
        if n in trace.integers and v is not None and v.known
    }
    shapes = tuple(trace.shapes[n] if n else () for n in node.outputs)

    def stored(position: int) -> NDArray[Any] | None:
        name = node.inputs[position] if position < len(node.inputs) else ""
        return graph.stored[name] if name in graph.stored and graph.stored.size(name) <= MAX_LOOKED_AT else None

    return Op(node, graph.opset, inputs, shapes, integers, walk.fresh, stored)


def _join_branches(walk: Walk, node: Node) -> Flow | Refusal:
    """Whichever branch of an If runs, its results stand in the same place."""
    flow = Flow(reason=f"made by {node}")
    for results in zip(*(body.outputs for body in node.bodies), strict=True):
        values = [walk.values[name] for name in results if name in walk.values]
        if len(values) < len(results) or len({value.shape for value in values}) > 1:
            return Refusal("its branches give different shapes, or did not run")
        for axis in range(len(values[0].shape)):
            _lock_where_ids_are_missing(flow, node, values, axis)
        flow.unions += _on_same_axes(values)
        flow.outputs.append(values[0].fields or values[-1].fields)
    return flow


def _on_same_axes(values: Sequence[Value]) -> list[tuple[IdField, IdField]]:
    """Fields of the first branch's value with all that vary along an axis with them."""
    fields = [ids for value in values for ids in value.fields]
    first = values[0].fields
    return [(a, b) for a in first for b in fields if set(varying_axes(a)) & set(varying_axes(b)) and a is not b]


def _lock_where_ids_are_missing(flow: Flow, node: Node, values: Sequence[Value], axis: int) -> None:
    """Where one branch has no ids on an axis, nothing of it can go, so those of the others stay."""
    there = [ids for value in values for ids in value.varying(axis)]
    for value in values:
        if not value.varying(axis):
            for ids in there:
                flow.lock(ids, f"another branch of {node} gives {value.name!r}, {value.reason}")


def _lock_value(walk: Walk, value: Value, reason: str) -> None:
    walk.locks += [(ids, reason) for ids in value.fields]
