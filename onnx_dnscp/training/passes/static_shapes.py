"""Give every input a concrete shape: gradients of AveragePool crash or come out empty without one."""

from __future__ import annotations

from collections.abc import Mapping

import onnx


def fix_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write concrete sizes into the graph inputs and drop declared shapes of inner tensors, which may contradict."""
    for graph_input in model.graph.input:
        if graph_input.name in shapes:
            dims = graph_input.type.tensor_type.shape.dim
            for dim, size in zip(dims, shapes[graph_input.name], strict=True):
                dim.dim_value = size
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
