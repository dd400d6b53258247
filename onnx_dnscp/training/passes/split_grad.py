"""Gradients of Split where some of its outputs have none: the runtime joins what there is, in the wrong shape."""

from __future__ import annotations

import onnx
from onnx import helper

from onnx_dnscp.model.editor import insert_before


def complete_split_gradients(model: onnx.ModelProto) -> None:
    """Join zeros for outputs of Split that the loss depends on in steps or not at all, in a gradient graph, in place.

    The backward of `a, b = Split(x)` is `dx = Concat(da, db)`; without a way from b to the loss it is `Concat(da)`.
    """
    graph = model.graph
    joins = {node.input[0]: node for node in graph.node if node.op_type == "Concat"}
    zeros: dict[str, list[onnx.NodeProto]] = {}  # by output of the join that reads them
    for split in [n for n in graph.node if n.op_type == "Split"]:
        gradients = [f"{output}_grad" for output in split.output]
        join = next((joins[name] for name in gradients if name in joins), None)
        if join is None or len(join.input) == len(gradients) or not set(join.input) <= set(gradients):
            continue
        there = set(join.input)
        del join.input[:]
        for output, gradient in zip(split.output, gradients, strict=True):
            if gradient in there:
                join.input.append(gradient)
                continue
            shape, nothing = f"{output}//shape", f"{output}//zeros"
            zeros.setdefault(join.output[0], []).extend(
                [
                    helper.make_node("Shape", [output], [shape]),
                    helper.make_node("ConstantOfShape", [shape], [nothing]),
                ]
            )
            join.input.append(nothing)
    insert_before(graph, zeros)
