"""Shapes in a gradient graph, which is made for fixed input shapes but declares them for gradients only."""

from __future__ import annotations

import onnx

from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution

Shape = tuple[int, ...]

_ALIKE = frozenset({"BatchNormInternal", "Relu", "Clip", "HardSigmoid", "Identity", "Add", "Sum", "Mul"})


def known_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shape of every tensor for which the graph tells it: declared ones, and what follows for convolutions."""
    graph = model.graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for declared in (*graph.input, *graph.value_info, *graph.output):
        dims = declared.type.tensor_type.shape.dim
        if declared.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims):
            shapes[declared.name] = tuple(dim.dim_value for dim in dims)
    for node in graph.node:
        if node.op_type == "ConvGrad":
            for operand, gradient in zip(node.input[1:3], node.output[:2], strict=False):
                if gradient in shapes:
                    shapes.setdefault(operand, shapes[gradient])
    for node in graph.node:
        if node.output[0] in shapes:
            continue
        if is_convolution(node):
            convolution = Convolution.read(node, shapes)
            if convolution is not None:
                shapes[node.output[0]] = convolution.y
        elif node.op_type in _ALIKE:
            operands = {
                shapes.get(name, ())
                for name in (node.input if node.op_type in ("Add", "Sum", "Mul") else node.input[:1])
            }
            if len(operands) == 1 and operands != {()}:
                shapes[node.output[0]] = operands.pop()
    return shapes
