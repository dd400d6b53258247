"""Running statistics of batch norm, estimated anew: what the pruned network's layers see is no longer what it was.

Source: Li, Wu, Su, Wang, "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020, section 3
("adaptive batch normalization").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.editor import add_constant, insert_before
from onnx_dnscp.model.graph import CHANNEL_AXIS, Graph, Node
from onnx_dnscp.repair.observe import observe

_PREFIX = "dnscp_statistics//"


def estimate_statistics(
    model: onnx.ModelProto, graph: Graph, batches: Sequence[Batch], ranks: dict[str, int], threads: int = 0
) -> dict[str, NDArray[Any]]:
    """New means and variances by stored name, over all samples, each layer behind ones with statistics of the batch.

    Args:
        model: The masked or pruned model.
        graph: View of the original, which has the same batch norms.
        batches: Samples, a batch large enough to normalise by.
        ranks: Rank of each tensor.
        threads: Of ONNX Runtime.
    """
    nodes = [node for node in graph.nodes if _has_own_statistics(node, graph)]
    if not nodes:
        return {}
    working = onnx.ModelProto()
    working.CopyFrom(model)
    made = {name: node for node in working.graph.node for name in node.output}
    measured: list[str] = []
    measuring = {}
    for index, node in enumerate(nodes):
        if node.result not in made:
            return {}
        mean, variance = (f"{_PREFIX}{index}/{what}" for what in ("mean", "variance"))
        made[node.result].input[3], made[node.result].input[4] = mean, variance
        measuring[node.result] = _measure(working, node.inputs[0], index, ranks[node.inputs[0]])
        measured += [mean, variance]
    insert_before(working.graph, measuring)
    seen = list(observe(working, measured, batches, threads))
    result: dict[str, NDArray[Any]] = {}
    for index, node in enumerate(nodes):
        means, variances = (
            np.stack([batch[f"{_PREFIX}{index}/{what}"].astype(np.float64) for batch in seen])
            for what in ("mean", "variance")
        )
        # Law of total variance: within the batches, and between their means.
        values = {3: means.mean(axis=0), 4: variances.mean(axis=0) + means.var(axis=0)}
        for operand, value in values.items():
            stored = graph.stored[node.inputs[operand]]
            result[node.inputs[operand]] = value.astype(stored.dtype)
    return result


def _has_own_statistics(node: Node, graph: Graph) -> bool:
    """Whether a node is a batch norm for inference whose statistics are stored for it alone."""
    if node.op_type != "BatchNormalization" or node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        return False
    return all(
        name in graph.stored and graph.stored.dtype(name) == np.float32 and len(graph.readers[name]) == 1
        for name in node.inputs[3:5]
    )


def _measure(model: onnx.ModelProto, x: str, index: int, rank: int) -> list[onnx.NodeProto]:
    """Nodes that compute the mean and variance of a tensor's channels over one batch."""
    name = f"{_PREFIX}{index}"
    mean, centred, square = f"{name}/wide_mean", f"{name}/centred", f"{name}/square"
    axes = [axis for axis in range(rank) if axis != CHANNEL_AXIS]
    shape = f"{name}/shape"
    add_constant(model.graph, shape, np.array([-1], dtype=np.int64))
    return [
        *_reduce_mean(model, x, mean, axes),
        helper.make_node("Sub", [x, mean], [centred], name=centred),
        helper.make_node("Mul", [centred, centred], [square], name=square),
        *_reduce_mean(model, square, f"{name}/wide_variance", axes),
        helper.make_node("Reshape", [mean, shape], [f"{name}/mean"], name=f"{name}/mean"),
        helper.make_node("Reshape", [f"{name}/wide_variance", shape], [f"{name}/variance"], name=f"{name}/variance"),
    ]


def _reduce_mean(model: onnx.ModelProto, x: str, y: str, axes: list[int]) -> list[onnx.NodeProto]:
    """ReduceMean takes its axes as an attribute before opset 18 and as an operand from then on."""
    if max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 18:
        return [helper.make_node("ReduceMean", [x], [y], name=y, axes=axes, keepdims=1)]
    operand = add_constant(model.graph, f"{y}/axes", np.array(axes, dtype=np.int64))
    return [helper.make_node("ReduceMean", [x, operand], [y], name=y, keepdims=1)]
