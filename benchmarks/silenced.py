"""A plan's consumers set to zero in the original file, with numpy alone: the check of any surgery from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Indices = NDArray[np.int64]


SQUASHING = ("Sigmoid", "Softmax", "LogSoftmax")


class UncheckedError(Exception):
    """A consumer that this check does not know how to silence."""


def silence_consumers(model: onnx.ModelProto, consumers: Mapping[str, Mapping[str, Any]]) -> onnx.ModelProto:
    """A copy of `model` whose consumers read nothing from the plan's input channels.

    Args:
        model: The original. Not modified.
        consumers: The plan's: node name (or first output) to `weight` and `input_channels`.

    Raises:
        UncheckedError: A consumer's operator, or what its weight passes through, is unknown here.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {t.name: t for t in result.graph.initializer}
    for node in result.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    makers = {name: node for node in result.graph.node for name in node.output}
    names = [node.name for node in result.graph.node]
    for node in result.graph.node:
        label = node.name if node.name and names.count(node.name) == 1 else node.output[0]
        if label in consumers:
            weight, channels = str(consumers[label]["weight"]), consumers[label]["input_channels"]
            _silence_one(node, channels, weight, tensors, makers)
    return result


def without_squashing(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that puts out what a final Sigmoid or Softmax reads, because saturated outputs hide errors."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    makers = {name: node for node in result.graph.node for name in node.output}
    for output in result.graph.output:
        node = makers.get(output.name)
        if node is not None and node.op_type in SQUASHING:
            output.CopyFrom(onnx.ValueInfoProto(name=node.input[0]))  # the runtime finds the type out
    return result


def _silence_one(
    node: onnx.NodeProto,
    channels: Sequence[int],
    weight: str,
    tensors: Mapping[str, onnx.TensorProto],
    makers: Mapping[str, onnx.NodeProto],
) -> None:
    """Write zeros into the stored tensor, where the node's operand holds the channels' slices."""
    ways = {i: _way(name, weight, makers) for i, name in enumerate(node.input)}
    operand, way = next(((i, w) for i, w in ways.items() if w is not None), (None, None))
    if operand is None or way is None:
        raise UncheckedError(f"{node.op_type} {node.name!r} does not read {weight!r}")
    values = numpy_helper.to_array(tensors[weight]).copy()
    places = np.arange(values.size).reshape(values.shape)  # followed through the nodes between store and operand
    nothing: Any = 0
    for step in reversed(way):
        if step.op_type == "DequantizeLinear":
            nothing = _zero_point(step, values.shape, tensors)
        else:
            places = _moved(step, places, tensors)
    gone = _slices(node, operand, places, list(channels)).ravel()
    values.reshape(-1)[gone] = np.broadcast_to(nothing, values.shape).reshape(-1)[gone]
    tensors[weight].CopyFrom(numpy_helper.from_array(values, weight))


def _way(name: str, weight: str, makers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto] | None:
    """The nodes from an operand back to the stored tensor, or None if it comes from elsewhere."""
    way = []
    while name != weight:
        node = makers.get(name)
        if node is None or not node.input:
            return None
        way.append(node)
        name = node.input[0]
    return way


def _moved(step: onnx.NodeProto, places: Indices, tensors: Mapping[str, onnx.TensorProto]) -> Indices:
    attributes = {a.name: helper.get_attribute_value(a) for a in step.attribute}
    given = numpy_helper.to_array(tensors[step.input[1]]) if len(step.input) > 1 and step.input[1] in tensors else None
    if step.op_type in ("Identity", "Cast", "Sign", "Mul"):  # 0 stays 0, whatever it is multiplied by
        return places
    if step.op_type == "Slice" and all(name in tensors for name in step.input[1:]):
        starts, ends, axes, *steps = (numpy_helper.to_array(tensors[name]).tolist() for name in step.input[1:])
        bounds = zip(axes, starts, ends, steps[0] if steps else [1] * len(axes), strict=True)
        for axis, start, end, stride in bounds:
            places = places[(slice(None),) * (axis % places.ndim) + (slice(start, end, stride),)]
        return places
    if step.op_type == "Transpose":
        return places.transpose(attributes.get("perm"))
    if step.op_type == "Reshape" and given is not None:
        sizes = [places.shape[i] if size == 0 else int(size) for i, size in enumerate(given)]
        return places.reshape(sizes)
    axes = attributes.get("axes") if given is None else given
    if step.op_type == "Unsqueeze" and axes is not None:
        return np.expand_dims(places, tuple(int(a) for a in axes))
    if step.op_type == "Squeeze":
        return places.squeeze(None if axes is None else tuple(int(a) for a in axes))
    if step.op_type == "Flatten":
        axis = int(attributes.get("axis", 1))
        return places.reshape(int(np.prod(places.shape[:axis])), -1)
    raise UncheckedError(f"a weight that passes through {step.op_type} {step.name!r}")


def _zero_point(step: onnx.NodeProto, shape: tuple[int, ...], tensors: Mapping[str, onnx.TensorProto]) -> Any:
    """What dequantizes to zero, broadcastable to the stored tensor."""
    if len(step.input) < 3 or not step.input[2]:
        return 0
    zero = numpy_helper.to_array(tensors[step.input[2]])
    if zero.ndim != 1:
        return zero
    axis = next((a.i for a in step.attribute if a.name == "axis"), 1) % len(shape)
    return zero.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _slices(node: onnx.NodeProto, operand: int, places: Indices, channels: list[int]) -> Indices:
    """The places of the operand that read the input channels."""
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Conv" and operand == 1:
        groups = attributes.get("group", 1)
        outs, per_group = places.shape[0] // groups, places.shape[1]
        blocks = places.reshape(groups, outs, per_group, -1).swapaxes(1, 2).reshape(groups * per_group, -1)
        return blocks[channels]
    if node.op_type == "ConvTranspose" and operand == 1:
        return places[channels]
    if node.op_type == "Gemm":
        contracted = (1 if attributes.get("transB") else 0) if operand == 1 else (0 if attributes.get("transA") else 1)
        return np.moveaxis(places, contracted, 0)[channels]
    if node.op_type == "MatMul":
        if places.ndim == 1:
            return places[channels]
        return np.moveaxis(places, -2 if operand == 1 else -1, 0)[channels]
    raise UncheckedError(f"a consumer of type {node.op_type} ({node.name!r})")
