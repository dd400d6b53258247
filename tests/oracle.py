"""The outside oracle: what a plan's `consumers` say, carried out with plain numpy on the stored weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models import all_nodes, copied, stored_tensors
from onnx_dnscp.runs.plan import Plan

CONVERTING = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
MOVING = (*CONVERTING, "Reshape", "Transpose", "Unsqueeze")


def set_inputs_to_zero(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """The original with the plan's input-channel slices set to zero; knows nothing of units."""
    result = copied(model)
    stored = dict(stored_tensors(result))
    nodes = all_nodes(result)
    makers = {name: node for node in nodes for name in node.output}
    factors = {name: np.ones(numpy_helper.to_array(tensor).shape) for name, tensor in stored.items()}
    uses = Counter(label for node in nodes for label in {node.name, *node.output})
    for node in nodes:
        first_output = next(name for name in node.output if name)
        consumer = plan.consumers.get(node.name if node.name and uses[node.name] == 1 else first_output)
        if consumer is None:
            continue
        sided = node.op_type in ("Einsum", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
        right = 3 if node.op_type in ("QLinearConv", "QLinearMatMul", "QGemm") else 1
        operand = 0 if sided and leads_to_stored(node.input[0], makers, stored) else right
        way = list(way_to_stored(node.input[operand], makers, stored))
        shape = numpy_helper.to_array(stored[consumer.weight]).shape
        for step in reversed(way):
            shape = moved(step, np.empty(shape), makers, stored).shape
        factor = np.ones(shape)
        silence(node, operand, factor, consumer.input_channels)
        for step in way:
            factor = moved_back(step, factor, numpy_helper.to_array(stored[consumer.weight]).shape, makers, stored)
        factors[consumer.weight] *= factor
    for name, tensor in stored.items():
        values = numpy_helper.to_array(tensor)
        if not factors[name].all():
            silent = (values.astype(np.float64) * factors[name]).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(silent, name))
    return result


def silence(node: onnx.NodeProto, operand: int, factor: NDArray[Any], channels: list[int]) -> None:
    """Write 0 into the slices of the weight operand that read the input channels."""
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type in ("Conv", "FusedConv", "DeformConv", "QLinearConv", "ConvInteger"):
        groups = attributes.get("group", 1)
        outs, per_group = factor.shape[0] // groups, factor.shape[1]
        for channel in channels:
            group, position = divmod(channel, per_group)
            factor[group * outs : (group + 1) * outs, position] = 0
    elif node.op_type == "ConvTranspose":
        factor[channels] = 0
    elif node.op_type in ("Gemm", "FusedGemm"):
        transposed = bool(attributes.get("transB" if operand == 1 else "transA"))
        np.moveaxis(factor, 1 if transposed == (operand == 1) else 0, 0)[channels] = 0
    elif node.op_type in ("GRU", "LSTM", "RNN"):
        factor[:, :, channels] = 0
    elif node.op_type == "QGemm":
        np.moveaxis(factor, 1 if attributes.get("transB") else 0, 0)[channels] = 0
    elif node.op_type in ("QLinearMatMul", "MatMulInteger"):
        np.moveaxis(factor, -2, 0)[channels] = 0
    elif node.op_type == "Einsum":
        silence_einsum(node, operand, factor, channels)
    else:
        assert node.op_type in ("MatMul", "FusedMatMul")
        transposed = bool(attributes.get("transB" if operand == 1 else "transA"))
        np.moveaxis(factor, -2 if (operand == 1) != transposed and factor.ndim > 1 else -1, 0)[channels] = 0


def silence_einsum(node: onnx.NodeProto, operand: int, factor: NDArray[Any], channels: list[int]) -> None:
    """Channels count along the letters that are in both operands and not in the result, in the activation's order."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    terms, arrow, result = equation.partition("->")
    if not arrow:
        result = "".join(letter for letter in terms if terms.count(letter) == 1)
    weight, activation = terms.split(",")[operand], terms.split(",")[1 - operand]
    summed = [letter for letter in activation if letter in weight and letter not in result + "."]
    rest = weight.replace("...", "")
    slices = np.moveaxis(factor, [rest.index(letter) - len(rest) for letter in summed], range(len(summed)))
    for channel in channels:
        slices[np.unravel_index(channel, slices.shape[: len(summed)])] = 0


def way_to_stored(name: str, makers: dict[str, onnx.NodeProto], stored: dict[str, Any]) -> Iterator[onnx.NodeProto]:
    while name not in stored:
        yield makers[name]
        name = makers[name].input[0]


def leads_to_stored(name: str, makers: dict[str, onnx.NodeProto], stored: dict[str, Any]) -> bool:
    maker = makers.get(name)
    if maker is not None and maker.op_type in MOVING:
        return leads_to_stored(maker.input[0], makers, stored)
    return name in stored


def moved(
    step: onnx.NodeProto, values: NDArray[Any], makers: dict[str, onnx.NodeProto], stored: dict[str, onnx.TensorProto]
) -> NDArray[Any]:
    if step.op_type == "Transpose":
        return values.transpose(permutation(step, values.ndim))
    if step.op_type == "Unsqueeze":
        axes = integers(step.input[1], makers, stored) if len(step.input) > 1 else step.attribute[0].ints
        return np.expand_dims(values, tuple(axes))
    if step.op_type == "Reshape":
        return values.reshape(integers(step.input[1], makers, stored))
    if step.op_type == "Slice":
        return values[pieces(step, makers, stored)]
    assert step.op_type in (*CONVERTING, "Mul"), step.op_type  # of stored tensors of one shape
    return values


def pieces(
    step: onnx.NodeProto, makers: dict[str, onnx.NodeProto], stored: dict[str, onnx.TensorProto]
) -> tuple[slice, ...]:
    """What a Slice with steps of 1 takes."""
    starts, ends, axes = (integers(name, makers, stored) for name in step.input[1:4])
    bounds = {axis: slice(start, end) for start, end, axis in zip(starts, ends, axes, strict=True)}
    return tuple(bounds.get(axis, slice(None)) for axis in range(max(axes) + 1))


def integers(name: str, makers: dict[str, onnx.NodeProto], stored: dict[str, onnx.TensorProto]) -> list[int]:
    """A constant list, stored, in a Constant node or behind an Identity."""
    if name in stored:
        return [int(value) for value in numpy_helper.to_array(stored[name]).ravel()]
    maker = makers[name]
    return list(maker.attribute[0].ints) if maker.op_type == "Constant" else integers(maker.input[0], makers, stored)


def moved_back(
    step: onnx.NodeProto,
    values: NDArray[Any],
    shape: tuple[int, ...],
    makers: dict[str, onnx.NodeProto],
    stored: dict[str, onnx.TensorProto],
) -> NDArray[Any]:
    if step.op_type == "Transpose":
        return values.transpose(np.argsort(permutation(step, values.ndim)))
    if step.op_type == "Slice":
        whole = np.ones(shape)
        whole[pieces(step, makers, stored)] = values
        return whole
    return values.reshape(shape)


def permutation(step: onnx.NodeProto, rank: int) -> list[int]:
    return list(step.attribute[0].ints) if step.attribute else list(range(rank))[::-1]
