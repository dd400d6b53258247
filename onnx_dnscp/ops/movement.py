"""Operators that move elements without picking or adding any: the id arrays are moved with the same arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod
from operator import mul

from onnx_dnscp.model.fields import IdField, collapse, reshape_field, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, Refusal, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, resize_rule


@op_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Op) -> Flow | Refusal:
    """All four keep the order of elements, so the traced output shape says everything."""
    x, target = op.data, op.output_shapes[0]
    if 0 in x.shape:
        return Refusal("it reshapes an empty tensor")
    if prod(x.shape) != prod(target):
        raise ValueError(f"{op.node} makes {target} of {x.shape}")
    if op.node.op_type == "Squeeze" and op.axes("axes", 1) is None:
        return Refusal("it squeezes whatever axes have size 1; name the axes")
    if op.node.op_type == "Reshape" and "shape" not in op.node.attributes and 1 not in op.integers:
        return Refusal("its target depends on the data")
    flow = Flow()
    moved = [_reshaped(flow, f, x.shape, target) for f in x.fields]
    flow.outputs = [_one_per_axis(flow, op, x.fields, moved)]
    return flow


def _reshaped(flow: Flow, field: IdField, old: Sequence[int], new: Sequence[int]) -> IdField:
    """The reshaped field; where only one of several new axes can be cut, that one is chosen here.

    A new axis that runs through old axes with and without ids would have to spell out the latter (an image, in a pixel
    shuffle or in a group normalisation by reshape). A cut goes along one axis in the end: with another axis to go
    along, the ids inside such an axis are united, which costs nothing.
    """
    inner = _common_factors(old, new)
    if inner is None:
        return reshape_field(field, old, new)
    sizes, home = inner
    split = reshape_field(field, old, sizes)
    varying = varying_axes(split)
    homes = {home[axis] for axis in varying}
    spread = {home[axis] for axis, size in enumerate(sizes) if size > 1 and axis not in varying} & homes
    if len(homes) > 1 and spread:
        chosen = (homes - spread) or {min(spread)}
        united = [axis for axis in varying if home[axis] not in chosen]
        first = collapse(split, united)
        flow.unions.append((first, split))
        split = first
    return reshape_field(split, sizes, new)


def _common_factors(old: Sequence[int], new: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """The finest sizes that both shapes are made of by joining neighbours, and the new axis each one lies in.

    None where the shapes do not nest (4 x 9 seen as 6 x 6).
    """
    bounds = {*accumulate(old, mul, initial=1), *accumulate(new, mul, initial=1)}
    ordered = sorted(bounds)
    if any(above % below for below, above in pairwise(ordered)):
        return None
    ends = list(accumulate(new, mul))
    home = [next(axis for axis, end in enumerate(ends) if end >= above) for above in ordered[1:]]
    return [above // below for below, above in pairwise(ordered)], home


def _one_per_axis(flow: Flow, op: Op, before: Sequence[IdField], after: Sequence[IdField]) -> tuple[IdField, ...]:
    """Of fields that a reshape folds into one axis, the longest; what is folded into it stays whole."""
    kept: list[int] = []
    for i in sorted(range(len(after)), key=lambda i: -before[i].size):
        rivals = [k for k in kept if _share_axis(after[k], after[i]) and not _share_axis(before[k], before[i])]
        if rivals:
            flow.lock(before[i], f"{op.node} folds it into an axis with other channels")
        else:
            kept.append(i)
    return tuple(after[i] for i in sorted(kept))


def _share_axis(left: IdField, right: IdField) -> bool:
    return not set(varying_axes(left)).isdisjoint(varying_axes(right))


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


@op_rule("Transpose")
def transpose(op: Op) -> Flow:
    """`perm` reverses the axes by default."""
    rank = len(op.data.shape)
    permutation = op.node.attributes.get("perm") or list(range(rank))[::-1]
    return Flow(outputs=[tuple(f.transpose(permutation) for f in op.data.fields)])
