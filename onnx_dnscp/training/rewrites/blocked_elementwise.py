"""Elementwise operators between convolutions on blocks stay on blocks, which spares reordering."""

from __future__ import annotations

import onnx

from onnx_dnscp.training.rewrites.pen import Pen

_UNARY = frozenset({"Relu", "Clip", "HardSigmoid", "Identity"})  # more operands than the first are numbers
_EQUAL_SHAPES = frozenset({"Add", "Mul", "Sum"})


def is_elementwise(node: onnx.NodeProto) -> bool:
    """Whether a node may work on blocks as it works on plain tensors."""
    return node.op_type in _UNARY | _EQUAL_SHAPES and not node.domain


def block_elementwise(pen: Pen, node: onnx.NodeProto) -> bool:
    """An elementwise operator works on blocks where all operands are there in blocks, one of them at first hand."""
    if not is_elementwise(node):
        return False
    tensors = node.input[:1] if node.op_type in _UNARY else node.input
    operands = [pen.blocked.get(name, "") for name in tensors]
    shapes = {pen.shapes.get(name, ()) for name in tensors}
    if not all(operands) or len(shapes) != 1 or () in shapes:
        return False
    at_first_hand = any(name in pen.made_in_blocks for name in tensors)
    moved = onnx.NodeProto()
    moved.CopyFrom(node)
    moved.input[: len(operands)] = operands
    moved.output[0] = f"{node.output[0]}//blocks"
    pen.add(moved)
    if at_first_hand:
        pen.from_blocks(moved.output[0], node.output[0], shapes.pop())
    else:  # both forms are made; nobody may read this one, and then it goes
        pen.blocked[node.output[0]] = moved.output[0]
    return at_first_hand
