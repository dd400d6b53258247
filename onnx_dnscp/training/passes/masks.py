"""Masks on what consumers read: a Gather and a Mul in front of each, inserted through onnx-graphsurgeon.

Its round trip is not faithful: it skips attributes of rare types, fails on empty lists and on optionals, and copies
every tensor. So an outline of the graph goes through it, nodes with their operands and sub-graphs, and the view's own
nodes, which keep their attributes, take operands and order from what comes back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper
from onnx_graphsurgeon.logger import G_LOGGER

from onnx_dnscp.model.editor import set_elements
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.structure import bodies
from onnx_dnscp.model.units import Consumer, Units


def insert_masks(
    model: onnx.ModelProto, graph: Graph, units: Units, shapes: dict[str, tuple[int, ...]], vector: str
) -> list[str]:
    """Multiply the weights of all consumers by masks, those in sub-graphs included, in place; dead nodes go.

    Args:
        model: With constants lifted; weights are still initializers, because clean-up is quadratic in graph inputs.
        graph: View of it.
        units: What discovery found.
        shapes: Of every tensor; learns those of the new ones.
        vector: The graph input that all masks are gathered from: (units + 1,), the last element always 1, which FIXED
            channels read.

    Returns:
        Names of the mask tensors.
    """
    consumers: defaultdict[str, list[tuple[int, Consumer]]] = defaultdict(list)
    for number, consumer in enumerate(units.consumers):
        node = graph.producer.get(consumer.output)  # none where sizes decide for another branch
        if node is not None and _is_float(graph, node.inputs[consumer.operand]):  # no gradient passes integer kernels
            consumers[consumer.output].append((number, consumer))
    protos: dict[str, onnx.NodeProto] = {}
    masks: list[str] = []

    def products(node: gs.Node, source: gs.Tensor) -> Iterator[gs.Node]:
        for number, consumer in [pair for result in node.outputs for pair in consumers.get(result.name, ())]:
            weight = node.inputs[consumer.operand]
            positions = np.where(consumer.operand_units < 0, units.num_units, consumer.operand_units)
            indices = gs.Constant(f"dnscp//units/{number}", positions.astype(np.int64))
            mask, masked = gs.Variable(f"dnscp//mask/{number}"), gs.Variable(f"dnscp//masked/{number}")
            node.inputs[consumer.operand] = masked
            yield gs.Node("Gather", inputs=[source, indices], outputs=[mask])
            yield gs.Node("Mul", inputs=[weight, mask], outputs=[masked])
            masks.append(mask.name)
            shapes[mask.name] = positions.shape
            if weight.name in shapes:
                shapes[masked.name] = shapes[weight.name]

    with G_LOGGER.suppress():  # it would print what it notices to the standard output
        surgeon = gs.import_onnx(helper.make_model(_outline(model.graph, protos), opset_imports=model.opset_import))
        source = next(tensor for tensor in surgeon.inputs if tensor.name == vector)
        for part in (surgeon, *surgeon.subgraphs(recursive=True)):
            part.nodes = [new for node in part.nodes for new in (*products(node, source), node)]
        surgeon.cleanup()
        _take_over(gs.export_onnx(surgeon, do_type_check=False).graph, model.graph, protos)
    return masks


def _is_float(graph: Graph, operand: str) -> bool:
    """Whether a weight operand holds floats, be they computed from stored integers."""
    while operand not in graph.stored:
        node = graph.producer.get(operand)
        if node is None or node.op_type in ("Cast", "DequantizeLinear"):
            return True
        operand = node.inputs[0]
    return bool(graph.stored.dtype(operand) == np.float32)


def _outline(graph: onnx.GraphProto, protos: dict[str, onnx.NodeProto]) -> onnx.GraphProto:
    """The nodes of a graph without attributes other than sub-graphs, each named by its key in `protos`."""
    outline = onnx.GraphProto(name="outline")
    for own, declared in ((outline.input, graph.input), (outline.output, graph.output)):
        own.extend(onnx.ValueInfoProto(name=info.name) for info in declared)
    for node in graph.node:
        name = str(len(protos))
        protos[name] = node
        copy = outline.node.add(
            op_type=node.op_type, domain=node.domain, name=name, input=node.input, output=node.output
        )
        for number, body in enumerate(bodies(node)):
            copy.attribute.append(helper.make_attribute(str(number), _outline(body, protos)))
    return outline


def _take_over(outline: onnx.GraphProto, graph: onnx.GraphProto, protos: dict[str, onnx.NodeProto]) -> None:
    """Give the nodes of `graph` the operands and the order of its outline, and what is new there."""
    nodes = []
    for node in outline.node:
        own = protos.get(node.name, node)
        nodes.append(own)
        if own is not node:
            own.input[:] = node.input
            for inner, body in zip(bodies(node), bodies(own), strict=True):
                _take_over(inner, body, protos)
    set_elements(graph.node, nodes)
    graph.initializer.extend(outline.initializer)
