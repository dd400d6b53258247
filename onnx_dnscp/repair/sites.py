"""Where a network can be repaired: its linear operators, their weights, and what takes a shift of their outputs.

Every weight is seen as matrices (groups, outputs, features), whatever operator and layout it is stored for. A graph is
never changed: an operator without a bias is shifted by the batch norm behind it, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.graph import CHANNEL_AXIS, Graph, Node
from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.repair.windows import Windows

Matrix = NDArray[np.floating]

_TYPES = ("float16", "bfloat16", "float32", "float64")
_SMALLEST_GAIN = 1e-2  # of a batch norm; channels that it nearly silences cannot make up for anything


@dataclass(frozen=True)
class Shift:
    """A stored vector that shifts an operator's outputs.

    Attributes:
        tensor: Its name.
        factor: What a shift of 1 adds to it: -1 for the running mean of a batch norm, 1 / beta for a Gemm's bias.
        bias: Whether it is added by the operator itself or an Add behind it, and so part of its output.
    """

    tensor: str
    factor: float
    bias: bool


@dataclass(frozen=True)
class Residual:
    """The other operand of an Add behind an operator, whose error the operator can make up for.

    Attributes:
        tensor: Its name.
        gain: (channels,) what 1 in it is worth in the operator's output: a batch norm between them scales.
    """

    tensor: str
    gain: NDArray[np.floating]


@dataclass(frozen=True)
class RepairSite:
    """A linear operator with a stored weight.

    Attributes:
        reads: Tensor that its input comes from.
        makes: Tensor to compare; behind the bias where a MatMul has one.
        weight: Stored tensor.
        keeps: Broadcastable to the weight: False where it reads a removed channel.
        shift: What moves its output, or None.
        residual: What is added to its output by a shortcut, where that is repaired before.
        windows: How a convolution sees its input; None for matrix products.
        transposed: Whether a product's weight is stored as (outputs, features).
        level: Number of repaired operators in a row before this one.
    """

    reads: str
    makes: str
    weight: str
    keeps: NDArray[np.bool_]
    shift: Shift | None
    residual: Residual | None
    windows: Windows | None
    transposed: bool
    level: int

    @property
    def channel_axis(self) -> int:
        """Axis of the output that counts its channels."""
        return CHANNEL_AXIS if self.windows else -1

    def matrices(self, weight: NDArray[Any]) -> Matrix:
        """The stored weight as (groups, outputs, features)."""
        if self.windows:
            return weight.reshape(self.windows.group, len(weight) // self.windows.group, -1)
        return (weight if self.transposed else weight.T)[None]

    def stored(self, matrices: Matrix, like: NDArray[Any]) -> NDArray[Any]:
        """The reverse of `matrices`, in the shape and type of `like`."""
        weight = matrices if self.windows or self.transposed else matrices[0].T
        return np.asarray(weight.reshape(like.shape), dtype=like.dtype)

    def samples(self, x: NDArray[Any], y: NDArray[Any], limit: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
        """Features (groups, rows, features) and outputs (groups, rows, outputs) at up to `limit` positions."""
        if self.windows:
            return self.windows.samples(x, y, limit, rng)
        rows, outputs = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        if len(rows) > limit:
            chosen = rng.choice(len(rows), limit, replace=False)
            rows, outputs = rows[chosen], outputs[chosen]
        return rows[None], outputs[None]


def find_sites(units: Units, mask: Mask) -> tuple[RepairSite, ...]:
    """The operators that can be repaired, in the order of the graph.

    Left out are weights that are shared, computed, quantised or in a sub-graph, and transposed convolutions.

    Args:
        units: What discovery found.
        mask: (units,) True for the units that stay.
    """
    return tuple(_Finder(units, mask).find())


class _Finder:
    def __init__(self, units: Units, mask: Mask) -> None:
        self._graph: Graph = units.graph
        self._stays = np.append(mask, True)  # FIXED = -1 picks the appended True
        self._consumers = {(c.output, c.operand): c for c in units.consumers}
        self._shapes: Mapping[str, tuple[int, ...]] = units.trace.shapes
        self._outside = {name for node in units.graph.proto.graph.node for name in node.output}

    def find(self) -> Iterator[RepairSite]:
        sites: list[RepairSite] = []
        level: dict[str, int] = {}
        for node in self._graph.nodes:
            before = max((level.get(name, 0) for name in (*node.inputs, *node.captured)), default=0)
            site = self._site(node, before)
            if site is not None:
                sites.append(site)
            level.update(dict.fromkeys(node.outputs, before + (site is not None)))
        for site in sites:
            residual = self._residual(site.makes)
            in_time = residual is not None and level.get(residual.tensor, 0) <= site.level
            yield replace(site, residual=residual if in_time else None)

    def _residual(self, name: str) -> Residual | None:
        """The shortcut behind an operator's output, maybe behind its batch norm."""
        reader = self._only_reader(name)
        gain = np.ones(1, dtype=np.float32)
        if reader is not None and reader.op_type == "BatchNormalization":
            stored = self._graph.stored
            if any(operand not in stored for operand in reader.inputs[1:]):
                return None
            scale, variance = (_precise(stored[reader.inputs[i]]) for i in (1, 4))
            deviation = np.sqrt(variance + reader.attributes.get("epsilon", 1e-5))
            useful = np.abs(scale) > _SMALLEST_GAIN * deviation
            gain = np.where(useful, deviation / np.where(useful, scale, 1), 0)
            name = reader.result
            reader = self._only_reader(name)
        if reader is None or reader.op_type != "Add" or reader.inputs[0] == reader.inputs[1]:
            return None
        [other] = [operand for operand in reader.inputs if operand != name]
        if other in self._graph.fixed or self._shapes[other] != self._shapes[name]:
            return None
        return Residual(other, gain)

    def _only_reader(self, name: str) -> Node | None:
        readers = self._graph.readers.get(name, ())
        return readers[0][0] if len(readers) == 1 and name not in self._graph.outputs else None

    def _site(self, node: Node, level: int) -> RepairSite | None:
        if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul") or not self._has_own_weight(node):
            return None
        reads, weight = node.inputs[:2]
        shape = self._graph.stored.shape(weight)
        if node.op_type != "Conv" and (len(shape) != 2 or len(self._shapes[reads]) < 2):
            return None
        if node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("transA", 0):
            return None
        consumer = self._consumers.get((node.result, 1))
        keeps = np.ones((1,) * len(shape), dtype=bool)
        if consumer is not None:
            keeps = self._stays[consumer.stored_rows(shape)]
        windows = Windows.of(node, self._shapes[reads], shape) if node.op_type == "Conv" else None
        makes, shift = self._shift(node, shape[0] if windows or node.attributes.get("transB") else shape[1])
        return RepairSite(reads, makes, weight, keeps, shift, None, windows, bool(node.attributes.get("transB")), level)

    def _has_own_weight(self, node: Node) -> bool:
        """Whether a node outside sub-graphs reads a stored weight of floats that no other node reads."""
        weight, stored = node.inputs[1], self._graph.stored
        if node.result not in self._outside or weight not in stored or stored.dtype(weight).name not in _TYPES:
            return False
        return len(self._graph.readers[weight]) == 1

    def _shift(self, node: Node, size: int) -> tuple[str, Shift | None]:
        """The tensor to compare, and what shifts it: a bias, or what stands behind the node."""
        if len(node.inputs) > 2 and node.inputs[2]:
            beta = node.attributes.get("beta", 1.0)
            fits = beta and self._is_own_vector(node.inputs[2], size)
            return node.result, Shift(node.inputs[2], 1 / beta, bias=True) if fits else None
        return self._shift_behind(node, size)

    def _shift_behind(self, node: Node, size: int) -> tuple[str, Shift | None]:
        reader = self._only_reader(node.result)
        if reader is None:
            return node.result, None
        position = reader.inputs.index(node.result)
        if reader.op_type == "BatchNormalization" and position == 0 and self._is_own_vector(reader.inputs[3], size):
            trains = reader.attributes.get("training_mode", 0) or any(reader.outputs[1:])
            return node.result, None if trains else Shift(reader.inputs[3], -1.0, bias=False)
        if (
            reader.op_type == "Add"
            and node.op_type == "MatMul"
            and self._is_own_vector(reader.inputs[1 - position], size)
        ):
            return reader.result, Shift(reader.inputs[1 - position], 1.0, bias=True)
        return node.result, None

    def _is_own_vector(self, name: str, size: int) -> bool:
        stored = self._graph.stored
        return (
            name in stored
            and stored.dtype(name).name in _TYPES
            and stored.size(name) == size == stored.shape(name)[-1]
            and len(self._graph.readers[name]) == 1
        )


def _precise(values: NDArray[Any]) -> NDArray[np.floating]:
    """Half precision as float32: an epsilon of 1e-5 is lost in it."""
    return values if values.dtype.itemsize > 2 else values.astype(np.float32)
