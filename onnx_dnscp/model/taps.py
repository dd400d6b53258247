"""Where to look at a network's outputs: behind a final Softmax or Sigmoid.

A saturated output hides errors and kills gradients, so losses and comparisons use the tensor before it.
"""

from __future__ import annotations

from onnx_dnscp.model.graph import Graph

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid"})


def output_taps(graph: Graph) -> dict[str, str]:
    """Graph output name to the tensor to look at: the output itself, or what its final squashing reads."""
    return {name: behind_squashing(graph, name) for name in graph.outputs}


def behind_squashing(graph: Graph, name: str) -> str:
    """What a final Softmax or Sigmoid reads, also one that is quantised afterwards; else the tensor itself."""
    node = graph.producer.get(name)
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        node = graph.producer.get(node.inputs[0])
    squashed = node is not None and not node.domain and node.op_type in SQUASHING
    return node.inputs[0] if node is not None and squashed else name
