"""Replace operators whose gradient is missing or wrong by others that compute the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import TensorProto, helper, numpy_helper

import onnx_dnscp.training.decompositions  # noqa: F401  (registers the rules)
from onnx_dnscp.model.editor import FreshNames, replace_nodes
from onnx_dnscp.model.runtime import default_opset
from onnx_dnscp.model.structure import FLOATS, copy_structure, is_big
from onnx_dnscp.training.abilities import Abilities
from onnx_dnscp.training.decompositions.registry import Site, find_decomposition
from onnx_dnscp.training.differentiable import ORT_ABILITIES


def decompose(
    model: onnx.ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    trainable: Collection[str],
    abilities: Abilities = ORT_ABILITIES,
) -> None:
    """Apply the registered decompositions wherever a gradient may flow, in place.

    Args:
        model: With concrete input shapes and constants lifted, in float32; weights that learn are graph inputs.
        shapes: Of every tensor.
        trainable: Tensors that learn.
        abilities: Of the engine that is to train.
    """
    graph = model.graph
    if not any(find_decomposition(node) for node in graph.node):
        return
    opset, integers = default_opset(model), _integer_tensors(model)
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    moving, names = set(trainable), FreshNames(graph)

    def replaced(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        is_wanted = abilities.decomposed(node) and not moving.isdisjoint(node.input)
        rule = find_decomposition(node) if is_wanted else None
        if not moving.isdisjoint(node.input):
            moving.update(name for name in node.output if name not in integers)
        site = Site(node, opset, shapes, stored, names, integers, moving)
        results = rule(site) if rule else None
        if results is None:
            return None
        _name_results(site, [results] if isinstance(results, str) else results)
        graph.initializer.extend(site.constants)
        return site.nodes

    replace_nodes(graph, replaced)


def _integer_tensors(model: onnx.ModelProto) -> set[str]:
    """Tensors that are not of floats: no gradient flows through them, and their operators have other rules."""
    structure = copy_structure(model, lambda _, tensor: is_big(tensor))
    infos = onnx.shape_inference.infer_shapes(structure).graph.value_info
    return {info.name for info in infos if info.type.tensor_type.elem_type not in (*FLOATS, TensorProto.UNDEFINED)}


def _name_results(site: Site, results: Sequence[str]) -> None:
    """Give what the rule wrote the names of the node's own outputs."""
    for result, output in zip(results, site.node.output, strict=False):
        if result and output:
            site.nodes.append(helper.make_node("Identity", [result], [output]))
