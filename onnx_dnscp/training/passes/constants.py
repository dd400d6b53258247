"""Store every constant in one way: as an initializer that is no graph input."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import FIRST_IR_WITHOUT_INPUTS


def lift_constants(model: onnx.ModelProto) -> None:
    """Replace every `Constant` node by an initializer of the same name, and list no initializer as an input."""
    graph = model.graph
    stored = read_graph(model).stored
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in stored:
            graph.initializer.append(numpy_helper.from_array(stored[node.output[0]], node.output[0]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [declared for declared in graph.input if declared.name not in initializers]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, FIRST_IR_WITHOUT_INPUTS)
