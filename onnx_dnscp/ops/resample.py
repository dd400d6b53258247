"""Resize and Upsample: they may resample space, never channels."""

from __future__ import annotations

from onnx_dnscp.model.fields import varying_axes
from onnx_dnscp.ops.registry import Flow, Op, op_rule
from onnx_dnscp.ops.resize import Edit, Resize, resize_rule

_ROI, _SIZES = 1, 3
_FIRST_WITH_ROI = 11  # opset; Resize 10 has (data, scales) like Upsample 9


@op_rule("Resize", "Upsample")
def resize(op: Op) -> Flow:
    """Axes that are left as they are pass."""
    flow = Flow()
    passed = []
    for ids in op.data.fields:
        if all(_is_left_alone(op, axis) for axis in varying_axes(ids)):
            passed.append(ids)
        else:
            flow.lock(ids, f"{op.node} resamples this axis")
    flow.outputs = [tuple(passed)]
    return flow


def _is_left_alone(op: Op, axis: int) -> bool:
    """Whether every position of an axis is put out as it is.

    The size must stay, so must the scale where it can be seen, and the coordinates must fall on the positions: a crop
    window must span the axis, and half-pixel coordinates of nearest neighbours must not be rounded up.
    """
    before, after = op.data.shape, op.output_shapes[0]
    attributes = op.node.attributes
    axes = [a % len(before) for a in attributes.get("axes", range(len(before)))]
    if axis not in axes:
        return True
    if before[axis] != after[axis]:
        return False
    place = axes.index(axis)
    scales = attributes.get("scales", op.stored(_scales_operand(op)))
    if scales is not None and len(scales) > place and scales[place] != 1:
        return False
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False  # every axis that is named has a say in the common scale
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        roi = op.stored(_ROI)
        return roi is not None and (roi[place], roi[place + len(axes)]) == (0, 1)
    rounds_up = "ceil" in attributes.get("nearest_mode", "round_prefer_floor")
    return not (coordinates == "tf_half_pixel_for_nn" and rounds_up)


def _scales_operand(op: Op) -> int:
    return 1 if op.node.op_type == "Upsample" or op.opset < _FIRST_WITH_ROI else 2


@resize_rule("Resize")
def resize_sizes(op: Resize) -> list[Edit]:
    """`sizes` may name the channels too; scales need no change."""
    return [op.set("", _SIZES, op.sizes(_SIZES))] if op.has_operand(_SIZES) else []
