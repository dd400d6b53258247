"""Put the branch of an If in its place where sizes alone decide: exporters write such for squeezes and odd paddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import helper, numpy_helper

from onnx_dnscp.model.editor import replace_nodes
from onnx_dnscp.model.structure import all_graphs, bodies


def inline_decided_branches(model: onnx.ModelProto) -> bool:
    """Replace every If of the main graph whose condition is stored by the branch it takes, in place.

    Tensors of the branch keep their names unless another has the same.

    Returns:
        Whether there was one.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for part in all_graphs(graph) for name in _made_in(part))

    def is_decided(node: onnx.NodeProto) -> bool:
        return node.op_type == "If" and not node.domain and node.input[0] in stored

    def inlined(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if not is_decided(node):
            return None
        taken = "then_branch" if numpy_helper.to_array(stored[node.input[0]]).all() else "else_branch"
        body = next(a.g for a in node.attribute if a.name == taken)
        names = {name: f"{node.output[0]}//{name}" for name in _made_in(body) if uses[name] > 1}
        _rename(body, names)
        graph.initializer.extend(body.initializer)
        pairs = zip(body.output, node.output, strict=True)
        return [*body.node, *(helper.make_node("Identity", [i.name], [outer]) for i, outer in pairs if outer)]

    if not any(map(is_decided, graph.node)):
        return False
    replace_nodes(graph, inlined)
    return True


def _made_in(graph: onnx.GraphProto) -> Iterator[str]:
    yield from {i.name for i in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        yield from filter(None, node.output)


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give tensors other names, here and where sub-graphs read them."""
    for tensor in (*graph.initializer, *graph.output):
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for body in bodies(node):
            own = set(_made_in(body))
            _rename(body, {old: new for old, new in names.items() if old not in own})
