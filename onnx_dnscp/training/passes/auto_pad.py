"""Spell out SAME padding: the runtime's gradients are silently wrong for `auto_pad`."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from onnx_dnscp.model.editor import attributes, set_attribute
from onnx_dnscp.ops.padding import automatic_pads

_WINDOWED = frozenset({"Conv", "AveragePool", "MaxPool", "LpPool"})


def make_pads_explicit(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace `auto_pad` by explicit `pads`; `shapes` are the concrete ones of every tensor."""
    for node in [node for node in model.graph.node if node.op_type in _WINDOWED]:
        given = attributes(node)
        mode = given.get("auto_pad") or "NOTSET"
        if mode == "NOTSET":
            continue
        space = shapes[node.input[0]][2:]
        kernel = given.get("kernel_shape") or shapes[node.input[1]][2:]
        ones = [1] * len(space)
        pads = automatic_pads(mode, space, kernel, given.get("strides") or ones, given.get("dilations") or ones)
        set_attribute(node, "auto_pad", None)
        set_attribute(node, "pads", [*(begin for begin, _ in pads), *(end for _, end in pads)])
