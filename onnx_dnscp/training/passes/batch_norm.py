"""Batch normalisation for training: by the batch, or frozen as an affine map.

The runtime's gradient of inference-mode BatchNormalization is silently wrong, so it never stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_dnscp.model.editor import add_constant, attributes, replace_nodes, set_attribute

BatchNormMode = Literal["train", "frozen"]
_DEFAULT_EPSILON = 1e-5  # of the operator


def train_batch_norm(model: onnx.ModelProto, stored: Container[str]) -> dict[str, str]:
    """Put batch norms into training mode, in place.

    Those whose running statistics other batch norms share, or that read them through other nodes, stay as they are:
    one stored tensor cannot follow two layers.

    Args:
        model: The view.
        stored: Tensors of the user's file.

    Returns:
        Running mean or variance to the graph tensor with its next value; both must be fed as inputs, because the
        runtime shares equal constants and would overwrite them.
    """
    following: dict[str, str] = {}
    nodes = [node for node in model.graph.node if _is_batch_norm(node)]
    readers = Counter(name for node in nodes for name in node.input[3:5])
    for node in nodes:
        if any(name not in stored or readers[name] > 1 for name in node.input[3:5]):
            continue
        set_attribute(node, "training_mode", 1)
        del node.output[1:]
        for statistic in node.input[3:5]:
            following[statistic] = f"dnscp//next/{statistic}"
            node.output.append(following[statistic])
    return following


def freeze_batch_norm(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace batch norms that do not train by `(x - mean) * (1 / sqrt(var + eps)) * scale + bias`.

    Scale and bias can still learn. Exporters store equal tensors once, and put an Identity between one that learns and
    a statistic that began with its values.
    """
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]

    def affine(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if not _is_batch_norm(node) or _trains(node):
            return None
        x, scale, bias, mean, variance = node.input[:5]
        y = node.output[0]
        shape = (-1,) + (1,) * (len(shapes[x]) - 2)
        epsilon = attributes(node).get("epsilon", _DEFAULT_EPSILON)
        inverse_std = 1 / np.sqrt(stored[variance] + epsilon)
        constants = {
            f"{y}//mean": stored[mean].reshape(shape),
            f"{y}//inverse_std": inverse_std.astype(stored[variance].dtype).reshape(shape),
            f"{y}//shape": np.array(shape, dtype=np.int64),
        }
        for name, values in constants.items():
            add_constant(model.graph, name, values)
        centred, normal, scaled = f"{y}//centred", f"{y}//normal", f"{y}//scaled"
        return [
            helper.make_node("Sub", [x, f"{y}//mean"], [centred]),
            helper.make_node("Mul", [centred, f"{y}//inverse_std"], [normal]),
            helper.make_node("Reshape", [scale, f"{y}//shape"], [f"{y}//scale"]),
            helper.make_node("Mul", [normal, f"{y}//scale"], [scaled]),
            helper.make_node("Reshape", [bias, f"{y}//shape"], [f"{y}//bias"]),
            helper.make_node("Add", [scaled, f"{y}//bias"], [y]),
        ]

    replace_nodes(model.graph, affine)


def _is_batch_norm(node: onnx.NodeProto) -> bool:
    return node.op_type == "BatchNormalization" and not node.domain


def _trains(node: onnx.NodeProto) -> bool:
    return bool(attributes(node).get("training_mode"))
