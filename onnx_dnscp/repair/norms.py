"""Batch norm for networks that have lost theirs: put behind convolutions for training, folded away again afterwards.

Exporters fold batch norm into convolutions. Without it a network tolerates only small learning rates, and every channel
that goes shifts all layers behind it. A folded network says what its layers' means and deviations should be, so batch
norm can be put back without changing what the network computes (Jordan et al. 2023, "REPAIR: REnormalizing Permuted
Activations for Interpolation Repair", section 3, resets statistics in the same way).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.editor import insert_after, replace_nodes, set_elements
from onnx_dnscp.model.graph import Graph, Node, read_graph
from onnx_dnscp.repair.compensation import Moments
from onnx_dnscp.repair.observe import observe
from onnx_dnscp.surgery.weights import copy_with_weights

_PREFIX = "dnscp//norm/"
_EPSILON = 1e-5
_LEARNING = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_NORMS = frozenset({"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"})
_TENSORS = ("scale", "bias", "mean", "variance")


def lacks_norms(graph: Graph) -> bool:
    """Whether the network has convolutions to put batch norm behind, and no norm of any kind."""
    return not any(node.op_type in _NORMS for node in graph.nodes) and bool(_convolutions(graph))


def with_norms(
    model: onnx.ModelProto, batches: Sequence[Batch], *, like: onnx.ModelProto | None = None, threads: int = 0
) -> onnx.ModelProto:
    """A copy of `model` with batch norm behind its convolutions that computes the same.

    The weights of each convolution are scaled to the variance that they would start training with (He et al. 2015,
    "Delving Deep into Rectifiers", equation 10), because behind a batch norm their size is the learning rate's.

    Args:
        model: Without batch norm; its tensors keep their names.
        batches: To measure the layers' outputs on.
        like: Whose layers' outputs are measured, if not those of `model`: one that differs in its weights only.
        threads: Of ONNX Runtime; 0 leaves the choice to it.
    """
    graph = read_graph(model)
    convolutions = _convolutions(graph)
    moments = _moments(like or model, [node.result for node in convolutions], batches, threads)
    weights: dict[str, NDArray[Any]] = {}
    norms: dict[str, onnx.NodeProto] = {}
    tensors: list[onnx.TensorProto] = []
    for number, node in enumerate(convolutions):
        found = moments[node.result]
        weight, bias = (graph.stored[name] for name in node.inputs[1:3])
        factor = _usual_size(weight) / np.maximum(_sizes(weight), 1e-12)
        weights[node.inputs[1]] = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
        weights[node.inputs[2]] = (bias * factor).astype(bias.dtype)
        values = (
            np.sqrt(found.variance + _EPSILON / factor**2),
            found.mean,
            found.mean * factor,
            found.variance * factor**2,
        )
        names = [f"{_PREFIX}{number}/{what}" for what in _TENSORS]
        tensors += [numpy_helper.from_array(v.astype(np.float32), n) for v, n in zip(values, names, strict=True)]
        output = f"{_PREFIX}{number}/output"
        norms[node.result] = helper.make_node(
            "BatchNormalization", [node.result, *names], [output], name=output, epsilon=_EPSILON
        )
    result = copy_with_weights(model, weights)
    for proto in result.graph.node:
        for position, name in enumerate(proto.input):
            if name in norms:
                proto.input[position] = norms[name].output[0]
    insert_after(result.graph, {name: [norm] for name, norm in norms.items()})
    result.graph.initializer.extend(tensors)
    return result


def without_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of what `with_norms` made, with its batch norms folded into the convolutions; others stay."""
    graph = read_graph(model)
    weights: dict[str, NDArray[Any]] = {}
    renamed: dict[str, str] = {}
    for norm in [node for node in graph.nodes if _is_own(node.outputs)]:
        scale, shift, mean, variance = (graph.stored[name].astype(np.float64) for name in norm.inputs[1:5])
        convolution = graph.producer[norm.inputs[0]]
        weight, bias = (graph.stored[name] for name in convolution.inputs[1:3])
        factor = scale / np.sqrt(variance + _EPSILON)
        folded = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        weights[convolution.inputs[1]] = folded.astype(weight.dtype)
        weights[convolution.inputs[2]] = ((bias - mean) * factor + shift).astype(bias.dtype)
        renamed[norm.result] = norm.inputs[0]
    result = copy_with_weights(model, weights)
    replace_nodes(result.graph, lambda proto: [] if _is_own(proto.output) else None)
    for proto in result.graph.node:
        proto.input[:] = [renamed.get(name, name) for name in proto.input]
    set_elements(result.graph.initializer, [t for t in result.graph.initializer if not _is_own([t.name])])
    return result


def _convolutions(graph: Graph) -> list[Node]:
    """Those that batch norm can be put behind, and folded into again: all but the last ones."""
    leading = _leading_to_weights(graph)
    top = {name for node in graph.proto.graph.node for name in node.output}
    return [
        node
        for node in graph.nodes
        if node.op_type == "Conv"
        and not node.domain
        and node.result in top
        and node.result in leading
        and node.result not in graph.outputs
        and len(node.inputs) > 2
        and all(_is_own_weight(graph, name) for name in node.inputs[1:3])
        and all(position >= 0 and r.op_type not in _NORMS for r, position in graph.readers.get(node.result, ()))
    ]


def _is_own_weight(graph: Graph, name: str) -> bool:
    return name in graph.stored and graph.stored.dtype(name) == np.float32 and len(graph.readers[name]) == 1


def _leading_to_weights(graph: Graph) -> set[str]:
    """Tensors that something with weights reads, at once or behind other operators."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op_type in _LEARNING or any(name in found for name in node.outputs):
            found.update(node.inputs)
    return found


def _moments(
    model: onnx.ModelProto, tensors: Sequence[str], batches: Sequence[Batch], threads: int
) -> Mapping[str, Moments]:
    moments: dict[str, Moments] = {}
    # Optimised, the runtime fuses convolutions with sums and loses their own outputs, even if they are asked for.
    for seen in observe(model, tensors, batches, threads, optimize=False):
        for name, value in seen.items():
            moments.setdefault(name, Moments(value.shape[1])).add(value, 1)
    return moments


def _sizes(weight: NDArray[Any]) -> NDArray[np.float64]:
    """Root mean square of every output channel's weights."""
    return np.asarray(np.sqrt(np.mean(np.square(weight.reshape(len(weight), -1), dtype=np.float64), axis=1)))


def _usual_size(weight: NDArray[Any]) -> float:
    return float(np.sqrt(2.0 / np.prod(weight.shape[1:])))


def _is_own(outputs: Collection[str]) -> bool:
    return any(name.startswith(_PREFIX) for name in outputs)
