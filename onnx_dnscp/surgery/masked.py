"""The masked model: the original graph with `Mul(W, T)` on its consumers' input channels.

A quantised weight is masked where it is stored. The runtime multiplies no 8-bit integers, and a product between
DequantizeLinear and a convolution would keep it from the integer kernels that it runs the pruned model with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.model.editor import add_constant, attributes, insert_before
from onnx_dnscp.model.structure import FLOATS, all_graphs
from onnx_dnscp.model.units import Consumer, Mask, Units, with_fixed
from onnx_dnscp.surgery.weights import set_tensor, stored_tensors

MASK_PREFIX = "dnscp_mask//"
_QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear"})


def mask_model(model: onnx.ModelProto, units: Units, mask: Mask) -> onnx.ModelProto:
    """A copy of `model` whose consumers multiply the units that go by 0; nothing is cut.

    Args:
        model: The model `units` was found in, or one that differs in its weights' values only.
        units: What discovery found.
        mask: (units,) True for the units that stay.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stays = with_fixed(mask, True)
    silenced = [(i, c) for i, c in enumerate(units.consumers) if not stays[c.channel_units].all()]
    if not silenced:
        return result
    sources = _Sources(result)
    places = _places(result.graph)
    products: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for position, consumer in silenced:
        graph, node = places[consumer.output]
        source = node.input[consumer.operand]
        element_type = sources.element_type(source)
        if element_type not in FLOATS or any(n.op_type in _QUANTISING for n in sources.way(source)):
            _silence_stored(sources.tensors[consumer.weight], consumer, stays)
            continue
        values = stays[consumer.operand_units].astype(helper.tensor_dtype_to_np_dtype(element_type))
        factors = add_constant(graph, f"{MASK_PREFIX}{position}", values)
        masked = node.input[consumer.operand] = f"{MASK_PREFIX}{position}/weight"
        products[consumer.output].append(helper.make_node("Mul", [source, factors], [masked], name=masked))
    for graph in all_graphs(result.graph):
        insert_before(graph, {name: new for name, new in products.items() if places[name][0] is graph})
    return result


def _places(outermost: onnx.GraphProto) -> dict[str, tuple[onnx.GraphProto, onnx.NodeProto]]:
    """The node that makes each tensor, with its graph."""
    graphs = reversed(list(all_graphs(outermost)))  # the outermost last, because a sub-graph may hide a name
    return {name: (graph, node) for graph in graphs for node in graph.node for name in node.output}


class _Sources:
    """Where the operands of a model come from.

    Attributes:
        tensors: Stored tensors by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.tensors = dict(stored_tensors(model))
        outermost_last = reversed(list(all_graphs(model.graph)))
        self._makers = {name: n for graph in outermost_last for n in graph.node for name in n.output}

    def way(self, name: str) -> Iterator[onnx.NodeProto]:
        """The nodes between an operand and the stored tensor behind it, the last one first."""
        while name not in self.tensors and name in self._makers and self._makers[name].input:
            yield self._makers[name]
            name = self._makers[name].input[0]

    def element_type(self, name: str) -> int:
        """ONNX element type in which a stored tensor arrives: a Cast or DequantizeLinear on the way decides it."""
        if name in self.tensors:
            return self.tensors[name].data_type
        node = self._makers.get(name)
        if node is None or not node.input:
            return TensorProto.FLOAT  # a Constant with a plain list of floats
        given = attributes(node)
        target = given.get("to") or given.get("output_dtype")
        if target:
            return int(target)
        if node.op_type == "DequantizeLinear":
            return self.element_type(node.input[1])  # the scale has the type of the result
        return self.element_type(node.input[0])


def _silence_stored(tensor: TensorProto, consumer: Consumer, stays: NDArray[np.bool_]) -> None:
    """Write 0 into the slices of a stored weight that read removed units."""
    values = numpy_helper.to_array(tensor).copy()
    values[np.broadcast_to(~stays[consumer.stored_rows(values.shape)], values.shape)] = 0
    set_tensor(tensor, values)
