"""A weight that one node reads twice: the runtime writes its gradient twice under one name and refuses the graph."""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import helper


def separate_repeated_operands(model: onnx.ModelProto, trainable: Collection[str]) -> None:
    """Let every further operand that is the same weight read a copy of it, as in `Mul(W, W)`, in place.

    Args:
        model: A training view.
        trainable: Tensors that learn.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in trainable and name in node.input[:position]:
                copy = f"{node.output[0]}//operand/{position}"
                nodes.append(helper.make_node("Identity", [name], [copy]))
                node.input[position] = copy
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
