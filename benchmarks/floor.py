"""What is left of a network's params when a share of every channel goes, except image channels and outputs."""

from __future__ import annotations

import math

import onnx

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def params_floor(model: onnx.ModelProto, ratio: float) -> float:
    """Share of params left if nothing but the inputs and outputs held channels; a guide, not a bound.

    Weights of the first and the last product lose channels on one side, depthwise weights have one side only, and all
    other weights lose them on both. Vectors shrink with their channels.
    """
    sizes = {t.name: list(t.dims) for t in model.graph.initializer if t.data_type in FLOATS}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type in FLOATS:
                sizes[node.output[0]] = list(attribute.t.dims)
    products = [n for n in model.graph.node if n.op_type in PRODUCTS and len(n.input) > 1 and n.input[1] in sizes]
    ends = {n.input[1] for n in (*products[:1], *products[-1:])}
    sides = {n.input[1]: 1 if n.input[1] in ends or sizes[n.input[1]][1] == 1 else 2 for n in products}
    left = sum(
        math.prod(s) * (1 - ratio) ** (sides.get(name, 1) if math.prod(s) > 1 else 0) for name, s in sizes.items()
    )
    return float(left / max(1, sum(math.prod(s) for s in sizes.values())))
