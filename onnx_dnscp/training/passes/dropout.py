"""Take inference-mode Dropout out of the graph: the training runtime would start to drop."""

from __future__ import annotations

import onnx


def drop_dropout(model: onnx.ModelProto) -> None:
    """Turn every `Dropout` into `Identity`, which is what it computes at inference."""
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.op_type = "Identity"
            del node.input[1:]
            del node.output[1:]
            del node.attribute[:]
