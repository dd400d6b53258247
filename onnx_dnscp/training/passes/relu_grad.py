"""A faster, bit-exact ReluGrad: the runtime's own kernel takes a branch per element."""

from __future__ import annotations

import onnx
from onnx import helper

_STEEP = 3e38  # nearly the largest float32: HardSigmoid(y, alpha=_STEEP, beta=0) is 1 for y > 0 and 0 otherwise


def replace_relu_grad(model: onnx.ModelProto) -> None:
    """Turn `ReluGrad(dY, Y)` into `Mul(dY, step(Y))` in a gradient graph, in place."""
    graph = model.graph
    for node in [n for n in graph.node if n.op_type == "ReluGrad"]:
        gradient, y = node.input
        x_gradient = node.output[0]
        step = f"{x_gradient}//step"
        position = next(i for i, n in enumerate(graph.node) if x_gradient in n.output)
        del graph.node[position]
        graph.node.insert(position, helper.make_node("Mul", [gradient, step], [x_gradient]))
        graph.node.insert(position, helper.make_node("HardSigmoid", [y], [step], alpha=_STEEP, beta=0.0))
