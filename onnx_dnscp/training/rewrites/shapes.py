"""Shapes in a gradient graph, which is made for fixed input shapes but declares them for gradients only."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from onnx_dnscp.training.rewrites.convolution import Convolution, is_convolution

Shape = tuple[int, ...]

_JOINING = frozenset({"Add", "Sum", "Mul"})
_ALIKE = frozenset({"BatchNormInternal", "Relu", "Clip", "HardSigmoid", "Identity"}) | _JOINING


def known_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shape of every tensor for which the graph tells it: declared ones, and what follows for convolutions."""
    shapes = _declared_shapes(model.graph)
    for node in model.graph.node:
        if node.op_type == "ConvGrad":
            for operand, gradient in zip(node.input[1:3], node.output[:2], strict=False):
                if gradient in shapes:
                    shapes.setdefault(operand, shapes[gradient])
    for node in model.graph.node:
        if node.output[0] not in shapes and (shape := _result_shape(node, shapes)):
            shapes[node.output[0]] = shape
    return shapes


def _declared_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for declared in (*graph.input, *graph.value_info, *graph.output):
        dims = declared.type.tensor_type.shape.dim
        if declared.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims):
            shapes[declared.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _result_shape(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Shape | None:
    """Shape of what a node makes, where it follows from its operands'; a scalar's is not looked for."""
    if is_convolution(node):
        convolution = Convolution.read(node, shapes)
        return None if convolution is None else convolution.y
    if node.op_type not in _ALIKE:
        return None
    operands = {shapes.get(name) for name in (node.input if node.op_type in _JOINING else node.input[:1])}
    return operands.pop() if len(operands) == 1 else None
