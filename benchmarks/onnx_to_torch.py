"""Small convolutional classifiers from ONNX to PyTorch, node by node, checked by their outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.measure.evaluation import class_output
from onnx_dnscp.measure.verify import relative_error
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.runtime import Session

TOLERANCE = 1e-4  # of the largest output; both run in float32, but sum in another order
Arrays = dict[str, np.ndarray[Any, Any]]
Make = Callable[[dict[str, Any], Arrays, onnx.NodeProto], nn.Module]


class _Flatten(nn.Module):  # type: ignore[misc]  # torch is untyped here
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


class _Add(nn.Module):  # type: ignore[misc]
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class _Concat(nn.Module):  # type: ignore[misc]
    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        return torch.cat(parts, 1)


def _half(pads: list[int]) -> list[int]:
    """PyTorch's padding; it takes the same at both ends only."""
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise ValueError(f"pads {pads} differ at both ends")
    return pads[:half]


def _conv(attributes: dict[str, Any], arrays: Arrays, node: onnx.NodeProto) -> nn.Module:
    weight, group = arrays[node.input[1]], attributes.get("group", 1)
    made = nn.Conv2d(
        weight.shape[1] * group,
        weight.shape[0],
        weight.shape[2:],
        attributes.get("strides", 1),
        _half(attributes.get("pads", [0] * 4)),
        attributes.get("dilations", 1),
        group,
        bias=len(node.input) > 2,
    )
    _fill(made, {"weight": weight, **({"bias": arrays[node.input[2]]} if len(node.input) > 2 else {})})
    return made


def _batch_norm(attributes: dict[str, Any], arrays: Arrays, node: onnx.NodeProto) -> nn.Module:
    names = ("weight", "bias", "running_mean", "running_var")
    values = {name: arrays[stored] for name, stored in zip(names, node.input[1:], strict=True)}
    # PyTorch's momentum is the share of the new statistics, ONNX's that of the old ones.
    made = nn.BatchNorm2d(values["weight"].size, attributes.get("epsilon", 1e-5), 1 - attributes.get("momentum", 0.9))
    _fill(made, values)
    return made


def _gemm(attributes: dict[str, Any], arrays: Arrays, node: onnx.NodeProto) -> nn.Module:
    weight = arrays[node.input[1]]
    weight = weight if attributes.get("transB") else weight.T
    made = nn.Linear(weight.shape[1], weight.shape[0])
    _fill(made, {"weight": weight, "bias": arrays[node.input[2]]})
    return made


def _pool(kind: Callable[..., nn.Module]) -> Make:
    def make(attributes: dict[str, Any], arrays: Arrays, node: onnx.NodeProto) -> nn.Module:
        kernel = attributes["kernel_shape"]
        return kind(kernel, attributes.get("strides", kernel), _half(attributes.get("pads", [0] * 4)))

    return make


_MODULES: dict[str, Make] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "Relu": lambda *_: nn.ReLU(),
    "GlobalAveragePool": lambda *_: nn.AdaptiveAvgPool2d(1),
    "AveragePool": _pool(nn.AvgPool2d),
    "MaxPool": _pool(nn.MaxPool2d),
    "Flatten": lambda *_: _Flatten(),
    "Reshape": lambda *_: _Flatten(),  # in front of the classifier; anything else shows in the outputs
    "Add": lambda *_: _Add(),
    "Concat": lambda *_: _Concat(),
}
_SEVERAL_INPUTS = ("Add", "Concat")  # all others have stored tensors, or a shape, behind their first input


def _fill(module: nn.Module, values: Arrays) -> None:
    with torch.no_grad():
        for name, value in values.items():
            getattr(module, name).copy_(torch.from_numpy(value.copy()))


class OnnxNetwork(nn.Module):  # type: ignore[misc]
    """The scores of an ONNX classifier as a PyTorch module with the same weights.

    Args:
        model: With one input; never modified.

    Raises:
        ValueError: It has an operator that is not known here.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        scores = class_output(read_graph(model))
        assert scores is not None, "the model is a classifier"
        self._output, self._input = scores[0], model.graph.input[0].name
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        made_by = {name: node for node in model.graph.node for name in node.output}
        self.calls: list[tuple[str, list[str], str]] = []  # module, inputs, output
        self.parts = nn.ModuleDict()
        wanted, kept = [self._output], set()
        while wanted:  # backwards along the data; shape arithmetic is left out
            node = made_by.get(wanted.pop())
            if node is None or node.output[0] in kept:
                continue
            if node.op_type not in _MODULES:
                raise ValueError(f"{node.op_type} has no PyTorch counterpart here")
            kept.add(node.output[0])
            wanted += node.input if node.op_type in _SEVERAL_INPUTS else node.input[:1]
        for number, node in enumerate(n for n in model.graph.node if n.output[0] in kept):
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            name = f"{node.op_type}{number}"
            self.parts[name] = _MODULES[node.op_type](attributes, arrays, node)
            inputs = list(node.input if node.op_type in _SEVERAL_INPUTS else node.input[:1])
            self.calls.append((name, inputs, node.output[0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, classes) scores, before a final Softmax."""
        values = {self._input: x}
        for name, inputs, output in self.calls:
            values[output] = self.parts[name](*(values[i] for i in inputs))
        return values[self._output]


def converted(model: onnx.ModelProto, batch: Batch) -> OnnxNetwork:
    """`model` in PyTorch, shown to compute the same on `batch`.

    Raises:
        ValueError: It does not, or has an operator that is not known here.
    """
    network = OnnxNetwork(model)
    network.eval()
    [images] = batch.inputs.values()
    scores = class_output(read_graph(model))
    assert scores is not None, "the model is a classifier"
    with torch.no_grad():
        found = network(torch.from_numpy(images)).numpy()
    expected = Session(model, more_outputs=[scores[0]]).run(batch.inputs, [scores[0]])[scores[0]]
    error = relative_error(found, expected)
    if not error <= TOLERANCE:
        raise ValueError(f"the PyTorch network differs from the ONNX file by {error:.1e} of the largest output")
    return network
