"""Batch normalisation for training: by the batch, or frozen as an affine map.

The runtime's gradient of inference-mode BatchNormalization is silently wrong, so it never stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

BatchNormMode = Literal["train", "frozen"]
_DEFAULT_EPSILON = 1e-5  # of the operator


def train_batch_norm(model: onnx.ModelProto) -> dict[str, str]:
    """Put batch norms into training mode, in place.

    Returns:
        Running mean or variance to the graph tensor with its next value; both must be fed as inputs, because the
        runtime shares equal constants and would overwrite them.
    """
    following: dict[str, str] = {}
    for node in _batch_norms(model):
        for attribute in [a for a in node.attribute if a.name == "training_mode"]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute("training_mode", 1))
        del node.output[1:]
        for statistic in node.input[3:5]:
            following[statistic] = f"dnscp//next/{statistic}"
            node.output.append(following[statistic])
    return following


def freeze_batch_norm(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace batch norms by `(x - mean) * (1 / sqrt(var + eps)) * scale + bias`; scale and bias can still learn."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in _batch_norms(model):
        x, scale, bias, mean, variance = node.input[:5]
        y = node.output[0]
        shape = (-1,) + (1,) * (len(shapes[x]) - 2)
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), _DEFAULT_EPSILON)
        inverse_std = 1 / np.sqrt(stored[variance] + epsilon)
        constants = {
            f"{y}//mean": stored[mean].reshape(shape),
            f"{y}//inverse_std": inverse_std.astype(stored[variance].dtype).reshape(shape),
            f"{y}//shape": np.array(shape, dtype=np.int64),
        }
        model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants.items())
        centred, normal, scaled = f"{y}//centred", f"{y}//normal", f"{y}//scaled"
        nodes = [
            helper.make_node("Sub", [x, f"{y}//mean"], [centred]),
            helper.make_node("Mul", [centred, f"{y}//inverse_std"], [normal]),
            helper.make_node("Reshape", [scale, f"{y}//shape"], [f"{y}//scale"]),
            helper.make_node("Mul", [normal, f"{y}//scale"], [scaled]),
            helper.make_node("Reshape", [bias, f"{y}//shape"], [f"{y}//bias"]),
            helper.make_node("Add", [scaled, f"{y}//bias"], [y]),
        ]
        position = next(i for i, n in enumerate(model.graph.node) if n.output[0] == y)
        del model.graph.node[position]
        for offset, new in enumerate(nodes):
            model.graph.node.insert(position + offset, new)


def _batch_norms(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [n for n in model.graph.node if n.op_type == "BatchNormalization" and not n.domain]
