"""The masked model: the original graph with `Mul(W, T)` on its consumers' input channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.surgery.weights import stored_tensors
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
    types = _element_types(model)
    stays = np.append(~removed, True)  # FIXED = -1 picks the appended True
    for position, consumer in enumerate(units.consumers):
        if not removed[consumer.channel_units[consumer.channel_units >= 0]].any():
            continue
        node = next(n for n in result.graph.node if consumer.output in n.output)
        dtype = helper.tensor_dtype_to_np_dtype(types.get(consumer.weight, onnx.TensorProto.FLOAT))
        if np.issubdtype(dtype, np.integer):
            dtype = np.dtype(np.float32)  # a quantised weight reaches its consumer dequantised
        mask, masked = f"{MASK_PREFIX}{position}", f"{MASK_PREFIX}{position}/weight"
        values = stays[consumer.operand_units].astype(dtype)
        result.graph.initializer.append(numpy_helper.from_array(values, mask))
        index = next(i for i, n in enumerate(result.graph.node) if n.output[0] == node.output[0])
        source = node.input[consumer.operand]
        node.input[consumer.operand] = masked
        result.graph.node.insert(index, helper.make_node("Mul", [source, mask], [masked], name=masked))
    return result


def _element_types(model: onnx.ModelProto) -> Mapping[str, int]:
    return {name: tensor.data_type for name, tensor in stored_tensors(model)}
