"""Straight-through masks: the gradient of the masked weight reaches the unmasked weight.

DNS-CP updates `W = W - lr * dL/d(W*T)`: a silenced channel's weights must go on learning, so that it can return.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from onnx_dnscp.model.editor import replace_nodes


def pass_gradients_through_masks(model: onnx.ModelProto, masks: Collection[str]) -> None:
    """Bypass, in a gradient graph, every backward product with a mask.

    The backward of `masked = Mul(W, mask)` is `dW = Mul(dmasked, mask)`; everything that reads dW reads dmasked
    afterwards. The forward products stay.
    """
    graph, factors = model.graph, set(masks)
    bypass: dict[str, str] = {}
    for node in [n for n in graph.node if n.op_type == "Mul" and not factors.isdisjoint(n.input)]:
        gradient = next(name for name in node.input if name not in factors)
        if gradient.endswith("_grad"):
            bypass[node.output[0]] = gradient
    replace_nodes(graph, lambda node: [] if node.output[0] in bypass else None)
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in bypass:
                node.input[position] = bypass[name]
    for name in outputs & bypass.keys():
        graph.node.append(onnx.helper.make_node("Identity", [bypass[name]], [name]))
