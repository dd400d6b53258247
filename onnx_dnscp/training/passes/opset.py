"""Bring a model into the opsets that the training runtime reads."""

from __future__ import annotations

import onnx

from onnx_dnscp.model.runtime import MAX_OPSET, convert_opset, default_opset

MIN_TRAINABLE_OPSET = 14  # from here BatchNormalization has training_mode
TARGET_OPSET = 17  # where older files go: the converters to it lose nothing


def to_trainable_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with an opset and IR version that the training runtime reads.

    Raises:
        ModelError: onnx cannot convert the model.
    """
    opset = default_opset(model)
    target = TARGET_OPSET if opset < MIN_TRAINABLE_OPSET else min(opset, MAX_OPSET)
    return convert_opset(model, target)
