"""Store every constant in one way: as an initializer that is no graph input."""

from __future__ import annotations

import onnx

from onnx_dnscp.model.editor import add_constant, replace_nodes, set_elements
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import FIRST_IR_WITHOUT_INPUTS


def lift_constants(model: onnx.ModelProto) -> None:
    """Replace every `Constant` node by an initializer of the same name, and list no initializer as an input."""
    graph = model.graph
    stored = read_graph(model).stored
    constants = [node for node in graph.node if node.op_type == "Constant" and node.output[0] in stored]
    lifted = {add_constant(graph, node.output[0], stored[node.output[0]]) for node in constants}
    replace_nodes(graph, lambda node: [] if node.output[0] in lifted else None)
    initializers = {tensor.name for tensor in graph.initializer}
    set_elements(graph.input, [declared for declared in graph.input if declared.name not in initializers])
    model.ir_version = max(model.ir_version, FIRST_IR_WITHOUT_INPUTS)
