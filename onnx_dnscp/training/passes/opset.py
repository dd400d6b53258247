"""Bring a model into the opsets that the training runtime reads."""

from __future__ import annotations

import onnx

from onnx_dnscp.errors import ModelError
from onnx_dnscp.runtime import MAX_IR_VERSION, MAX_OPSET, default_opset, first_line

MIN_TRAINABLE_OPSET = 14  # from here BatchNormalization has training_mode
TARGET_OPSET = 17  # where older files go: the runtime's own converters to it lose nothing


def to_trainable_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with an opset and IR version that the training runtime reads.

    Raises:
        ModelError: onnx cannot convert the model.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    opset = default_opset(model)
    target = TARGET_OPSET if opset < MIN_TRAINABLE_OPSET else MAX_OPSET if opset > MAX_OPSET else opset
    if target != opset:
        try:
            result = onnx.version_converter.convert_version(result, target)
        except Exception as error:
            raise ModelError(
                f"Training needs opset {MIN_TRAINABLE_OPSET} to {MAX_OPSET}; converting the model from opset {opset} "
                f"failed: {first_line(error)}. Export it with opset {TARGET_OPSET}, or prune with --no-train."
            ) from error
    result.ir_version = min(result.ir_version, MAX_IR_VERSION)
    return result
