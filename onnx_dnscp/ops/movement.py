"""Data movement: the id arrays are moved with the same arithmetic as the data."""

from __future__ import annotations

import numpy as np

from onnx_dnscp.fields import IdField, reshape_field, varying_axes
from onnx_dnscp.ops.elementwise import join_broadcast
from onnx_dnscp.ops.registry import Flow, Op, Refusal, Value, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, SetAttribute, SetOperand, list_value, resize_rule


@op_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Op) -> Flow | Refusal:
    """All four keep the order of elements, so the traced output shape says everything."""
    x, target = op.data, op.output_shapes[0]
    if 0 in x.shape:
        return Refusal("it reshapes an empty tensor")
    if op.node.op_type == "Squeeze" and op.axes("axes", 1) is None:
        return Refusal("it squeezes whatever axes have size 1; name the axes")
    return Flow(outputs=[tuple(reshape_field(f, x.shape, target) for f in x.fields)])


@op_rule("Transpose")
def transpose(op: Op) -> Flow:
    """`perm` reverses the axes by default."""
    rank = len(op.data.shape)
    permutation = op.node.attributes.get("perm") or list(range(rank))[::-1]
    return Flow(outputs=[tuple(f.transpose(permutation) for f in op.data.fields)])


@op_rule("Concat")
def concat(op: Op) -> Flow:
    """Ids are concatenated; parts without ids get new ones that stay whole."""
    parts = [v for v in op.inputs if v is not None]
    rank = len(op.output_shapes[0])
    axis = int(op.node.attributes["axis"]) % rank
    flow = Flow()
    elsewhere = [Value(v.name, _without(v.shape, axis), _fields_off(v, axis), v.reason) for v in parts]
    fields = join_broadcast(flow, elsewhere, op)
    if any(v.varying(axis) for v in parts):
        joined = [_axis_ids(flow, op, v, axis) for v in parts]
        sizes = np.broadcast_shapes(*(_without(f.shape, axis) for f in joined))
        full = [np.broadcast_to(f, (*sizes[:axis], f.shape[axis], *sizes[axis + 1 :])) for f in joined]
        fields = (*fields, np.concatenate(full, axis=axis))
    flow.outputs = [fields]
    return flow


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _fields_off(value: Value, axis: int) -> tuple[IdField, ...]:
    return tuple(f for f in value.fields if axis not in varying_axes(f))


def _axis_ids(flow: Flow, op: Op, value: Value, axis: int) -> IdField:
    """One field along `axis`; new locked ids where the value has none there."""
    fields = value.varying(axis)
    if fields:
        flow.unions += [(fields[0], other) for other in fields[1:]]
        return fields[0]
    shape = tuple(size if a == axis else 1 for a, size in enumerate(value.shape))
    ids = op.fresh(shape)
    if value.shape[axis] > 1 or value.constant:
        flow.lock(ids, value.reason or f"{op.node} joins it with {value.name!r}")
    else:
        flow.lock(ids, value.reason or f"the only channel of {value.name!r}")
    return ids


@op_rule("Split")
def split(op: Op) -> Flow:
    """Consecutive pieces of one axis."""
    rank = len(op.data.shape)
    axis = int(op.node.attributes.get("axis", 0)) % rank
    ends = np.cumsum([shape[axis] for shape in op.output_shapes])
    flow = Flow()
    for shape, end in zip(op.output_shapes, ends, strict=True):
        piece = range(int(end) - shape[axis], int(end))
        flow.outputs.append(tuple(f if f.shape[axis] == 1 else f.take(piece, axis=axis) for f in op.data.fields))
    return flow


@op_rule("Slice")
def slice_(op: Op) -> Flow | Refusal:
    """Contiguous slices move ids; strided ones need their axis whole."""
    x = op.data
    bounds = slice_bounds(op)
    if bounds is None:
        return Refusal("its bounds are not integers the trace could see")
    flow = Flow()
    kept = []
    for ids in x.fields:
        for axis, (start, end, step) in bounds.items():
            if ids.shape[axis] == 1:
                continue
            if step != 1:
                flow.lock(ids, f"{op.node} takes every {step}th position of this axis")
            ids = ids[(slice(None),) * axis + (slice(start, end, step),)]
        kept.append(ids)
    flow.outputs = [tuple(kept)]
    return flow


def slice_bounds(op: Op) -> dict[int, tuple[int | None, int | None, int]] | None:
    """(start, end, step) per axis, as Python slices understand them; None if they are not known."""
    rank = len(op.data.shape)
    starts, ends = op.axes("starts", 1), op.axes("ends", 2)
    if starts is None or ends is None:
        return None
    axes = op.axes("axes", 3) or list(range(len(starts)))
    steps = op.axes("steps", 4) or [1] * len(starts)
    bounds: dict[int, tuple[int | None, int | None, int]] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = op.data.shape[axis % rank]
        stop = None if step < 0 and end < -size else end  # ONNX writes "past the front" as a huge negative
        bounds[axis % rank] = (start, stop, step)
    return bounds


@op_rule("Pad")
def pad(op: Op) -> Flow | Refusal:
    """Padded positions get ids of their own: they go away with the channels they are added to."""
    x = op.data
    before, after = pad_amounts(op)
    constant = op.node.attributes.get("mode", "constant") == "constant"
    flow = Flow()
    fields = []
    padded = {axis for axis in range(len(x.shape)) if before[axis] or after[axis]}
    for ids in x.fields:
        touched = padded & set(varying_axes(ids))
        if touched and (not constant or len(varying_axes(ids)) > 1 or min(*before, *after) < 0):
            flow.lock(ids, f"{op.node} pads or crops this axis other than with a constant")
            continue
        for axis in touched:
            shape = [1] * ids.ndim
            ends = []
            for amount in (before[axis], after[axis]):
                shape[axis] = amount
                ends.append(op.fresh(tuple(shape)))
            ids = np.concatenate([ends[0], ids, ends[1]], axis=axis)
        fields.append(ids)
    flow.outputs = [tuple(fields)]
    return flow


def pad_amounts(op: Op) -> tuple[list[int], list[int]]:
    """Positions added before and after, per axis of the data."""
    rank = len(op.data.shape)
    amounts = op.axes("pads", 1) or [0] * 2 * rank
    axes = op.axes("", 3) or list(range(rank))
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis % rank], after[axis % rank] = amounts[i], amounts[i + len(axes)]
    return before, after


@resize_rule("Reshape")
def resize_reshape(op: Resize) -> list[Edit]:
    """The target names sizes, 0 (copy) or -1 (infer); only sizes that changed are rewritten."""
    target = op.node.attributes.get("shape")
    target = op.integers(1) if target is None else target
    assert target is not None, "Reshape has a target in every opset"
    before, after, copied = op.before(op.y), op.after(op.y), op.after(op.x)
    new = [int(t) for t in target]
    for axis, size in enumerate(new):
        copies = size == 0 and not op.node.attributes.get("allowzero")
        if (copies and after[axis] != copied[axis]) or (size > 0 and after[axis] != before[axis]):
            new[axis] = after[axis]
    return [op.set("shape", 1, new)]


@resize_rule("Split")
def resize_split(op: Resize) -> list[Edit]:
    """Pieces that shrank unequally need their sizes spelled out."""
    axis = int(op.node.attributes.get("axis", 0)) % len(op.before(op.x))
    sizes = [op.after(name)[axis] for name in op.node.outputs]
    if "split" in op.node.attributes or op.has_operand(1):
        return [op.set("split", 1, sizes)]
    if len(set(sizes)) == 1 or sizes == [op.before(name)[axis] for name in op.node.outputs]:
        return []
    if op.units.graph.opset < 13:
        return [SetAttribute(op.node, "split", sizes)]
    return [SetAttribute(op.node, "num_outputs", None), SetOperand(op.node, 1, np.array(sizes, dtype=np.int64))]


@resize_rule("Slice")
def resize_slice(op: Resize) -> list[Edit]:
    """Bounds count kept channels; a bound at or past the end stays as it was written."""
    rank = len(op.before(op.x))
    starts, ends = (list_value(op, name, operand) for name, operand in (("starts", 1), ("ends", 2)))
    axes = list_value(op, "axes", 3) or list(range(len(starts)))
    for i, axis in enumerate(axes):
        keep = op.keep(op.x, axis % rank)
        if keep.all():
            continue
        size = keep.size
        starts[i] = int(keep[: _from_front(starts[i], size)].sum())
        if ends[i] < size:
            ends[i] = int(keep[: _from_front(ends[i], size)].sum())
    return [op.set("starts", 1, starts), op.set("ends", 2, ends)]


def _from_front(bound: int, size: int) -> int:
    """A bound that may count from the end as one that counts from the front, and not from before it."""
    return max(bound + size, 0) if bound < 0 else bound


@resize_rule("Pad")
def resize_pad(op: Resize) -> list[Edit]:
    """Padded channels are positions of the output like any other; count those that stay."""
    rank = len(op.before(op.x))
    pads = list_value(op, "pads", 1)
    axes = list_value(op, "axes", 3) or list(range(rank))
    for i, axis in enumerate(axes):
        keep = op.keep(op.y, axis % rank)
        before, after = pads[i], pads[i + len(axes)]
        if keep.all() or min(before, after) < 0:
            continue
        pads[i], pads[i + len(axes)] = int(keep[:before].sum()), int(keep[keep.size - after :].sum())
    return [op.set("pads", 1, pads)]
