"""Convolutions on blocks add another tensor and rectify themselves, which spares a pass over the activations each.

Contract: the same values up to rounding, in the order of the sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx

from onnx_dnscp.model.editor import attributes, set_attribute, set_elements
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN

_OPERANDS = 3  # image, weights and bias; behind them comes what is added


def fuse_into_convolutions(model: onnx.ModelProto) -> None:
    """Take sums and Relu into the convolutions on blocks before them, in place, where nothing else reads those."""
    _read_steps_from_relu(model.graph.node)
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(output.name for output in model.graph.output)
    nodes: dict[str, onnx.NodeProto] = {}  # by the first output there is, in order
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            before = nodes.get(name)
            if before is None or readers[name] > 1 or not _is_open(before):
                continue
            if node.op_type == "Relu":
                set_attribute(before, "activation", "Relu")
            elif node.op_type in ("Add", "Sum") and len(node.input) == 2 and len(before.input) <= _OPERANDS:
                before.input.extend([""] * (_OPERANDS - len(before.input)) + [node.input[1 - position]])
            else:
                continue
            del nodes[name]
            before.output[0] = node.output[0]
            node = before
            break
        nodes[next(filter(None, node.output))] = node
    set_elements(model.graph.node, nodes.values())


def _is_open(node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution on blocks that does nothing behind its sum yet."""
    return node.op_type == "Conv" and node.domain == BLOCKED_DOMAIN and "activation" not in attributes(node)


def _read_steps_from_relu(nodes: Iterable[onnx.NodeProto]) -> None:
    """Take step(x) from Relu(x), which is positive where x is, so that nothing else needs x itself."""
    rectified = {node.input[0]: node.output[0] for node in nodes if node.op_type == "Relu"}
    for node in nodes:
        if node.op_type == "HardSigmoid" and node.input[0] in rectified:
            slope = attributes(node)
            if slope.get("beta") == 0 and slope.get("alpha", 0) > 0:
                node.input[0] = rectified[node.input[0]]
