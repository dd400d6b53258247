"""Slice, with any stride.

A stride of n picks one position out of every n: the positions are cut into blocks of n, aligned at multiples of n,
which go or stay whole, so that after the removal the same offset and stride pick the same positions of what is left.
With a stride of 1 or -1 a block is one position.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.fields import IdField, axis_rows, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, list_value, resize_rule

Bounds = dict[int, tuple[int, int | None, int]]  # (start, stop, step) per axis, as Python slices understand them


@op_rule("Slice")
def slice_(op: Op) -> Flow:
    """Ids are sliced; bounds that depend on the data keep their axes whole."""
    flow = Flow()
    bounds = slice_bounds(op)
    axes = (op.axes("axes", 3) or range(len(op.data.shape))) if bounds is None else bounds
    touched = {axis % len(op.data.shape) for axis in axes}
    fields = []
    picked = []
    for ids in op.data.fields:
        if touched.isdisjoint(varying_axes(ids)):
            fields.append(ids)
        elif bounds is None:
            flow.lock(ids, f"{op.node} slices this axis at bounds that depend on the data")
        else:
            picked.append(_sliced(flow, op, ids, bounds))
    flow.outputs = [(*fields, *flow.picked(picked, op))]
    return flow


def _sliced(flow: Flow, op: Op, ids: IdField, bounds: Bounds) -> IdField:
    for axis, (_, _, step) in bounds.items():
        if ids.shape[axis] > 1:
            _unite_blocks(flow, op, ids, axis, abs(step))
    where = tuple(
        slice(*bounds[axis]) if axis in bounds and size > 1 else slice(None) for axis, size in enumerate(ids.shape)
    )
    return ids[where]


def _unite_blocks(flow: Flow, op: Op, ids: IdField, axis: int, width: int) -> None:
    rows = axis_rows(ids, axis)
    whole = len(rows) // width * width
    if whole < len(rows):
        rest = f"the axis ends in a part of a block of {width}"
        flow.lock(rows[whole:], f"{op.node} takes one position out of every {width}, and {rest}")
    if width > 1 and whole:
        blocks = rows[:whole].reshape(-1, width, rows.shape[1])
        flow.unions.append((blocks[:, :1], blocks))


def slice_bounds(op: Op) -> Bounds | None:
    """Normalised bounds of each axis; None if they are not known."""
    rank = len(op.data.shape)
    starts, ends = op.axes("starts", 1), op.axes("ends", 2)
    steps = op.axes("steps", 4) if op.input(4) is not None else [1] * len(starts or [])
    axes = op.axes("axes", 3) if "axes" in op.node.attributes or op.input(3) is not None else list(range(rank))
    if starts is None or ends is None or steps is None or axes is None:
        return None
    bounds: Bounds = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=False):
        # ONNX writes "past the front" as a huge negative, which Python would count from the end.
        first, stop, _ = slice(start, end, step).indices(op.data.shape[axis % rank])
        bounds[axis % rank] = (max(first, 0), None if stop < 0 else stop, step)
    return bounds


@resize_rule("Slice")
def resize_slice(op: Resize) -> list[Edit]:
    """Bounds count kept channels; a bound at or past an end stays as it was written."""
    rank = len(op.before(op.x))
    starts, ends = (list_value(op, name, operand) for name, operand in (("starts", 1), ("ends", 2)))
    axes = list_value(op, "axes", 3) or list(range(len(starts)))
    steps = list_value(op, "steps", 4) or [1] * len(starts)
    for i, axis in enumerate(axes):
        keep = op.keep(op.x, axis % rank)
        if not keep.all():
            starts[i] = _moved(starts[i], steps[i], keep, stop=False)
            ends[i] = _moved(ends[i], steps[i], keep, stop=True)
    return [op.set("starts", 1, starts), op.set("ends", 2, ends)]


def _moved(bound: int, step: int, keep: NDArray[np.bool_], *, stop: bool) -> int:
    """Where a bound lies among what is kept, written from the end if it was.

    A bound in a block that goes moves on to the first position that is still picked (a start), or just far enough to
    pick no more than before (a stop).
    """
    size, left = keep.size, int(keep.sum())
    position = bound + size if bound < 0 else bound
    if position < 0 or position >= size:
        return bound
    block, offset = divmod(position, abs(step))
    first = block * abs(step)
    moved = int(keep[:first].sum())
    if keep[first]:
        moved += offset
    elif step < 0:
        moved += -1 if stop else offset + step
    elif not stop:
        moved += offset
    from_end = (bound < 0 and moved < left) or moved < 0
    return moved - left if from_end else moved
