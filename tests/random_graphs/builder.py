"""Builds one ONNX graph node by node and knows every tensor's shape at several input sizes.

A tensor's shape is kept once per *world*: a choice of batch and image size. Axes whose size differs between worlds are
dynamic. Constants and weights are spelled as the drawn `Style` says; what a tensor holds never depends on the spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from random_graphs.spelling import SPELLINGS, Spelling

Shape = tuple[int, ...]
ShapeRule = Callable[..., Shape]

TRACED = (2, 64, 64)  # (batch, height, width) that discovery runs with where they are dynamic
UNSEEN = ((1, 12, 16), (3, 20, 12))  # sizes that properties are checked at
STATIC_SPACE = (8, 12)
TIED_SHARE = 0.3


@dataclass(frozen=True)
class Style:
    """How a graph is written, apart from what it computes.

    Attributes:
        batch: Size of the batch axis; 0 is dynamic.
        dynamic_space: Whether height and width are dynamic.
        mixed_spelling: Whether constants are also written otherwise than as initializers.
        old_inputs: IR version 3, with every initializer among the graph inputs.
        node_names: 0 unique, 1 empty, 2 duplicate, 3 with separators.
        declared: Whether value_info tells every inferred shape.
        litter: Whether there are unused initializers and nodes that nobody reads.
        tied: Whether weights of equal shape are often one stored tensor.
    """

    opset: int = 17
    seed: int = 0
    batch: int = 0
    dynamic_space: bool = False
    mixed_spelling: bool = False
    old_inputs: bool = False
    node_names: int = 0
    declared: bool = False
    litter: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Tensor:
    """A float tensor: its name and its shape in every world."""

    name: str
    shapes: tuple[Shape, ...]

    @property
    def rank(self) -> int:
        return len(self.shapes[0])

    @property
    def channels(self) -> int:
        return self.shapes[0][1]

    def is_static(self, axis: int) -> bool:
        return len({shape[axis] for shape in self.shapes}) == 1

    def smallest(self, axes: Sequence[int] = (2, 3)) -> int:
        """Smallest size of some axes in any world."""
        return min(shape[axis] for shape in self.shapes for axis in axes)


@dataclass(frozen=True)
class Size:
    """An entry of a Reshape target that is read from an input: the product of some of its axes, divided."""

    axes: tuple[int, ...]
    divisor: int = 1
    factor: int = 1

    def of(self, shape: Shape) -> int:
        return int(np.prod([shape[a] for a in self.axes])) * self.factor // self.divisor


Target = Sequence[int | Size]


@dataclass
class Builder:
    """A graph under construction."""

    style: Style
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.values = np.random.default_rng(self.style.seed)
        self._spelling = np.random.default_rng(self.style.seed + 1)
        self._known: dict[tuple[Shape, bool], list[str]] = {}
        self._count = 0

    @property
    def opset(self) -> int:
        return self.style.opset

    @property
    def worlds(self) -> tuple[tuple[int, int, int], ...]:
        """(batch, height, width): first what discovery sees, then what it does not see."""
        sizes = []
        for batch, height, width in (TRACED, *UNSEEN):
            space = (height, width) if self.style.dynamic_space else STATIC_SPACE
            sizes.append((self.style.batch or batch, *space))
        return tuple(sizes)

    def name(self, prefix: str = "t") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    # Nodes -----------------------------------------------------------------------------------------------------------

    def node(self, op_type: str, inputs: Sequence[str], outs: int = 1, **attributes: Any) -> list[str]:
        """Append a node and return the names of its outputs."""
        names = [self.name() for _ in range(outs)]
        label = {0: f"n{self._count}", 1: "", 2: "same", 3: f"/net/{op_type}_{self._count}:0"}[self.style.node_names]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=label, **attributes))
        self.uses.update(inputs)
        return names

    def op(
        self,
        op_type: str,
        inputs: Sequence[Tensor | str],
        shape: ShapeRule | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Append a node with one output.

        Args:
            shape: Shape of the output from those of the `Tensor` inputs; the first one's shape by default.
        """
        tensors = [i for i in inputs if isinstance(i, Tensor)]
        (name,) = self.node(op_type, [i.name if isinstance(i, Tensor) else i for i in inputs], **attributes)
        per_world = zip(*(t.shapes for t in tensors), strict=True)
        return Tensor(name, tuple(shapes[0] if shape is None else shape(*shapes) for shapes in per_world))

    def input(self, channels: int) -> Tensor:
        tensor = Tensor(self.name("x"), tuple((n, channels, h, w) for n, h, w in self.worlds))
        self.inputs.append(tensor)
        return tensor

    def output(self, tensor: Tensor) -> None:
        """Put a tensor out; a graph input, or what is an output already, through an Identity."""
        if tensor in (*self.inputs, *self.outputs):
            tensor = self.op("Identity", [tensor])
        self.outputs.append(tensor)
        self.uses.add(tensor.name)

    # Constants -------------------------------------------------------------------------------------------------------

    def weight(self, *shape: int, scale: float | None = None, positive: bool = False) -> str:
        """A stored random tensor, maybe one that is there already; scaled by its fan-in unless `scale` is given."""
        known = self._known.setdefault((shape, positive), [])
        if self.style.tied and known and self._spelling.random() < TIED_SHARE:
            return known[int(self._spelling.integers(len(known)))]
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        factor = 1.2 / np.sqrt(fan_in) if scale is None else scale
        array = self.values.uniform(0.5, 1.5, shape) if positive else self.values.standard_normal(shape) * factor
        known.append(self.constant(array.astype(np.float32)))
        return known[-1]

    def constant(self, array: NDArray[Any] | Sequence[int] | Sequence[float] | float) -> str:
        """Store an array and return the name under which nodes read it."""
        values = np.asarray(array)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        spelling = Spelling.INITIALIZER
        if self.style.mixed_spelling:
            spelling = SPELLINGS[int(self._spelling.integers(len(SPELLINGS)))]
        return self.spell(values, spelling)

    def stored(self, values: NDArray[Any]) -> str:
        name = self.name("w")
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def spell(self, values: NDArray[Any], spelling: Spelling) -> str:
        """Write a constant in one of many ways; those that do not fit it become an initializer."""
        is_float = values.dtype.kind == "f"
        if spelling is Spelling.CONSTANT:
            return self.node("Constant", [], value=numpy_helper.from_array(np.asarray(values, order="C")))[0]
        is_list = values.ndim == 1 and values.size and values.dtype.kind in "fi"
        if spelling is Spelling.LIST and is_list and self.opset >= 12:
            key = "value_floats" if is_float else "value_ints"
            return self.node("Constant", [], **{key: values.tolist()})[0]
        if spelling is Spelling.IDENTITY:
            return self.node("Identity", [self.stored(values)])[0]
        if is_float and spelling is Spelling.CAST:
            half = values.astype(np.float16)
            return self.node("Cast", [self.stored(half)], to=TensorProto.FLOAT)[0]
        if is_float and spelling is Spelling.TRANSPOSE and values.ndim > 1:
            perm = list(self._spelling.permutation(values.ndim))
            stored = self.stored(values.transpose(np.argsort(perm)))
            return self.node("Transpose", [stored], perm=[int(p) for p in perm])[0]
        if is_float and spelling is Spelling.RESHAPE and values.ndim in (1, 3, 4) and values.shape[-1] == 1:
            target = self.stored(np.array(values.shape, dtype=np.int64))
            return self.node("Reshape", [self.stored(values.squeeze(-1)), target])[0]
        if is_float and spelling is Spelling.DEQUANTIZE and values.ndim > 1 and self.opset >= 13:
            return self._dequantized(values)
        if is_float and spelling is Spelling.UNSQUEEZE and values.ndim > 1 and values.shape[-1] == 1:
            return self._unsqueezed(self.stored(values.squeeze(-1)), [values.ndim - 1])
        return self.stored(values)

    def _dequantized(self, values: NDArray[Any]) -> str:
        """As int8, with one scale for all or one per slice of the first axis."""
        each = bool(self._spelling.integers(2))
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim))) if each else np.abs(values).max()
        scale = np.asarray(np.maximum(largest, 0.01) / 127, dtype=np.float32)
        spread = scale.reshape(-1, *[1] * (values.ndim - 1)) if each else scale
        quantized = self.stored(np.clip(np.round(values / spread), -127, 127).astype(np.int8))
        return self.node("DequantizeLinear", [quantized, self.stored(scale)], **({"axis": 0} if each else {}))[0]

    def _unsqueezed(self, name: str, axes: list[int]) -> str:
        return self.with_axes("Unsqueeze", name, axes)

    def with_axes(self, op_type: str, name: str, axes: list[int], since: int = 13, **attributes: Any) -> str:
        """A node whose `axes` are an attribute before opset `since` and an operand from then on."""
        if self.opset < since:
            return self.node(op_type, [name], axes=axes, **attributes)[0]
        return self.node(op_type, [name, self.integers(axes)], **attributes)[0]

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    # Shapes computed in the graph ------------------------------------------------------------------------------------

    def reshape(self, x: Tensor, target: Target, computed: bool = False, like: Tensor | None = None) -> Tensor:
        """Reshape `x`; sizes are written as numbers, 0 and -1, or computed from `Shape` where that does not do.

        Args:
            target: Numbers, and sizes of `like` (of `x` itself by default).
            computed: Compute all that can be computed.
        """
        source = like or x
        shapes = tuple(tuple(t if isinstance(t, int) else t.of(s) for t in target) for s in source.shapes)
        plain = None if computed else _plain_target(target, shapes, can_copy=like is None)
        if plain is not None and self.style.mixed_spelling and -1 not in plain:
            plain[int(self._spelling.integers(len(plain)))] = -1
        operand = self.integers(plain) if plain is not None else self.sizes(source, target)
        return Tensor(self.node("Reshape", [x.name, operand])[0], shapes)

    def sizes(self, x: Tensor, target: Target) -> str:
        """A vector of sizes computed from `Shape`."""
        (shape,) = self.node("Shape", [x.name])
        parts = []
        for entry in target:
            if isinstance(entry, int):
                parts.append(self.integers([entry]))
                continue
            size = ""
            for axis in entry.axes:
                (one,) = self.node("Gather", [shape, self.constant(np.array(axis, dtype=np.int64))], axis=0)
                size = self.node("Mul", [size, one])[0] if size else one
            for op_type, number in (("Mul", entry.factor), ("Div", entry.divisor)):
                if number != 1:
                    size = self.node(op_type, [size, self.constant(np.array(number, dtype=np.int64))])[0]
            # ONNX Runtime forgets the rank of `sizes` where this operand is anything but an initializer.
            axes = {"axes": [0]} if self.opset < 13 else {}
            operands = [size] if axes else [size, self.stored(np.array([0]))]
            parts.append(self.node("Unsqueeze", operands, **axes)[0])
        return self.node("Concat", parts, axis=0)[0]

    # The end ---------------------------------------------------------------------------------------------------------

    def model(self) -> onnx.ModelProto:
        style = self.style
        if style.litter:
            self.weight(5)
            self.node("Relu", [self.inputs[0].name])
            self.node("Identity", [self.weight(4)])
        inputs = [self._declared(t) for t in self.inputs]
        if style.old_inputs:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.initializers]
        outputs = [self._declared(t) for t in self.outputs]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, self.initializers)
        opset = [helper.make_opsetid("", style.opset)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=3 if style.old_inputs else 8)
        return shape_inference.infer_shapes(model) if style.declared else model

    def _declared(self, tensor: Tensor) -> onnx.ValueInfoProto:
        shape = [
            tensor.shapes[0][axis] if tensor.is_static(axis) else f"{tensor.name}_{axis}" for axis in range(tensor.rank)
        ]
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, shape)


def _plain_target(target: Target, shapes: Sequence[Shape], *, can_copy: bool) -> list[int] | None:
    """The target in numbers, with 0 where an axis is copied and one -1; None if that cannot say it."""
    plain: list[int] = []
    for position, entry in enumerate(target):
        sizes = {shape[position] for shape in shapes}
        if can_copy and entry == Size((position,)):
            plain.append(0)
        elif len(sizes) == 1:
            plain.append(sizes.pop())
        elif -1 not in plain:
            plain.append(-1)
        else:
            return None
    return plain
