"""What a decomposition is, and the register of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnx_dnscp.model.editor import FreshNames, attributes
from onnx_dnscp.ops.table import RuleTable

_AXES_AS_INPUT = 18  # the opset from which reductions other than ReduceSum take their axes as an input
_SUM_AXES_AS_INPUT = 13


@dataclass
class Site:
    """One node that is to be replaced, and the pen that writes its replacement.

    Attributes:
        node: The node; its omitted inputs and outputs have empty names.
        opset: Of the model's default domain, 14 to 21.
        shapes: Concrete shape of every tensor of the model; not of those that are written here.
        stored: Constants by name; weights that learn are not among them.
        names: Of tensors that are written.
        not_floats: Computed tensors of integers or booleans.
        moving: Tensors that gradients may reach.
    """

    node: onnx.NodeProto
    opset: int
    shapes: Mapping[str, tuple[int, ...]]
    stored: Mapping[str, NDArray[Any]]
    names: FreshNames
    not_floats: Collection[str] = ()
    moving: Collection[str] = ()
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Values of all attributes of the node; strings are `str`."""
        return attributes(self.node)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of one attribute of the node."""
        return self.attributes.get(name, default)

    def operand(self, position: int) -> str:
        """Name of an input, or "" where it is omitted."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def value(self, position: int) -> NDArray[Any] | None:
        """Value of a constant input, or None where it is omitted or computed."""
        return self.stored.get(self.operand(position))

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """Shape of an input."""
        return self.shapes[self.node.input[position]]

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Store a constant, float32 as everything in a training view unless `dtype` is given; returns its name."""
        name = self._fresh()
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype, order="C"), name))
        return name

    def integers(self, values: Sequence[int] | NDArray[Any]) -> str:
        """Store a constant of int64."""
        return self.constant(values, np.int64)

    def emit(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Write a node of the default domain; returns the name of its first output (see `outputs_of_last`)."""
        names = [self._fresh() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, **attributes))
        return names[0]

    def outputs_of_last(self) -> list[str]:
        """All outputs of the node that was written last."""
        return list(self.nodes[-1].output)

    def reduce(self, op_type: str, x: str, axes: Sequence[int], *, keepdims: bool = True) -> str:
        """Write a reduction, with axes spelled as the opset wants them."""
        since = _SUM_AXES_AS_INPUT if op_type == "ReduceSum" else _AXES_AS_INPUT
        if self.opset >= since:
            return self.emit(op_type, x, self.integers(axes), keepdims=int(keepdims))
        return self.emit(op_type, x, axes=list(axes), keepdims=int(keepdims))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Write a Reshape to a concrete shape."""
        return self.emit("Reshape", x, self.integers(shape))

    def _fresh(self) -> str:
        return self.names.fresh(f"{next(filter(None, self.node.output))}//{next(self._numbers)}")


Decomposition = Callable[[Site], str | Sequence[str] | None]
"""Writes nodes through its `Site` and returns the tensor that equals the node's output (or one per output, "" for those
that nothing replaces). None leaves the node as it is: it has a right gradient, or cannot be spelled."""
_TABLE: RuleTable[Decomposition] = RuleTable("decomposition")
decomposition = _TABLE.register
decomposed_operators = _TABLE.operators


def find_decomposition(node: onnx.NodeProto) -> Decomposition | None:
    """The rule for a node, or None."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    return _TABLE.get(domain, node.op_type)
