"""Spell out SAME padding: the runtime's gradients are silently wrong for `auto_pad`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

_WINDOWED = frozenset({"Conv", "AveragePool", "MaxPool", "LpPool"})


def make_pads_explicit(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace `auto_pad` by explicit `pads`; `shapes` are the concrete ones of every tensor."""
    nodes = [
        n for n in model.graph.node if n.op_type in _WINDOWED and _attribute(n, "auto_pad", b"NOTSET") != b"NOTSET"
    ]
    for node in nodes:
        mode = _attribute(node, "auto_pad", b"")
        kernel = list(_attribute(node, "kernel_shape", None) or shapes[node.input[1]][2:])
        space = shapes[node.input[0]][2:]
        strides = list(_attribute(node, "strides", None) or [1] * len(space))
        dilations = list(_attribute(node, "dilations", None) or [1] * len(space))
        begins, ends = [], []
        for size, window, stride, dilation in zip(space, kernel, strides, dilations, strict=True):
            total = 0
            if mode != b"VALID":
                outputs = -(-size // stride)
                total = max(0, (outputs - 1) * stride + (window - 1) * dilation + 1 - size)
            small, large = total // 2, total - total // 2
            begins.append(large if mode == b"SAME_LOWER" else small)
            ends.append(small if mode == b"SAME_LOWER" else large)
        for attribute in [a for a in node.attribute if a.name in ("auto_pad", "pads")]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute("pads", begins + ends))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
