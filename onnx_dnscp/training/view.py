"""The training view: a copy of the model, arranged so that it can be trained, with masks on its consumers.

Weight names map one to one to the original's, so trained values flow back by name; nothing else of the view
ever reaches a saved file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.editor import add_constant, keep_needed, replace_nodes, set_elements
from onnx_dnscp.model.graph import Graph, Node, read_graph
from onnx_dnscp.model.units import Units
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.abilities import Abilities
from onnx_dnscp.training.differentiable import ORT_ABILITIES
from onnx_dnscp.training.frontier import Frontier, find_frontier, listed
from onnx_dnscp.training.optimizers import ParameterSettings
from onnx_dnscp.training.passes.auto_pad import make_pads_explicit
from onnx_dnscp.training.passes.batch_norm import BatchNormMode, freeze_batch_norm, train_batch_norm
from onnx_dnscp.training.passes.branches import inline_decided_branches
from onnx_dnscp.training.passes.constant_folding import fold_constants
from onnx_dnscp.training.passes.constants import lift_constants
from onnx_dnscp.training.passes.decompose import decompose
from onnx_dnscp.training.passes.dropout import drop_dropout
from onnx_dnscp.training.passes.float32 import to_float32
from onnx_dnscp.training.passes.masks import insert_masks
from onnx_dnscp.training.passes.names import name_nodes
from onnx_dnscp.training.passes.opset import to_trainable_opset
from onnx_dnscp.training.passes.repeated_operands import separate_repeated_operands
from onnx_dnscp.training.passes.static_shapes import fix_input_shapes

OWN = "dnscp//"  # names of what a view adds to the network
MASK_INPUT = f"{OWN}mask"
LOSS = f"{OWN}loss"
ADDED = f"{OWN}added/"  # before the names of parameters that are none of the network's

# Operands that hold weights to learn, per operator. Other stored tensors (input normalisation, shapes, anchors) stay.
LEARNED_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "RNN": (1, 2, 3),
    "GRU": (1, 2, 3),
    "LSTM": (1, 2, 3),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
    "SimplifiedLayerNormalization": (1,),
}


@dataclass
class TrainingView:
    """A forward graph on its way to a training graph. Passes, losses and methods edit it in place.

    Attributes:
        model: The graph; its outputs are the loss and the new running statistics.
        trainable: Stored tensors that learn, in graph order.
        statistics: Running statistic of batch norm to the graph output with its next value.
        masks: Names of the mask tensors that weights are multiplied with.
        added: Parameters that are none of the network's, and how they learn.
        taps: Original output to the tensors that losses look at; see `Frontier`.
        values: Start value of every tensor that is fed as an input instead of stored: trainable and statistics.
        notes: What the user should know about it.
    """

    model: onnx.ModelProto
    trainable: list[str]
    statistics: dict[str, str]
    taps: dict[str, tuple[str, ...]]
    values: dict[str, NDArray[Any]]
    masks: list[str] = field(default_factory=list)
    added: dict[str, ParameterSettings] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_input(self, name: str, element_type: int, shape: tuple[int, ...]) -> None:
        """Declare one more tensor that every step feeds."""
        self.model.graph.input.append(helper.make_tensor_value_info(name, element_type, shape))

    def add_parameter(
        self, name: str, values: NDArray[Any], *, rate: float = 1.0, weight_decay: float | None = None
    ) -> str:
        """Declare one more tensor that learns, and return what it is called here.

        Args:
            name: Tells it from other parameters of the method.
            values: At the start; float32.
            rate: Factor on the learning rate.
            weight_decay: None decays it like the network's own tensors.
        """
        name = f"{ADDED}{name}"
        if name in self.values:
            raise ValueError(f"the view has a parameter {name!r} already")
        self.values[name] = np.array(values, dtype=np.float32, order="C")
        self.add_input(name, TensorProto.FLOAT, self.values[name].shape)
        self.trainable.append(name)
        self.added[name] = ParameterSettings(rate, weight_decay)
        return name

    def add_gates(self, gates: str) -> None:
        """Multiply every masked weight, in front of its mask, by a (units,) tensor that is at hand before all nodes."""
        graph, one = self.model.graph, self.add_constant(f"{gates}/one", np.ones(1, dtype=np.float32))
        whole = f"{gates}/whole"  # FIXED picks the appended 1
        indices = {node.output[0]: node.input[1] for node in graph.node if node.output[0] in self.masks}

        def gated(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
            mask = next((name for name in node.input if name in indices), None)
            if mask is None or node.op_type != "Mul":
                return None
            own, product = f"{mask}/gate", f"{mask}/gated"
            weight = 1 - list(node.input).index(mask)
            gather = helper.make_node("Gather", [whole, indices[mask]], [own], name=own)
            multiply = helper.make_node("Mul", [node.input[weight], own], [product], name=product)
            node.input[weight] = product
            return [gather, multiply, node]

        replace_nodes(graph, gated)
        set_elements(graph.node, [helper.make_node("Concat", [gates, one], [whole], name=whole, axis=0), *graph.node])

    def add_constant(self, name: str, values: NDArray[Any]) -> str:
        """Store a constant and return its name."""
        return add_constant(self.model.graph, name, values)

    def add_node(self, op_type: str, inputs: list[str], output: str | list[str], **attributes: Any) -> str:
        """Append a node and return the name of its (first) output."""
        outputs = [output] if isinstance(output, str) else output
        self.model.graph.node.append(helper.make_node(op_type, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def add_sum(self, terms: Sequence[str], output: str) -> str:
        """Append nodes that add up scalars and return the name of the sum."""
        total = terms[0]
        for number, term in enumerate(terms[1:]):  # the runtime has no gradient of Sum
            total = self.add_node("Add", [total, term], f"{output}/sum/{number}")
        return self.add_node("Identity", [total], output)


def build_view(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    units: Units | None = None,
    batch_norm: BatchNormMode = "train",
    learned: Sequence[str] | None = None,
    abilities: Abilities = ORT_ABILITIES,
    squashed: bool = False,
) -> TrainingView:
    """Arrange a copy of `model` for training.

    Args:
        model: The original or pruned model; not modified.
        shapes: Concrete shape of every graph input, batch first.
        units: If given, a mask vector of one value per unit multiplies their consumers' input channels.
        batch_norm: "train" normalises by the batch and updates running statistics; "frozen" keeps them.
        learned: Stored tensors that learn; by default the weights of convolutions and the like, see `LEARNED_OPERANDS`.
        abilities: Of the engine that is to train.
        squashed: Whether losses look at outputs as they are, and not behind a final Softmax or Sigmoid.

    Raises:
        ModelError: The opset cannot be converted.
        RequestError: Nothing that a gradient can reach learns.
    """
    copy = to_trainable_opset(model)
    to_float32(copy)
    lift_constants(copy)
    fix_input_shapes(copy, shapes)
    drop_dropout(copy)
    _decide_branches(copy)
    graph = read_graph(copy)
    traced = dict(trace(graph).shapes)
    if learned is None:
        learned = _learned_tensors(graph)
    view = TrainingView(copy, list(learned), {}, {}, {})
    if units is not None:
        view.add_input(MASK_INPUT, TensorProto.FLOAT, (units.num_units + 1,))
        view.masks = insert_masks(copy, graph, units, traced, MASK_INPUT)
    fold_constants(copy, traced, view.trainable)
    make_pads_explicit(copy, traced)
    if batch_norm == "train":
        view.statistics = train_batch_norm(copy, graph.stored)
    freeze_batch_norm(copy, traced)
    view.values = {name: np.array(graph.stored[name]) for name in (*view.trainable, *view.statistics)}
    _feed(copy, view.values.keys())
    decompose(copy, traced, view.trainable, abilities)
    separate_repeated_operands(copy, view.trainable)
    known = {name for node in model.graph.node for name in node.output}
    frontier = find_frontier(copy, graph, shapes, view.trainable, known, abilities=abilities, squashed=squashed)
    stops = _end_at_frontier(view, frontier, shapes)
    reading = {consumer.weight for consumer in units.consumers} if units is not None else set()
    if (reading or set(learned)).isdisjoint(view.trainable):
        raise RequestError(_why_nothing_learns(units, stops))
    name_nodes(copy)
    del copy.graph.output[:]
    copy.graph.output.extend(
        helper.make_tensor_value_info(new, TensorProto.FLOAT, view.values[old].shape)
        for old, new in view.statistics.items()
    )
    return view


def _decide_branches(model: onnx.ModelProto) -> None:
    """Take every If that sizes decide out of the graph, also those in the branches of others."""
    while any(node.op_type == "If" for node in model.graph.node):
        graph = read_graph(model)
        fold_constants(model, trace(graph).shapes, _learned_tensors(graph))
        if not inline_decided_branches(model):
            return
        lift_constants(model)


def _end_at_frontier(view: TrainingView, frontier: Frontier, inputs: Collection[str]) -> list[str]:
    """Cut off what lies behind the taps, with all that would learn or be counted there.

    Returns:
        What gradients cannot pass, as messages call it.
    """
    view.taps, view.notes = frontier.taps, frontier.notes()
    keep_needed(view.model.graph, chain(*frontier.taps.values()))
    here = {name for node in view.model.graph.node for name in (*node.input, *node.output)}
    view.statistics = {old: new for old, new in view.statistics.items() if new in here}
    view.trainable, view.masks = ([name for name in names if name in here] for names in (view.trainable, view.masks))
    view.values = {name: value for name, value in view.values.items() if name in here}
    fed = here | {*inputs, MASK_INPUT}
    set_elements(view.model.graph.input, [i for i in view.model.graph.input if i.name in fed])
    return list(dict.fromkeys(chain(*frontier.stops.values())))


def _why_nothing_learns(units: Units | None, stops: list[str]) -> str:
    pairs = [] if units is None else [(c, units.graph.stored.dtype(c.weight)) for c in units.consumers]
    for consumer, dtype in pairs:
        if dtype.kind in "iu" or dtype.name.endswith("int4"):
            return (
                f"The weight {consumer.weight!r} of node {consumer.node!r} is stored in {dtype.name}, which cannot be "
                "trained; prune with --no-train, or prune the network before quantising it."
            )
    why = f": no gradient passes {listed(stops)}" if stops else ""
    return f"No weight of the model that reads prunable channels can learn{why}. Prune it with --no-train."


def _made_outside_bodies(graph: Graph) -> set[str]:
    return {name for node in graph.proto.graph.node for name in node.output}


def _learned_tensors(graph: Graph) -> list[str]:
    outside = _made_outside_bodies(graph)
    nodes = [node for node in graph.nodes if node.result in outside]
    return list(dict.fromkeys(name for node in nodes for name in _learned_by(node, graph)))


def _learned_by(node: Node, graph: Graph) -> Iterator[str]:
    """The stored tensors that a node learns."""
    operands = LEARNED_OPERANDS.get(node.op_type, ()) if not node.domain else ()
    least = 0  # elements
    if node.op_type == "Add" and any(_is_product(graph, name) for name in node.inputs):
        operands = (0, 1)  # a bias that the exporter wrote apart from its product
        least = 2  # a single number is part of a formula, such as the 3 of a hard sigmoid
    for name in (graph.stored_source(node.inputs[position]) for position in operands if position < len(node.inputs)):
        if name is not None and graph.stored.dtype(name) == np.float32 and graph.stored.size(name) >= least:
            yield name


def _is_product(graph: Graph, name: str) -> bool:
    node = graph.producer.get(name)
    return node is not None and node.op_type in ("MatMul", "Conv", "ConvTranspose")


def _feed(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Turn initializers into graph inputs, so that the training graph reads them from outside."""
    graph = model.graph
    declared = {i.name for i in graph.input}
    for tensor in graph.initializer:
        if tensor.name in names and tensor.name not in declared:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    set_elements(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in names])
