"""Integer operands that bake a channel count: see what they become by themselves, rewrite the rest.

Exporters spell a Reshape target or a pad amount as an initializer, a Constant node, a chain of constants, or a
mixture of constants and sizes read with `Shape`. Sizes read with `Shape` follow the cut on their own; only
what is baked has to be rewritten, as close to its source as possible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.graph import Graph, Node
from onnx_dnscp.ops.resize import SetOperand
from onnx_dnscp.runtime import Session
from onnx_dnscp.surgery.weights import set_tensor, stored_tensors
from onnx_dnscp.units import Units

FIRST_IR_WITHOUT_INPUTS = 4  # older files must list every initializer among the graph inputs
_MAX_CONSTANT = 1 << 16  # elements; larger tensors are data, not shape arithmetic


def follow_shapes(
    units: Units,
    operands: Sequence[tuple[Node, int]],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> dict[tuple[int, int], NDArray[Any]]:
    """Value of each integer operand once tensors have their new shapes and no constant was rewritten.

    Args:
        units: Gives the graph and the traced values.
        operands: (node, operand position); omitted operands are left out of the result.
        shapes: Tensors whose shape changes: (before, after).
    """
    graph, seen = units.graph, units.trace
    names = {(n.index, i): n.inputs[i] for n, i in operands if i < len(n.inputs) and n.inputs[i]}
    wanted = sorted({name for name in names.values() if name not in graph.stored})
    nodes = shape_program(graph, wanted, units)
    made = {output for node in nodes for output in node.outputs}
    feeds: dict[str, NDArray[Any]] = {}
    for name in {i for node in nodes for i in node.inputs if i and i not in made}:
        feeds[name] = graph.stored[name] if name in graph.stored else seen.integers[name]
    for name in (*feeds, *wanted):
        source = graph.producer.get(name)
        if source is not None and source.op_type in ("Shape", "Size") and source.inputs[0] in shapes:
            feeds[name] = _size_output(source, shapes[source.inputs[0]][1])
    values = _evaluate(graph, nodes, feeds, [n for n in wanted if n in made]) if nodes else {}
    known = {**graph.stored, **{n: seen.integers[n] for n in wanted}, **feeds, **values}
    return {key: np.asarray(known[name]) for key, name in names.items()}


def shape_program(graph: Graph, wanted: Sequence[str], units: Units) -> list[Node]:
    """The nodes that compute integer tensors from constants and `Shape` outputs, in graph order.

    Numbers in between may be floats (`floor(float(size) / 2)`) as long as nothing but sizes goes into them.
    """
    arithmetic = _arithmetic(graph, units)
    needed: dict[int, Node] = {}
    stack = list(wanted)
    while stack:
        node = graph.producer.get(stack.pop())
        if node is None or node.index in needed or node.op_type in ("Shape", "Size", "Constant") or node.captured:
            continue
        if all(not i or i in arithmetic for i in node.inputs):
            needed[node.index] = node
            stack += [i for i in node.inputs if i and i not in graph.stored]
    return [needed[i] for i in sorted(needed)]


def _arithmetic(graph: Graph, units: Units) -> set[str]:
    """Names of small tensors that are stored, were traced as integers, or are computed from such alone."""
    seen = units.trace
    found = {n for n in (*graph.stored, *seen.integers) if math.prod(seen.shapes[n]) <= _MAX_CONSTANT}
    for node in graph.nodes:
        if node.inputs and not node.captured and all(not i or i in found for i in node.inputs):
            found.update(o for o in node.outputs if o and math.prod(seen.shapes[o]) <= _MAX_CONSTANT)
    return found


def _size_output(node: Node, shape: tuple[int, ...]) -> NDArray[np.int64]:
    if node.op_type == "Size":
        return np.array(math.prod(shape), dtype=np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end", len(shape))], dtype=np.int64)


def _evaluate(
    graph: Graph, nodes: Sequence[Node], feeds: Mapping[str, NDArray[Any]], wanted: Sequence[str]
) -> dict[str, NDArray[Any]]:
    protos = [graph.proto.graph.node[node.index] for node in nodes]
    constants = [numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    body = helper.make_graph(protos, "shapes", [], outputs, constants)
    model = helper.make_model(body, opset_imports=graph.proto.opset_import, ir_version=graph.proto.ir_version)
    return Session(model, optimize=False, threads=1, what="The model's shape arithmetic").run({})


def set_operand(
    model: onnx.ModelProto, units: Units, node: onnx.NodeProto, edit: SetOperand, found: NDArray[Any] | None
) -> None:
    """Make one integer operand of `node` (in `model`, edited in place) read the wanted values.

    Args:
        model: The model under surgery.
        units: Discovery of the original model, for who reads what.
        node: The node in `model`.
        edit: What the operand must say.
        found: What it says without an edit; None if the operand is omitted.
    """
    graph = units.graph
    name = node.input[edit.operand] if edit.operand < len(node.input) else ""
    if found is None:
        _read_new_initializer(model, node, edit.operand, edit.values)
    elif name in graph.stored and len(graph.readers[name]) == 1:
        _rewrite(model, name, edit.values)
    elif name in graph.stored or not depends_on_shapes(graph, name):
        _read_new_initializer(model, node, edit.operand, edit.values.astype(found.dtype).reshape(found.shape))
    elif not _rewrite_leaves(model, graph, units, name, found.ravel(), edit.values):
        _correct(model, node, edit.operand, found, edit.values)


def depends_on_shapes(graph: Graph, name: str) -> bool:
    """Whether an integer tensor depends on anything but stored tensors."""
    if name in graph.stored:
        return False
    node = graph.producer.get(name)
    return node is None or any(depends_on_shapes(graph, i) for i in node.inputs if i)


def _rewrite(model: onnx.ModelProto, name: str, values: NDArray[np.int64]) -> None:
    for stored, tensor in stored_tensors(model):
        if stored == name:
            set_tensor(tensor, values.reshape(tuple(tensor.dims)))
            return
    for node in model.graph.node:  # a Constant node with value_int or value_ints
        if node.op_type == "Constant" and node.output[0] == name:
            attribute = node.attribute[0]
            new: Any = int(values.ravel()[0]) if attribute.type == onnx.AttributeProto.INT else values.ravel().tolist()
            attribute.CopyFrom(helper.make_attribute(attribute.name, new))
            return


def _read_new_initializer(
    model: onnx.ModelProto, node: onnx.NodeProto, operand: int, values: NDArray[np.int64]
) -> None:
    base = node.input[operand] if operand < len(node.input) and node.input[operand] else f"{node.output[0]}_sizes"
    name = _free_name(model, f"{base}_pruned")
    _add_initializer(model, name, values)
    while len(node.input) <= operand:
        node.input.append("")
    node.input[operand] = name


def _rewrite_leaves(
    model: onnx.ModelProto,
    graph: Graph,
    units: Units,
    name: str,
    found: NDArray[Any],
    wanted: NDArray[np.int64],
) -> bool:
    """Rewrite the constants that wrong elements come from; False if some source cannot be told or is shared."""
    leaves: dict[str, dict[int, int]] = {}
    for element in np.flatnonzero(found != wanted):
        leaf = _leaf(graph, units, name, int(element))
        if leaf is None:
            return False
        leaves.setdefault(leaf[0], {})[leaf[1]] = int(wanted[element])
    for stored, elements in leaves.items():
        values = np.array(graph.stored[stored], dtype=np.int64)
        for index, value in elements.items():
            values.flat[index] = value
        _rewrite(model, stored, values)
    return True


def _leaf(graph: Graph, units: Units, name: str, element: int) -> tuple[str, int] | None:
    """The stored tensor and flat index that one element is copied from, if nothing else reads the way there."""
    while len(graph.readers.get(name, ())) == 1:
        if name in graph.stored:
            return name, element
        node = graph.producer.get(name)
        if node is None:
            return None
        if node.op_type == "Concat":
            for part in node.inputs:
                size = math.prod(units.trace.shapes[part])
                if element < size:
                    name = part
                    break
                element -= size
        elif node.op_type in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape"):
            name = node.inputs[0]
        else:
            return None
    return None


def _correct(
    model: onnx.ModelProto, node: onnx.NodeProto, operand: int, found: NDArray[Any], wanted: NDArray[np.int64]
) -> None:
    """Correct a computed operand by constants, where its baked part cannot be reached.

    A count may be baked into a product with a size that varies (`batch * 64`), so a positive number is scaled, which is
    right for every size; only what cannot be scaled is moved by a difference.
    """
    old = found.ravel().astype(np.int64)
    scaled = (old > 0) & (wanted > 0)
    common = np.where(scaled, np.gcd(old, wanted), 1)
    times = np.where(scaled, wanted // common, 1)
    parts = np.where(scaled, old // common, 1)
    difference = np.where(scaled, 0, wanted - old)
    source = node.input[operand]
    for op_type, constant in (("Mul", times), ("Div", parts), ("Add", difference)):
        if (constant == (0 if op_type == "Add" else 1)).all():
            continue
        name = _free_name(model, f"{source}_shrink")
        _add_initializer(model, name, constant.astype(found.dtype).reshape(found.shape))
        result = _free_name(model, f"{source}_pruned")
        position = next(i for i, n in enumerate(model.graph.node) if n.output[0] == node.output[0])
        read = helper.make_node(op_type, [node.input[operand], name], [result], name=result)
        node.input[operand] = result
        model.graph.node.insert(position, read)


def _add_initializer(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    tensor = numpy_helper.from_array(values, name)
    model.graph.initializer.append(tensor)
    if model.ir_version < FIRST_IR_WITHOUT_INPUTS:
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, values.shape))


def _free_name(model: onnx.ModelProto, base: str) -> str:
    taken = {t.name for t in model.graph.initializer} | {o for n in model.graph.node for o in n.output}
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name
