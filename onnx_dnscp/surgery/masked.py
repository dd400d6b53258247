"""The masked model: the original graph with `Mul(W, T)` on its consumers' input channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.graph import Graph
from onnx_dnscp.units import Units

MASK_PREFIX = "dnscp_mask//"


def mask_model(model: onnx.ModelProto, units: Units, removed: NDArray[np.bool_]) -> onnx.ModelProto:
    """A copy of `model` whose consumers multiply the removed units by 0; nothing is cut.

    Args:
        model: The model `units` was found in, or one that differs in its weights' values only.
        units: What discovery found.
        removed: (units,) True for the units to silence.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stays = np.append(~removed, True)  # FIXED = -1 picks the appended True
    for position, consumer in enumerate(units.consumers):
        if not removed[consumer.channel_units[consumer.channel_units >= 0]].any():
            continue
        node = next(n for n in result.graph.node if consumer.output in n.output)
        dtype = _operand_dtype(units.graph, node.input[consumer.operand])
        mask, masked = f"{MASK_PREFIX}{position}", f"{MASK_PREFIX}{position}/weight"
        values = stays[consumer.operand_units].astype(dtype)
        result.graph.initializer.append(numpy_helper.from_array(values, mask))
        index = next(i for i, n in enumerate(result.graph.node) if n.output[0] == node.output[0])
        source = node.input[consumer.operand]
        node.input[consumer.operand] = masked
        result.graph.node.insert(index, helper.make_node("Mul", [source, mask], [masked], name=masked))
    return result


def _operand_dtype(graph: Graph, name: str) -> np.dtype[Any]:
    """Element type in which a stored tensor reaches its consumer: a Cast or DequantizeLinear on the way decides it."""
    while name not in graph.stored:
        node = graph.producer[name]
        if node.op_type == "Cast":
            return np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
        name = node.inputs[1 if node.op_type == "DequantizeLinear" else 0]  # the scale has the type of the result
    return graph.stored[name].dtype
