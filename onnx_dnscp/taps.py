"""Where to look at a network's outputs: behind a final Softmax or Sigmoid.

A saturated output hides errors and kills gradients, so losses and comparisons use the tensor before it.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from onnx_dnscp.graph import Graph

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"})


def output_taps(graph: Graph) -> dict[str, str]:
    """Graph output name to the tensor to look at: the output itself, or what its final squashing reads."""
    taps = {}
    for name in graph.outputs:
        node = graph.producer.get(name)
        squashed = node is not None and not node.domain and node.op_type in SQUASHING
        taps[name] = node.inputs[0] if node is not None and squashed else name
    return taps


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy of `model` that also puts out the named tensors."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    known = {output.name for output in result.graph.output}
    result.graph.output.extend(onnx.ValueInfoProto(name=n) for n in dict.fromkeys(names) if n not in known)
    return result
