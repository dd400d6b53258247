"""A faster gradient of Clip with constant limits, such as Relu6, without comparisons and conversions.

Contract: the same values, but 0 instead of dy where x is exactly at a limit. Both are subgradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from onnx_dnscp.training.rewrites.pen import Pen, Rewrite

_STEEP = 2.0**100  # a power of two, so that limits times this are exact; and no float32 overflows for limits to 2**27


def replace_clip_gradient(model: onnx.ModelProto) -> Rewrite:
    """The rule that turns `dy * cast(x >= low and x <= high)` into `dy * step(x - low) * step(high - x)`."""
    limits = {
        t.name: float(numpy_helper.to_array(t)) for t in model.graph.initializer if not t.dims and t.data_type == 1
    }
    makers = {node.output[0]: node for node in model.graph.node if node.output}

    def rule(pen: Pen, node: onnx.NodeProto) -> bool:
        if node.op_type != "Mul":
            return False
        gradient, mask = node.input
        found = _clipped(makers, limits, mask)
        if found is None:
            return False
        x, bounds = found
        for slope, limit in bounds:
            step = pen.emit("HardSigmoid", x, alpha=slope * _STEEP, beta=-slope * limit * _STEEP)
            gradient = pen.emit("Mul", gradient, step, output=node.output[0] if (slope, limit) == bounds[-1] else "")
        return True

    return rule


def _clipped(
    makers: Mapping[str, onnx.NodeProto], limits: Mapping[str, float], mask: str
) -> tuple[str, list[tuple[float, float]]] | None:
    """What is clipped and, per limit, (1 where it is a lower one and -1 for an upper one, the limit)."""
    cast = makers.get(mask)
    both = makers.get(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
    if both is None or both.op_type != "And":
        return None
    bounds = []
    sources = set()
    for name in both.input:
        comparison = makers.get(name)
        slopes = {"GreaterOrEqual": 1.0, "LessOrEqual": -1.0}
        if comparison is None or comparison.op_type not in slopes:
            return None
        x, limit = comparison.input
        if limit not in limits or not math.isfinite(limits[limit]) or abs(limits[limit]) > 2.0**27:
            return None
        sources.add(x)
        bounds.append((slopes[comparison.op_type], limits[limit]))
    return (sources.pop(), bounds) if len(sources) == 1 else None
