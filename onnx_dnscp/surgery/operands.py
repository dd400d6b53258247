"""Integer operands that bake a channel count: rewrite them as close to their source as possible.

Exporters spell a Reshape target or a pad amount as an initializer, a Constant node, a chain of constants, or a
mixture of constants and sizes read with `Shape`. Sizes read with `Shape` follow the cut on their own (`sizes.py`); only
what is baked has to be rewritten.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.model.editor import FreshNames, add_constant, insert_before
from onnx_dnscp.model.runtime import FIRST_IR_WITHOUT_INPUTS
from onnx_dnscp.model.structure import all_graphs, all_nodes
from onnx_dnscp.model.units import Units
from onnx_dnscp.ops.resize import SetOperand
from onnx_dnscp.surgery.weights import set_tensor, stored_tensors


def set_operands(
    model: onnx.ModelProto, units: Units, edits: Iterable[tuple[SetOperand, NDArray[Any] | None]]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Make integer operands read other values, in place.

    Args:
        model: The model under surgery.
        units: Discovery of the original model, for who reads what.
        edits: What each operand must say, and what it says without an edit (None if it is omitted).

    Returns:
        Stored operands that got another shape: (before, after).
    """
    editor = _OperandEditor(model, units)
    for edit, found in edits:
        editor.set(edit, found)
    editor.finish()
    return editor.resized


class _OperandEditor:
    """Rewrites integer operands of one model in place; looks through the model once, whatever the number of edits.

    Args:
        model: The model under surgery.
        units: Discovery of the original model, for who reads what.

    Attributes:
        resized: Stored operands that got another shape: (before, after).
    """

    def __init__(self, model: onnx.ModelProto, units: Units) -> None:
        self.resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._model = model
        self._units = units
        self._nodes = list(all_nodes(model.graph))
        self._tensors = dict(stored_tensors(model))
        self._constants = {n.output[0]: n for n in self._nodes if n.op_type == "Constant"}
        self._corrections: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._names = FreshNames(model.graph)

    def set(self, edit: SetOperand, found: NDArray[Any] | None) -> None:
        """Make one operand read the wanted values.

        Args:
            edit: What the operand must say.
            found: What it says without an edit; None if the operand is omitted.
        """
        graph = self._units.graph
        node = self._nodes[edit.node.index]
        if found is None:
            self._read_new_initializer(node, edit.operand, edit.values)
            return
        name = node.input[edit.operand]
        same_size = found.size == edit.values.size
        wanted = edit.values.astype(found.dtype).reshape(found.shape if same_size else edit.values.shape)
        if name in graph.stored and self._is_read_once(name):
            self._rewrite(name, wanted)
        elif name in graph.fixed or not same_size:
            self._read_new_initializer(node, edit.operand, wanted)
        elif not self._rewrite_leaves(name, found, wanted):
            self._correct(node, edit.operand, found, wanted)

    def finish(self) -> None:
        """Put nodes that correct computed operands in front of the nodes that read them."""
        for graph in all_graphs(self._model.graph) if self._corrections else ():
            insert_before(graph, self._corrections)

    def _is_read_once(self, name: str) -> bool:
        graph = self._units.graph
        return len(graph.readers.get(name, ())) == 1 and name not in graph.outputs

    def _rewrite(self, name: str, values: NDArray[Any]) -> None:
        before = self._units.graph.stored.shape(name)
        if before != values.shape:
            self.resized[name] = (before, values.shape)
        if name in self._tensors:
            set_tensor(self._tensors[name], values)
            return
        attribute = self._constants[name].attribute[0]  # value_int or value_ints
        new: Any = int(values.ravel()[0]) if attribute.type == onnx.AttributeProto.INT else values.ravel().tolist()
        attribute.CopyFrom(helper.make_attribute(attribute.name, new))

    def _read_new_initializer(self, node: onnx.NodeProto, operand: int, values: NDArray[Any]) -> None:
        base = node.input[operand] if operand < len(node.input) and node.input[operand] else f"{node.output[0]}_sizes"
        name = self._add_initializer(f"{base}_pruned", values)
        while len(node.input) <= operand:
            node.input.append("")
        node.input[operand] = name

    def _rewrite_leaves(self, name: str, found: NDArray[Any], wanted: NDArray[Any]) -> bool:
        """Rewrite the constants that wrong elements come from; False if some source cannot be told or is shared."""
        leaves: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for element in np.flatnonzero(found != wanted):
            leaf = self._leaf(name, int(element))
            if leaf is None:
                return False
            leaves[leaf[0]][leaf[1]] = int(wanted.flat[element])
        for stored, elements in leaves.items():
            values = np.array(self._units.graph.stored[stored])
            for index, value in elements.items():
                values.flat[index] = value
            self._rewrite(stored, values)
        return True

    def _leaf(self, name: str, element: int) -> tuple[str, int] | None:
        """The stored tensor and flat index that one element is copied from, if nothing else reads the way there."""
        graph, shapes = self._units.graph, self._units.trace.shapes
        while self._is_read_once(name):
            if name in graph.stored:
                return name, element
            node = graph.producer.get(name)
            if node is None:
                return None
            if node.op_type == "Concat" and len(shapes[name]) == 1:
                for part in node.inputs:
                    size = math.prod(shapes[part])
                    if element < size:
                        name = part
                        break
                    element -= size
            elif node.op_type in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape"):
                name = node.inputs[0]
            else:
                return None
        return None

    def _correct(self, node: onnx.NodeProto, operand: int, found: NDArray[Any], wanted: NDArray[Any]) -> None:
        """Correct a computed operand by constants, where its baked part cannot be reached.

        A count may be baked into a product with a size that varies (`batch * 64`), so a positive number is scaled,
        which is right for every size; only what cannot be scaled is moved by a difference.
        """
        scaled = (found > 0) & (wanted > 0)
        common = np.where(scaled, np.gcd(found, wanted), 1)
        times = np.where(scaled, wanted // common, 1)
        parts = np.where(scaled, found // common, 1)
        difference = np.where(scaled, 0, wanted - found)
        source = node.input[operand]
        for op_type, constant in (("Mul", times), ("Div", parts), ("Add", difference)):
            if (constant == (0 if op_type == "Add" else 1)).all():
                continue
            name = self._add_initializer(f"{source}_shrink", constant.astype(found.dtype))
            result = self._names.fresh(f"{source}_pruned")
            step = helper.make_node(op_type, [node.input[operand], name], [result], name=result)
            self._corrections[next(filter(None, node.output))].append(step)
            node.input[operand] = result

    def _add_initializer(self, base: str, values: NDArray[Any]) -> str:
        name = add_constant(self._model.graph, self._names.fresh(base), values)
        if self._model.ir_version < FIRST_IR_WITHOUT_INPUTS:
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            self._model.graph.input.append(helper.make_tensor_value_info(name, kind, values.shape))
        return name
