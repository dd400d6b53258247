"""Run the graph on id fields: every node's rule is asked once, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import onnx_dnscp.ops  # noqa: F401  (importing registers the rules)
from onnx_dnscp.fields import IdField, on_axis
from onnx_dnscp.graph import Graph, Node
from onnx_dnscp.ops.registry import Flow, Op, Read, Refusal, Value, rule_for
from onnx_dnscp.trace import Trace


@dataclass
class Walk:
    """Everything the rules said about one graph.

    Attributes:
        values: Every tensor's fields.
        unions: Pairs of id arrays that belong together.
        reads: Consumers with their node.
        writes: Output-channel ids of weights with their node.
        locks: Ids that stay, with the reason.
        slots: Per stored tensor and axis: (tensor, axis, first id, size). Ids outside are virtual.
        num_ids: Ids handed out.
    """

    values: dict[str, Value] = field(default_factory=dict)
    unions: list[tuple[IdField, IdField]] = field(default_factory=list)
    reads: list[tuple[Node, Read]] = field(default_factory=list)
    writes: list[tuple[Node, IdField]] = field(default_factory=list)
    locks: list[tuple[IdField, str]] = field(default_factory=list)
    slots: list[tuple[str, int, int, int]] = field(default_factory=list)
    num_ids: int = 0

    def fresh(self, shape: tuple[int, ...]) -> IdField:
        """New ids in an array of `shape`."""
        count = int(np.prod(shape))
        ids = np.arange(self.num_ids, self.num_ids + count, dtype=np.int64).reshape(shape)
        self.num_ids += count
        return ids


def walk(graph: Graph, trace: Trace) -> Walk:
    """Return what the rules say about every node of `graph`."""
    state = Walk()
    for name in graph.inputs:
        state.values[name] = Value(name, trace.shapes[name], reason=f"graph input {name!r}")
    for name, array in graph.stored.items():
        state.values[name] = _stored_value(state, name, array)
    for sparse in graph.proto.graph.sparse_initializer:
        name = sparse.values.name
        state.values[name] = Value(name, trace.shapes[name], reason=f"sparse tensor {name!r}", constant=True)
    for node in graph.nodes:
        if any(name not in state.values for name in node.outputs if name):
            _visit(state, graph, trace, node)
    for name in graph.outputs:
        _lock_value(state, state.values[name], f"graph output {name!r}")
    return state


def _stored_value(state: Walk, name: str, array: NDArray[np.generic]) -> Value:
    """A stored tensor starts with fresh ids on every axis; shapes and indices carry none."""
    fields = []
    if array.dtype.kind not in "iub" or array.dtype.itemsize == 1:
        for axis, size in enumerate(array.shape):
            if size > 1:
                ids = state.fresh((size,))
                state.slots.append((name, axis, int(ids[0]), size))
                fields.append(on_axis(ids, axis, array.ndim))
    return Value(name, array.shape, tuple(fields), reason=f"stored tensor {name!r}", constant=True)


def _visit(state: Walk, graph: Graph, trace: Trace, node: Node) -> None:
    inputs = tuple(state.values[name] if name else None for name in node.inputs)
    answer = _ask_rule(state, graph, trace, node, inputs)
    if isinstance(answer, Refusal):
        reason = f"{node}: {answer.reason}"
        for value in (*filter(None, inputs), *(state.values[n] for n in node.captured if n in state.values)):
            _lock_value(state, value, reason)
        answer = Flow(reason=f"made by {node}")
    state.unions += answer.unions
    state.reads += [(node, read) for read in answer.reads]
    state.writes += [(node, ids) for ids in answer.writes]
    state.locks += answer.locks
    passed_on = next((v.reason for v in inputs if v is not None and not v.constant), f"made by {node}")
    constant = all(v is None or v.constant for v in inputs) and bool(inputs)
    for position, name in enumerate(node.outputs):
        if name:
            fields = answer.outputs[position] if position < len(answer.outputs) else ()
            state.values[name] = Value(name, trace.shapes[name], fields, answer.reason or passed_on, constant)


def _ask_rule(state: Walk, graph: Graph, trace: Trace, node: Node, inputs: tuple[Value | None, ...]) -> Flow | Refusal:
    if not any(v is not None and v.fields for v in inputs) and not node.captured:
        return Flow()  # nothing prunable arrives: whatever the node does, it cannot matter
    if node.captured:
        return Refusal("its sub-graphs read outer tensors")
    rule = rule_for(node)
    if rule is None:
        domain = f" of domain {node.domain!r}" if node.domain else ""
        return Refusal(f"it has no rule (operator {node.op_type}{domain} is not supported yet)")
    fresh: Callable[[tuple[int, ...]], IdField] = state.fresh
    integers = {i: trace.integers[n] for i, n in enumerate(node.inputs) if n in trace.integers}
    shapes = tuple(trace.shapes[n] if n else () for n in node.outputs)
    return rule(Op(node, graph.opset, inputs, shapes, integers, fresh))


def _lock_value(state: Walk, value: Value, reason: str) -> None:
    state.locks += [(ids, reason) for ids in value.fields]
