"""A read-only view of an ONNX graph: plain nodes, stored tensors, who makes and who reads what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.runtime import default_opset

ONE_TO_ONE = frozenset(
    {"Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear"}
)


@dataclass(frozen=True)
class Node:
    """One operator call.

    Attributes:
        index: Position in the graph's node list.
        attributes: Decoded values; tensors as numpy arrays, sub-graphs as GraphProto.
        name: The node's own name; empty if it has none or shares it with another node.
        captured: Names from the outer graph that sub-graphs of this node read.
    """

    index: int
    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    captured: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The node's name, or its first output's name where it has none."""
        return self.name or self.outputs[0]

    def __str__(self) -> str:
        return f"{self.op_type} node {self.label!r}"


@dataclass(frozen=True)
class Graph:
    """Nodes and tensors of one ModelProto, which it does not modify.

    Attributes:
        proto: The model this is a view of.
        nodes: In the file's (topological) order.
        stored: Every tensor whose value is in the file: initializers and `Constant` outputs.
        inputs: Graph inputs that a caller must feed, initializers excluded.
        outputs: Names of the graph outputs.
    """

    proto: onnx.ModelProto
    nodes: tuple[Node, ...]
    stored: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, onnx.TypeProto]
    outputs: tuple[str, ...]

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return default_opset(self.proto)

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """Tensor name to the node that makes it."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def readers(self) -> Mapping[str, tuple[tuple[Node, int], ...]]:
        """Tensor name to the (node, operand position) pairs that read it; position -1 is a sub-graph."""
        readers: dict[str, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for position, name in enumerate(node.inputs):
                readers.setdefault(name, []).append((node, position))
            for name in node.captured:
                readers.setdefault(name, []).append((node, -1))
        return {name: tuple(pairs) for name, pairs in readers.items()}

    def stored_source(self, name: str) -> str | None:
        """The stored tensor behind an operand, through operators that only rearrange or convert it."""
        while name not in self.stored:
            node = self.producer.get(name)
            if node is None or node.op_type not in ONE_TO_ONE or not node.inputs:
                return None
            name = node.inputs[0]
        return name


def read_graph(proto: onnx.ModelProto) -> Graph:
    """Return the view of `proto`."""
    uses = Counter(node.name for node in proto.graph.node)
    nodes = tuple(_read_node(i, n, n.name if uses[n.name] == 1 else "") for i, n in enumerate(proto.graph.node))
    stored: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in nodes:
        if node.op_type == "Constant" and not node.domain:
            value = _constant_value(node.attributes)
            if value is not None:
                stored[node.outputs[0]] = value
    inputs = {i.name: i.type for i in proto.graph.input if i.name not in stored}
    return Graph(proto, nodes, stored, inputs, tuple(o.name for o in proto.graph.output))


def _read_node(index: int, node: onnx.NodeProto, name: str) -> Node:
    attributes: dict[str, Any] = {}
    captured: list[str] = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            attributes[attribute.name] = numpy_helper.to_array(attribute.t)
            continue
        value = helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if attribute.type == onnx.AttributeProto.GRAPH:
            captured += _captured_names(attribute.g)
    domain = "" if node.domain == "ai.onnx" else node.domain
    inputs, outputs = tuple(node.input), tuple(node.output)
    return Node(index, node.op_type, domain, name, inputs, outputs, attributes, tuple(captured))


def _captured_names(body: onnx.GraphProto) -> Iterator[str]:
    """Names a sub-graph reads from outside itself."""
    own = {i.name for i in body.input} | {t.name for t in body.initializer}
    for node in body.node:
        yield from (name for name in node.input if name and name not in own)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from (name for name in _captured_names(attribute.g) if name not in own)
        own.update(node.output)
    yield from (output.name for output in body.output if output.name not in own)


def _constant_value(attributes: Mapping[str, Any]) -> NDArray[Any] | None:
    if "value" in attributes:
        return np.asarray(attributes["value"])
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32)):
        if name in attributes:
            return np.asarray(attributes[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in attributes:
            return np.asarray(attributes[name], dtype=np.int64)
    return None


def dimensions(type_proto: onnx.TypeProto) -> list[int | str | None]:
    """Declared shape of a tensor type: a number, a symbol's name, or None where nothing is said."""
    dims: list[int | str | None] = []
    for dim in type_proto.tensor_type.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param or None)
    return dims
