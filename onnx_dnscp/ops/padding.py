"""Padding and cropping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.fields import IdField, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, Refusal, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, list_value, resize_rule


@op_rule("Pad")
def pad(op: Op) -> Flow | Refusal:
    """Padded positions get ids of their own, and go away with the channels they are added to; negative amounts crop."""
    x = op.data
    amounts = pad_amounts(op)
    if amounts is None:
        return Refusal("its amounts depend on the data")
    constant = op.node.attributes.get("mode", "constant") == "constant"
    flow = Flow()
    fields, picked = [], []
    padded = {axis for axis, ends in enumerate(amounts) if any(ends)}
    for ids in x.fields:
        touched = padded & set(varying_axes(ids))
        if not touched:
            fields.append(ids)
        elif constant and len(varying_axes(ids)) == 1:
            (axis,) = touched
            picked.append(_padded(op, ids, axis, *amounts[axis]))
        else:
            how = "this axis, which is mixed with others" if constant else "this axis other than with a constant"
            flow.lock(ids, f"{op.node} pads {how}")
    flow.outputs = [(*fields, *flow.picked(picked, op))]
    return flow


def _padded(op: Op, ids: IdField, axis: int, before: int, after: int) -> IdField:
    size = ids.shape[axis]
    ids = ids.take(range(max(-before, 0), size - max(-after, 0)), axis=axis)
    ends = []
    for amount in (before, after):
        shape = [1] * ids.ndim
        shape[axis] = max(amount, 0)
        ends.append(op.fresh(tuple(shape)))
    return np.concatenate([ends[0], ids, ends[1]], axis=axis)


def pad_amounts(op: Op) -> list[tuple[int, int]] | None:
    """Positions added before and after, per axis of the data; None if they are not known."""
    rank = len(op.data.shape)
    pads = op.axes("pads", 1)
    axes = list(range(rank)) if op.input(3) is None else op.axes("axes", 3)
    if pads is None or axes is None:
        return None
    amounts = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        amounts[axis % rank] = (pads[i], pads[i + len(axes)])
    return amounts


@resize_rule("Pad")
def resize_pad(op: Resize) -> list[Edit]:
    """Padded channels are positions of the output like any other, cropped ones of the input; count those that stay."""
    rank = len(op.before(op.x))
    pads = list_value(op, "pads", 1)
    axes = list_value(op, "axes", 3) or list(range(rank))
    for i, axis in enumerate(axes):
        into, out = op.keep(op.x, axis % rank), op.keep(op.y, axis % rank)
        before, after = pads[i], pads[i + len(axes)]
        pads[i], pads[i + len(axes)] = _still_added(before, into, out), _still_added(after, into[::-1], out[::-1])
    return [op.set("pads", 1, pads)]


def _still_added(amount: int, into: NDArray[np.bool_], out: NDArray[np.bool_]) -> int:
    """How many of the first positions of the output are still added, or of the input cropped (negative)."""
    return int(out[:amount].sum()) if amount >= 0 else -int(into[:-amount].sum())


def automatic_pads(
    mode: str, space: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[tuple[int, int]]:
    """Positions before and behind each spatial axis that `auto_pad` adds to what a window slides over.

    Args:
        mode: "SAME_UPPER", "SAME_LOWER" or "VALID".
        space: Sizes of the axes; so are all others, one number per axis.
        kernel: Of the window.
        strides: Steps between its places.
        dilations: Steps between its elements.
    """
    pads = []
    for size, window, stride, dilation in zip(space, kernel, strides, dilations, strict=True):
        places = -(-size // stride)
        total = 0 if mode == "VALID" else max(0, (places - 1) * stride + (window - 1) * dilation + 1 - size)
        first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        pads.append((first, total - first))
    return pads


@op_rule("CenterCropPad")
def center_crop_pad(op: Op) -> Flow:
    """Axes that keep their size pass."""
    x, after = op.data, op.output_shapes[0]
    flow = Flow()
    passed = []
    for ids in x.fields:
        if all(x.shape[axis] == after[axis] for axis in varying_axes(ids)):
            passed.append(ids)
        else:
            flow.lock(ids, f"{op.node} crops or pads this axis")
    flow.outputs = [tuple(passed)]
    return flow


@resize_rule("CenterCropPad")
def resize_center_crop_pad(op: Resize) -> list[Edit]:
    """The operand names the sizes of its axes."""
    return [op.set("", 1, op.sizes(1))]
