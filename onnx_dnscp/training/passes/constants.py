"""Lift `Constant` nodes into initializers."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from onnx_dnscp.graph import read_graph


def lift_constants(model: onnx.ModelProto) -> None:
    """Replace every `Constant` node by an initializer of the same name."""
    stored = read_graph(model).stored
    for node in [n for n in model.graph.node if n.op_type == "Constant" and n.output[0] in stored]:
        model.graph.initializer.append(numpy_helper.from_array(stored[node.output[0]], node.output[0]))
        model.graph.node.remove(node)
