"""Maps along one axis: a matrix or a list of positions that is applied to every line of a tensor along that axis.

Resizing, pooling, padding, cumulative sums and much data movement work on each axis apart. What an operator does to one
axis is found by asking the runtime: a linear operator that runs on the identity gives its own matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.model.runtime import MAX_IR_VERSION, Session
from onnx_dnscp.training.decompositions.registry import Site

_PER_AXIS = ("kernel_shape", "strides", "dilations", "output_padding", "output_shape")


def run_alone(site: Site, inputs: Sequence[NDArray[Any] | None], attributes: Mapping[str, Any]) -> NDArray[Any]:
    """First output of the site's operator for some inputs (None: omitted), with `attributes` instead of its own."""
    names = [f"i{position}" if value is not None else "" for position, value in enumerate(inputs)]
    stored = [numpy_helper.from_array(v, n) for n, v in zip(names, inputs, strict=True) if v is not None]
    node = helper.make_node(site.node.op_type, names, ["y"], domain=site.node.domain, **attributes)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "alone", [], [output], stored)
    opset = helper.make_opsetid(site.node.domain, site.opset)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=MAX_IR_VERSION)
    return Session(model, optimize=False, what=f"A lone {site.node.op_type} node").run({})["y"]


def axis_attributes(site: Site, number: int) -> dict[str, Any]:
    """Attributes of the node, with lists per spatial axis cut down to the spatial axis `number`."""
    count = len(site.shape()) - 2
    own = dict(site.attributes)
    own |= {name: [own[name][number - count]] for name in _PER_AXIS if name in own}
    if "pads" in own:
        own["pads"] = [own["pads"][number], own["pads"][number + count]]
    return own


def apply_matrix(site: Site, x: str, shape: Sequence[int], axis: int, matrix: NDArray[Any]) -> str:
    """Write `y[.., o, ..] = sum_i matrix[o, i] * x[.., i, ..]`; returns y.

    A product is also the fastest way to repeat positions: the backward pass of Gather is five times slower.

    Args:
        site: Where to write.
        x: Tensor of floats.
        shape: Its shape.
        axis: Counted from the front.
        matrix: (outputs, inputs).
    """
    outputs, inputs = matrix.shape
    if outputs == inputs and np.array_equal(matrix, np.eye(inputs)):
        return x
    if axis == len(shape) - 1:
        return site.emit("MatMul", x, site.constant(matrix.T)) if len(shape) > 1 else _apply_to_vector(site, x, matrix)
    if axis == len(shape) - 2:
        return site.emit("MatMul", site.constant(matrix), x)
    flat = site.reshape(x, (*shape[:axis], inputs, int(np.prod(shape[axis + 1 :]))))
    return site.reshape(site.emit("MatMul", site.constant(matrix), flat), (*shape[:axis], outputs, *shape[axis + 1 :]))


def _apply_to_vector(site: Site, x: str, matrix: NDArray[Any]) -> str:
    # The runtime cannot differentiate products with vectors.
    row = site.emit("MatMul", site.reshape(x, (1, -1)), site.constant(matrix.T))
    return site.reshape(row, (len(matrix),))


def take(site: Site, x: str, size: int, axis: int, positions: NDArray[Any]) -> str:
    """Write `y[.., o, ..] = x[.., positions[o], ..]` for any type of elements; returns y.

    Args:
        site: Where to write.
        x: Tensor.
        size: Its size along the axis.
        axis: Counted from the front.
        positions: (outputs,) integers from 0 to size - 1.
    """
    starts = np.flatnonzero(positions == 0)
    for start in starts:
        inside = positions[start : start + size]
        if len(inside) == size and np.array_equal(inside, np.arange(size)):
            # All of x lies in one piece: only what is added around it goes through the slow backward pass of Gather.
            pieces = [positions[:start], None, positions[start + size :]]
            names = [x if p is None else _gather(site, x, axis, p) for p in pieces if p is None or len(p)]
            return names[0] if len(names) == 1 else site.emit("Concat", *names, axis=axis)
    return _gather(site, x, axis, positions)


def _gather(site: Site, x: str, axis: int, positions: NDArray[Any]) -> str:
    return site.emit("Gather", x, site.integers(positions), axis=axis)
