"""A read-only view of an ONNX graph: plain nodes, stored tensors, who makes and who reads what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnx_dnscp.model.editor import decoded
from onnx_dnscp.model.runtime import default_opset
from onnx_dnscp.model.structure import all_nodes, bodies, captured_names, constant_tensor, tensor_dtype

ONE_TO_ONE = frozenset(
    {"Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
    | {"QuantizeLinear", "DequantizeLinear"}
)


CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "DeformConv"})
CHANNEL_AXIS = 1  # of the activations that convolutions read and make
_ROOM = 1 << 28  # bytes of decoded values that are kept; what does not fit is decoded anew each time


@dataclass(frozen=True)
class Body:
    """A sub-graph of a node (a branch of If, the body of a Loop), whose nodes are in the graph's own list.

    Attributes:
        attribute: The node's attribute that holds it.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    attribute: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One operator call.

    Attributes:
        index: Position among all nodes, those of sub-graphs included (`structure.all_nodes`).
        attributes: Decoded values, tensors as numpy arrays. A Constant's tensor is in the graph's `stored`; sub-graphs
            are in `bodies`.
        name: The node's own name; empty if it has none, or shares it with another node or another node's output.
        captured: Names from outside that sub-graphs of this node read.
        bodies: Its sub-graphs, where they can be read like the graph around them.
    """

    index: int
    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    captured: tuple[str, ...] = ()
    bodies: tuple[Body, ...] = ()

    @property
    def label(self) -> str:
        """The node's name, or its first output's name where it has none."""
        return self.name or self.result

    @property
    def result(self) -> str:
        """Name of the first output that is not left out."""
        return next(filter(None, self.outputs), "")

    def __str__(self) -> str:
        return f"{self.op_type} node {self.label!r}"


class StoredTensors(Mapping[str, NDArray[Any]]):
    """Values of stored tensors by name, decoded when they are asked for; in large models some anew each time.

    Args:
        sources: The tensors, or arrays where the file keeps plain lists.
    """

    def __init__(self, sources: Mapping[str, onnx.TensorProto | NDArray[Any]]) -> None:
        self._sources = sources
        self._shapes = {n: s.shape if isinstance(s, np.ndarray) else tuple(s.dims) for n, s in sources.items()}
        self._dtypes = {n: s.dtype if isinstance(s, np.ndarray) else tensor_dtype(s) for n, s in sources.items()}
        self._kept: dict[str, NDArray[Any]] = {}
        self._room = _ROOM

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in self._kept:
            return self._kept[name]
        source = self._sources[name]
        array = source if isinstance(source, np.ndarray) else numpy_helper.to_array(source)
        if array.nbytes <= self._room:
            self._kept[name] = array
            self._room -= array.nbytes
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without decoding it."""
        return self._shapes[name]

    def dtype(self, name: str) -> np.dtype[Any]:
        """Element type of a tensor, without decoding it."""
        return self._dtypes[name]

    def size(self, name: str) -> int:
        """Number of elements."""
        return math.prod(self.shape(name))

    def is_parameter(self, name: str) -> bool:
        """Whether a tensor counts as weights: floats of any precision and narrow integers, not shapes or indices."""
        return _is_weight_type(self.dtype(name))


def _is_weight_type(dtype: np.dtype[Any]) -> bool:
    return dtype.kind not in "iub" or dtype.itemsize < 4


@dataclass(frozen=True)
class Graph:
    """Nodes and tensors of one ModelProto, which it does not modify.

    Attributes:
        proto: The model this is a view of.
        nodes: In an order where each comes after what it reads: the nodes of a sub-graph before the node that owns it.
        protos: The NodeProto of each index.
        stored: Every tensor whose value is in the file: initializers and `Constant` outputs.
        inputs: Graph inputs that a caller must feed, initializers excluded.
        outputs: Names of the graph outputs.
        private: Stored tensors that the file keeps where a plan cannot name them (inside a model-local function).
        unseen_params: Elements of the weights in sub-graphs that cannot be read like the graph around them.
    """

    proto: onnx.ModelProto
    nodes: tuple[Node, ...]
    protos: tuple[onnx.NodeProto, ...]
    stored: StoredTensors
    inputs: Mapping[str, onnx.TypeProto]
    outputs: tuple[str, ...]
    private: frozenset[str] = field(default_factory=frozenset)
    unseen_params: int = 0

    @cached_property
    def opset(self) -> int:
        """Version of the default operator set."""
        return default_opset(self.proto)

    @property
    def convolutions(self) -> tuple[Node, ...]:
        """Convolutions of every kind."""
        return tuple(node for node in self.nodes if node.op_type in CONVOLUTIONS)

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

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Tensors that are stored or computed from stored tensors alone."""
        found = set(self.stored)
        for node in self.nodes:
            if node.inputs and not node.captured and all(not i or i in found for i in node.inputs):
                found.update(filter(None, node.outputs))
        return frozenset(found)

    def stored_source(self, name: str) -> str | None:
        """The stored tensor behind an operand, through operators that only rearrange or convert it."""
        while name not in self.stored:
            node = self.producer.get(name)
            if node is None or node.op_type not in ONE_TO_ONE or not node.inputs:
                return None
            name = node.inputs[0]
        return name


def read_graph(proto: onnx.ModelProto, private: frozenset[str] = frozenset()) -> Graph:
    """Return the view of `proto`; `private` names stored tensors that plans cannot name."""
    protos = tuple(all_nodes(proto.graph))
    labels = Counter(label for node in protos for label in {node.name, *node.output})
    reader = _Reader(proto.graph, {name for name, uses in labels.items() if uses > 1})
    nodes = tuple(reader.read(proto.graph, transparent=True))
    inputs = {i.name: i.type for i in proto.graph.input if i.name not in reader.stored}
    outputs = tuple(o.name for o in proto.graph.output)
    stored = StoredTensors(reader.stored)
    return Graph(proto, nodes, protos, stored, inputs, outputs, private, reader.unseen_params)


class _Reader:
    """Decodes nodes in the order of `all_nodes`.

    A sub-graph is transparent when no name in it means anything else elsewhere; its nodes are then nodes like others.
    What an opaque one holds is left alone.
    """

    def __init__(self, graph: onnx.GraphProto, shared_labels: set[str]) -> None:
        self.stored: dict[str, onnx.TensorProto | NDArray[Any]] = {}
        self.unseen_params = 0
        self._shared_labels = shared_labels
        self._uses = Counter(_defined_names(graph))
        self._index = 0

    def read(self, graph: onnx.GraphProto, *, transparent: bool) -> Iterator[Node]:
        """The nodes of a graph and its transparent sub-graphs; an opaque graph's are only counted."""
        if transparent:
            self.stored.update((tensor.name, tensor) for tensor in graph.initializer)
        else:
            self.unseen_params += _count_params(graph)
        for node in graph.node:
            graphs = [(a.name, body) for a in node.attribute for body in _attribute_graphs(a)]
            clear = transparent and all(self._is_clear(body) for _, body in graphs)
            for _, body in graphs:
                yield from self.read(body, transparent=clear)
            index, self._index = self._index, self._index + 1
            if transparent:
                yield self._node(index, node, graphs, clear=clear)

    def _node(
        self, index: int, node: onnx.NodeProto, graphs: Sequence[tuple[str, onnx.GraphProto]], *, clear: bool
    ) -> Node:
        """A node with sub-graphs by attribute name, which are transparent or not."""
        attributes = {a.name: decoded(a) for a in node.attribute if _is_plain(node, a)}
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            self._store_constant(node, attributes)
        return Node(
            index,
            node.op_type,
            "" if node.domain == "ai.onnx" else node.domain,
            "" if node.name in self._shared_labels else node.name,
            tuple(node.input),
            tuple(node.output),
            attributes,
            tuple(dict.fromkeys(name for _, graph in graphs for name in captured_names(graph))),
            tuple(_body(*named) for named in graphs) if clear else (),
        )

    def _is_clear(self, body: onnx.GraphProto) -> bool:
        return not body.sparse_initializer and all(self._uses[name] == 1 for name in _defined_names(body))

    def _store_constant(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        tensor = constant_tensor(node)
        value = _constant_list(attributes) if tensor is None else tensor
        if value is not None:
            self.stored[node.output[0]] = value


def _body(attribute: str, graph: onnx.GraphProto) -> Body:
    return Body(attribute, tuple(i.name for i in graph.input), tuple(o.name for o in graph.output))


def _count_params(graph: onnx.GraphProto) -> int:
    """Elements of a graph's own weights."""
    constants = (tensor for tensor in map(constant_tensor, graph.node) if tensor is not None)
    weights = (t for t in (*graph.initializer, *constants) if _is_weight_type(tensor_dtype(t)))
    return sum(math.prod(tensor.dims) for tensor in weights)


def _defined_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every tensor name that a graph or one of its sub-graphs makes; an input that repeats an initializer once."""
    yield from {i.name for i in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        yield from filter(None, node.output)
        for body in bodies(node):
            yield from _defined_names(body)


def _attribute_graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    if attribute.type == onnx.AttributeProto.GRAPH:
        return [attribute.g]
    return list(attribute.graphs) if attribute.type == onnx.AttributeProto.GRAPHS else []


def _is_plain(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    """Whether an attribute is decoded with its node; big constants are decoded when they are asked for."""
    return not _attribute_graphs(attribute) and not (node.op_type == "Constant" and attribute.name == "value")


def _constant_list(attributes: Mapping[str, Any]) -> NDArray[Any] | None:
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
