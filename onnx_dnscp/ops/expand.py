"""Tensors that are repeated, or filled with a constant.

Positions that repeat a single one, or hold a constant, get ids of their own: what they are joined with decides how many
are needed, and the number of repeats follows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onnx_dnscp.model.fields import IdField, align, on_axis
from onnx_dnscp.ops.registry import Flow, Op, Refusal, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, resize_rule


@op_rule("Expand")
def expand(op: Op) -> Flow:
    """Broadcasts to the wanted shape."""
    after = op.output_shapes[0]
    before = (1,) * (len(after) - len(op.data.shape)) + op.data.shape
    repeated = [axis for axis, size in enumerate(before) if size == 1]
    return Flow(outputs=[(*(align(f, len(after)) for f in op.data.fields), *_repeats(op, repeated))])


@op_rule("Tile")
def tile(op: Op) -> Flow | Refusal:
    """Copies of a channel go with it; only a single position that is repeated may be repeated less often."""
    x = op.data
    if 1 not in op.integers:
        return Refusal("its repeats depend on the data")
    repeats = [int(r) for r in op.integers[1]]
    moved = [np.tile(f, [r if f.shape[axis] > 1 else 1 for axis, r in enumerate(repeats)]) for f in x.fields]
    single = [axis for axis, size in enumerate(x.shape) if size == 1]
    return Flow(outputs=[(*(f for f in moved if f.size), *_repeats(op, single))])


@op_rule("ConstantOfShape")
def constant_of_shape(op: Op) -> Flow:
    """Every position holds the same number; integers are shape arithmetic and carry no ids."""
    value = op.node.attributes.get("value")
    if value is not None and value.dtype.kind in "iub":
        return Flow()
    return Flow(outputs=[_new_fields(op, range(len(op.output_shapes[0])))], reason=f"made by {op.node}")


def _repeats(op: Op, axes: Iterable[int]) -> tuple[IdField, ...]:
    """New fields along axes that repeat one position; integers are shape arithmetic and carry no ids."""
    return () if 0 in op.integers else _new_fields(op, axes)


def _new_fields(op: Op, axes: Iterable[int]) -> tuple[IdField, ...]:
    after = op.output_shapes[0]
    return tuple(on_axis(op.fresh((after[axis],)), axis, len(after)) for axis in axes if after[axis] > 1)


@resize_rule("Expand")
def resize_expand(op: Resize) -> list[Edit]:
    """The target is aligned at the last axis; a 1 takes the size of the data."""
    return [op.set("", 1, op.sizes(1))]


@resize_rule("Tile")
def resize_tile(op: Resize) -> list[Edit]:
    """Only repeats of a single position change."""
    repeats = [int(r) for r in np.asarray(op.integers(1)).ravel()]
    for axis, size in enumerate(op.before(op.x)):
        if size == 1:
            repeats[axis] = op.after(op.y)[axis]
    return [op.set("", 1, repeats)]


@resize_rule("ConstantOfShape")
def resize_constant_of_shape(op: Resize) -> list[Edit]:
    """The operand is the shape."""
    return [op.set("", 0, list(op.after(op.y)))]
