"""What rewrites write with: new nodes, shared constants, and tensors in blocks of channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnx_dnscp.model.editor import FreshNames, add_constant, replace_nodes
from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.rewrites.shapes import Shape, known_shapes

BLOCKED_DOMAIN = f"{MICROSOFT}.nchwc"  # operators on (N, C / block, H, W, block), declared as (N, C, H, W)


class Pen:
    """Writes the replacements of nodes of one gradient graph.

    Attributes:
        shapes: Of the tensors whose shape is known; a rewrite leaves alone what it has no shapes of.
        block: Channels per block; 0 where the processor has no kernels for blocks.
        blocked: Tensor to the one that holds the same values in blocks of channels.
        made_in_blocks: Those among them that were computed in blocks and reordered afterwards.
    """

    def __init__(self, model: onnx.ModelProto, block: int) -> None:
        self.shapes = known_shapes(model)
        self.block = block
        self.blocked: dict[str, str] = {}
        self.made_in_blocks: set[str] = set()
        self._graph = model.graph
        self._nodes: list[onnx.NodeProto] = []
        self._names = FreshNames(model.graph)
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def emit(
        self,
        op_type: str,
        *inputs: str,
        output: str = "",
        domain: str = "",
        shape: Shape | None = None,
        **attributes: Any,
    ) -> str:
        """Write a node with one output, named `output` or afresh; returns the name."""
        name = output or self._fresh()
        self.add(helper.make_node(op_type, list(inputs), [name], domain=domain, **attributes))
        if shape is not None:
            self.shapes[name] = shape
        return name

    def add(self, node: onnx.NodeProto) -> None:
        """Write a node that is made already."""
        self._nodes.append(node)

    def constant(self, values: NDArray[Any]) -> str:
        """A stored tensor; equal ones are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = add_constant(self._graph, self._fresh(), values)
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> str:
        """A constant vector of int64."""
        return self.constant(np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """A constant float32 without axes."""
        return self.constant(np.array(value, dtype=np.float32))

    def reshape(self, x: str, shape: Sequence[int], *, output: str = "") -> str:
        """Write a Reshape, which costs nothing."""
        return self.emit("Reshape", x, self.integers(shape), output=output, shape=tuple(shape))

    def to_blocks(self, x: str) -> str:
        """The tensor `x` in blocks of channels; put there at its first use."""
        if x not in self.blocked:
            self.blocked[x] = self.emit("ReorderInput", x, domain=BLOCKED_DOMAIN)
        return self.blocked[x]

    def from_blocks(self, blocked: str, output: str, shape: Shape) -> None:
        """Write `output`, of `shape`, from its blocks; later users of blocks take them where they are."""
        self.blocked[output] = blocked
        self.made_in_blocks.add(output)
        self.emit("ReorderOutput", blocked, output=output, domain=BLOCKED_DOMAIN, shape=shape, channels=shape[1])

    def apply(self, *rules: Rewrite) -> None:
        """Let the first rule that fits replace each node of the graph, in order."""

        def written(node: onnx.NodeProto) -> list[onnx.NodeProto]:
            self._nodes = []
            return self._nodes if any(rule(self, node) for rule in rules) else [*self._nodes, node]

        replace_nodes(self._graph, written)

    def _fresh(self) -> str:
        self._count += 1
        return self._names.fresh(f"dnscp//rewritten/{self._count}")


Rewrite = Callable[[Pen, onnx.NodeProto], bool]
"""Writes what replaces a node and returns True, or what stands before it, which may be nothing, and returns False."""
