"""Replace operators whose gradient is missing or wrong by others that compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import helper, numpy_helper

import onnx_dnscp.training.decompositions  # noqa: F401  (registers the rules)
from onnx_dnscp.runtime import default_opset
from onnx_dnscp.training.decompositions.registry import Site, find_decomposition


def decompose(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Apply the registered decompositions, in place.

    Args:
        model: With concrete input shapes and constants lifted, in float32; weights that learn are graph inputs.
        shapes: Of every tensor.
    """
    graph = model.graph
    if not any(find_decomposition(node) for node in graph.node):
        return
    opset = default_opset(model)
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        site = Site(node, opset, shapes, stored)
        rule = find_decomposition(node)
        results = rule(site) if rule else None
        if results is None:
            nodes.append(node)
            continue
        _name_results(site, [results] if isinstance(results, str) else results)
        nodes += site.nodes
        graph.initializer.extend(site.constants)
    del graph.node[:]
    graph.node.extend(nodes)


def _name_results(site: Site, results: Sequence[str]) -> None:
    """Give what the rule wrote the names of the node's own outputs."""
    for result, output in zip(results, site.node.output, strict=False):
        if result and output:
            site.nodes.append(helper.make_node("Identity", [result], [output]))
