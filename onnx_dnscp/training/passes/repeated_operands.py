"""A weight that one node reads twice: the runtime writes its gradient twice under one name and refuses the graph."""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import helper

from onnx_dnscp.model.editor import replace_nodes


def separate_repeated_operands(model: onnx.ModelProto, trainable: Collection[str]) -> None:
    """Let every further operand that is the same weight read a copy of it, as in `Mul(W, W)`, in place.

    Args:
        model: A training view.
        trainable: Tensors that learn.
    """
    learned = set(trainable)

    def separated(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        copies = []
        for position, name in enumerate(node.input):
            if name in learned and name in node.input[:position]:
                copy = f"{node.output[0]}//operand/{position}"
                copies.append(helper.make_node("Identity", [name], [copy]))
                node.input[position] = copy
        return [*copies, node]

    replace_nodes(model.graph, separated)
