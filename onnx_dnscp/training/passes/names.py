"""Name every node: the runtime refuses nameless nodes once it has fused some of them."""

from __future__ import annotations

import onnx


def name_nodes(model: onnx.ModelProto) -> None:
    """Give each node a unique name; names carry no meaning in a training graph."""
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
