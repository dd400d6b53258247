"""The one place that edits graphs: replace and insert nodes, keep what is needed, fresh names, constants, attributes.

Everything is edited in place. What stays is moved and never copied, so big weights stay where they are, and whoever
holds a node of a graph still holds the graph's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from onnx_dnscp.model.structure import all_graphs, bodies, captured_names


def set_elements(field: Any, elements: Iterable[Any]) -> None:
    """Make `elements` those of a repeated field (`graph.node`, `graph.initializer` ...), in their order, in place.

    Those that it has already are moved; others, and what is named a second time, are copied into it.
    """
    elements, before = list(elements), list(field)  # an element's id is its own for as long as it is held
    positions = dict.fromkeys(map(id, before), len(elements))  # what is not asked for goes to the end
    new = []
    for position, element in enumerate(elements):
        if positions.get(id(element)) == len(elements):
            positions[id(element)] = position
        else:
            new.append((position, element))
    field.extend(element for _, element in new)
    copies = field[len(before) :]
    positions |= {id(copy): position for copy, (position, _) in zip(copies, new, strict=True)}
    field.sort(key=lambda element: positions[id(element)])
    del field[len(elements) :]


def replace_nodes(graph: onnx.GraphProto, rule: Callable[[onnx.NodeProto], Iterable[onnx.NodeProto] | None]) -> None:
    """Put what `rule` answers in the place of each node, which may be nothing; None leaves the node as it is."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        found = rule(node)
        nodes += [node] if found is None else found
    set_elements(graph.node, nodes)


def insert_before(graph: onnx.GraphProto, new: Mapping[str, Sequence[onnx.NodeProto]]) -> None:
    """Insert nodes in front of those that make the given tensors."""
    replace_nodes(graph, lambda node: [*_named(node, new), node])


def insert_after(graph: onnx.GraphProto, new: Mapping[str, Sequence[onnx.NodeProto]]) -> None:
    """Insert nodes behind those that make the given tensors."""
    replace_nodes(graph, lambda node: [node, *_named(node, new)])


def _named(node: onnx.NodeProto, new: Mapping[str, Sequence[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    return [added for name in node.output for added in new.get(name, ())]


def needed_for(graph: onnx.GraphProto, wanted: Iterable[str]) -> set[str]:
    """Names of all tensors that the `wanted` ones depend on, through sub-graphs, too, and their own."""
    needed = {name for name in wanted if name}  # an omitted output has no name and is no reason to stay
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(filter(None, names_read(node)))
    return needed


def keep_needed(graph: onnx.GraphProto, wanted: Iterable[str]) -> None:
    """Remove every node and initializer that none of the `wanted` tensors needs; sub-graphs are left as they are."""
    needed = needed_for(graph, wanted)
    set_elements(graph.node, [node for node in graph.node if not needed.isdisjoint(node.output)])
    set_elements(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those that make what it reads, sub-graphs included; what is in order stays where it is.

    Nodes that read each other in a circle come last, in their old order.
    """
    for node in graph.node:
        for body in bodies(node):
            sort_nodes(body)
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [{maker[name] for name in names_read(node) if name in maker} for node in graph.node]
    if any(max(need, default=-1) >= index for index, need in enumerate(needs)):
        set_elements(graph.node, [graph.node[index] for index in _in_order(needs)])


def _in_order(needs: Sequence[set[int]]) -> list[int]:
    """Numbers such that each comes behind those that it needs, the smallest possible one first."""
    readers: defaultdict[int, list[int]] = defaultdict(list)
    for index, need in enumerate(needs):
        for made in need:
            readers[made].append(index)
    missing = [len(need) for need in needs]
    ready = [index for index, count in enumerate(missing) if not count]  # ascending, and so a heap
    order: list[int] = []
    while ready:
        order.append(heappop(ready))
        for index in readers[order[-1]]:
            missing[index] -= 1
            if not missing[index]:
                heappush(ready, index)
    return order + sorted(set(range(len(needs))).difference(order))


def names_read(node: onnx.NodeProto) -> list[str]:
    """All names that a node reads, omitted ones included; those that its sub-graphs take from outside are the last."""
    return [*node.input, *(name for body in bodies(node) for name in captured_names(body))]


def add_constant(graph: onnx.GraphProto, name: str, values: Any) -> str:
    """Store an array as an initializer and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
    return name


class FreshNames:
    """Names that no tensor has yet.

    Args:
        graph: Whose names are taken, those in its sub-graphs included.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._taken: set[str] = set()
        for part in all_graphs(graph):
            self._taken.update(name for node in part.node for name in node.output)
            self._taken.update(tensor.name for tensor in part.initializer)
            self._taken.update(declared.name for declared in part.input)

    def fresh(self, base: str) -> str:
        """`base`, or with a number behind it where that is taken; it is taken from now on."""
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Values of a node's attributes by name, sub-graphs left out; see `decoded`."""
    return {a.name: decoded(a) for a in node.attribute if a.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS)}


def decoded(attribute: AttributeProto) -> Any:
    """Value of an attribute: strings as `str`, tensors as arrays, lists as lists of such."""
    if attribute.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = helper.get_attribute_value(attribute)
    return [_text(part) for part in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Give an attribute another value where it stands, or add it behind the others; None removes it."""
    attribute = next((a for a in node.attribute if a.name == name), None)
    if value is None:
        if attribute is not None:
            node.attribute.remove(attribute)
        return
    (node.attribute.add() if attribute is None else attribute).CopyFrom(helper.make_attribute(name, value))
