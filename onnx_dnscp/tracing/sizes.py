"""What integer operands say by themselves once tensors have shrunk: sizes read with `Shape` follow the cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.model.graph import Graph, Node
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.trace import Trace

_MAX_CONSTANT = 1 << 16  # elements; larger tensors are data, not shape arithmetic


def follow_shapes(
    graph: Graph,
    trace: Trace,
    operands: Sequence[tuple[Node, int]],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> dict[tuple[int, int], NDArray[Any]]:
    """Value of each integer operand once tensors have their new shapes and no constant was rewritten.

    Args:
        graph: The graph whose operands are asked for.
        trace: Its trace.
        operands: (node, operand position); omitted operands are left out of the result.
        shapes: Tensors whose shape changes: (before, after).
    """
    names = {(n.index, i): n.inputs[i] for n, i in operands if i < len(n.inputs) and n.inputs[i]}
    wanted = sorted(set(names.values()) - graph.stored.keys())
    nodes = shape_program(graph, trace, wanted)
    made = {output for node in nodes for output in node.outputs}

    def value(name: str) -> NDArray[Any]:
        source = graph.producer.get(name)
        if source is not None and source.op_type in ("Shape", "Size") and source.inputs[0] in shapes:
            return size_output(source, shapes[source.inputs[0]][1])
        return graph.stored[name] if name in graph.stored else trace.integers[name]

    feeds = {name: value(name) for name in read_by(nodes)}
    known = evaluate(graph, nodes, feeds, [name for name in wanted if name in made]) if nodes else {}
    return {key: np.asarray(known[name] if name in known else value(name)) for key, name in names.items()}


def read_by(nodes: Sequence[Node]) -> set[str]:
    """Tensors that some nodes read and none of them makes."""
    return {name for node in nodes for name in node.inputs} - {name for node in nodes for name in node.outputs} - {""}


def shape_program(graph: Graph, trace: Trace, wanted: Sequence[str]) -> list[Node]:
    """The nodes that compute integer tensors from constants and `Shape` outputs, in graph order.

    Numbers in between may be floats (`floor(float(size) / 2)`) as long as nothing but sizes goes into them.
    """
    arithmetic = arithmetic_tensors(graph, trace, wanted)
    needed: dict[int, Node] = {}
    stack = list(wanted)
    while stack:
        node = graph.producer.get(stack.pop())
        if node is None or node.index in needed or node.op_type in ("Shape", "Size", "Constant") or node.captured:
            continue
        if arithmetic.issuperset(filter(None, node.inputs)):
            needed[node.index] = node
            stack += [i for i in node.inputs if i and i not in graph.stored]
    return [needed[i] for i in sorted(needed)]


def arithmetic_tensors(graph: Graph, trace: Trace, wanted: Iterable[str]) -> set[str]:
    """Small tensors that are stored, were traced as integers, or are computed from such alone.

    Args:
        graph: The graph.
        trace: Its trace.
        wanted: Those that matter, besides what they are computed from; others may be missing from the answer.
    """
    small, nodes = _small_tensors_behind(graph, trace, wanted)
    found = {name for name in small if name in graph.stored or name in trace.integers}
    for node in nodes:
        if found.issuperset(filter(None, node.inputs)):
            found.update(o for o in node.outputs if o and _is_small(trace, o))
    return found


def _small_tensors_behind(graph: Graph, trace: Trace, wanted: Iterable[str]) -> tuple[set[str], list[Node]]:
    """The small ones among some tensors and what they are computed from, and the nodes in between, in graph order."""
    small: set[str] = set()
    nodes: dict[int, Node] = {}
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name in small or not _is_small(trace, name):
            continue
        small.add(name)
        node = graph.producer.get(name)
        if node is not None and node.index not in nodes and not node.captured:
            nodes[node.index] = node
            stack += [i for i in node.inputs if i]
    return small, [nodes[index] for index in sorted(nodes) if nodes[index].inputs]


def _is_small(trace: Trace, name: str) -> bool:
    return name in trace.shapes and math.prod(trace.shapes[name]) <= _MAX_CONSTANT


def size_output(node: Node, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """What a `Shape` or `Size` node puts out for a tensor of some shape."""
    if node.op_type == "Size":
        return np.array(math.prod(shape), dtype=np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))], dtype=np.int64)


def evaluate(
    graph: Graph, nodes: Sequence[Node], feeds: Mapping[str, NDArray[Any]], wanted: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Run some nodes alone, on constants; returns the wanted tensors by name."""
    protos = [graph.protos[node.index] for node in nodes]
    constants = [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    body = helper.make_graph(protos, "shapes", [], outputs, constants)
    model = helper.make_model(body, opset_imports=graph.proto.opset_import, ir_version=graph.proto.ir_version)
    return Session(model, optimize=False, threads=1, what="The model's shape arithmetic").run({})
