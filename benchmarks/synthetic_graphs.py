"""Graphs of any number of nodes: a plain chain, residual blocks, and branches that are concatenated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 16
SIZE = 8  # of the image; the graphs are about their nodes
HE, SMALL = 1.4, 0.05  # gains of a convolution; values must neither vanish nor overflow over thousands of nodes


class _Builder:
    """Adds nodes with names of their own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def conv(self, x: str, channels: int, width: int = WIDTH, gain: float = HE) -> str:
        scale = np.float32(gain / np.sqrt(channels))
        weight = self._rng.standard_normal((width, channels, 1, 1), dtype=np.float32) * scale
        self.weights.append(numpy_helper.from_array(weight, f"w{len(self.nodes)}"))
        return self.add("Conv", [x, self.weights[-1].name])

    def model(self, y: str, width: int) -> onnx.ModelProto:
        pooled = self.add("GlobalAveragePool", [self.conv(y, width, 10)])
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
        output = helper.make_tensor_value_info(pooled, TensorProto.FLOAT, [1, 10, 1, 1])
        graph = helper.make_graph(self.nodes, "synthetic", [image], [output], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain(num_nodes: int) -> onnx.ModelProto:
    """Conv, Relu, Conv, Relu ..."""
    b = _Builder()
    x = b.conv("image", 3)
    while len(b.nodes) < num_nodes:
        x = b.conv(b.add("Relu", [x]), WIDTH)
    return b.model(x, WIDTH)


def residual(num_nodes: int) -> onnx.ModelProto:
    """Blocks of Relu, Conv, Relu, Conv and Add; all sums share one group."""
    b = _Builder()
    x = b.conv("image", 3)
    while len(b.nodes) < num_nodes:
        inner = b.conv(b.add("Relu", [x]), WIDTH)
        x = b.add("Add", [x, b.conv(b.add("Relu", [inner]), WIDTH, gain=SMALL)])
    return b.model(x, WIDTH)


def branches(num_nodes: int) -> onnx.ModelProto:
    """Blocks of four convolutions side by side, joined by Concat, as in Inception."""
    b = _Builder()
    x, width = b.conv("image", 3), WIDTH
    while len(b.nodes) < num_nodes:
        parts = [b.add("Relu", [b.conv(x, width, WIDTH // 4)]) for _ in range(4)]
        x, width = b.add("Concat", parts, axis=1), WIDTH
    return b.model(x, width)


def wide_chain(layers: int, width: int) -> onnx.ModelProto:
    """A chain of pointwise convolutions with large weights."""
    b = _Builder()
    x = b.conv("image", 3, width)
    for _ in range(layers):
        x = b.conv(b.add("Relu", [x]), width, width)
    return b.model(x, width)


GRAPHS: dict[str, Callable[[int], onnx.ModelProto]] = {"chain": chain, "residual": residual, "branches": branches}
