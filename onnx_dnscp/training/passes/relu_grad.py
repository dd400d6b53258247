"""A faster, bit-exact ReluGrad: the runtime's own kernel takes a branch per element."""

from __future__ import annotations

import onnx
from onnx import helper

from onnx_dnscp.model.editor import replace_nodes

_STEEP = 3e38  # nearly the largest float32: HardSigmoid(y, alpha=_STEEP, beta=0) is 1 for y > 0 and 0 otherwise


def replace_relu_grad(model: onnx.ModelProto) -> None:
    """Turn `ReluGrad(dY, Y)` into `Mul(dY, step(Y))` in a gradient graph, in place."""

    def product(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if node.op_type != "ReluGrad":
            return None
        gradient, y = node.input
        step = f"{node.output[0]}//step"
        return [
            helper.make_node("HardSigmoid", [y], [step], alpha=_STEEP, beta=0.0),
            helper.make_node("Mul", [gradient, step], [node.output[0]]),
        ]

    replace_nodes(model.graph, product)
