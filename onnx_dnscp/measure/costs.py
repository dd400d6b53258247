"""Params and MACs of a model, whole or with any mask, and the costs that count: channels, params and MACs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import onnx_dnscp.ops  # noqa: F401  (importing registers the operators)
from onnx_dnscp.measure.cost_registry import Cost, CostInputs, cost
from onnx_dnscp.model.fields import varying_axes
from onnx_dnscp.model.graph import Graph
from onnx_dnscp.model.trace import Trace
from onnx_dnscp.model.units import FIXED, Mask, Units
from onnx_dnscp.ops.macs import MacsRule, data_and_weight, macs_rules_for

# Channels per block of ONNX Runtime's convolution kernels: 16 with AVX512, 8 with AVX2, 4 in the plain ones. Counts
# that are no multiples run slower than the MACs say (`benchmarks/alignment.py`).
FAST_BLOCKS = (16, 8, 4)


@dataclass(frozen=True)
class Costs:
    """What one model costs.

    Attributes:
        params: Elements of all stored floating-point tensors.
        macs: Multiply-accumulates of one sample, at the traced input size.
    """

    params: int
    macs: int


@dataclass(frozen=True)
class _Use:
    """One node that multiplies by a stored weight: its operands and result, and its count."""

    tensors: tuple[str, ...]
    count: MacsRule


class CostModel:
    """Counts params and MACs for any mask, in a few numpy calls.

    Elements of a tensor and MACs of a node are both products of axis sizes, so what is left of them under a mask is
    the product of the kept shares of their axes. Which axes a node's MACs grow with is asked of its rule, by doubling
    them: a matrix product over tokens costs less when its rows are channels and some of them go.
    """

    def __init__(self, units: Units) -> None:
        graph, trace = units.graph, units.trace
        axes = _Axes()
        names = [n for n in graph.stored if graph.stored.is_parameter(n)]
        params = [(float(graph.stored.size(n)), [axes.number(f) for f in units.fields.get(n, ())]) for n in names]
        params.append((float(graph.unseen_params), []))
        macs = []
        for use in _uses(graph, trace):
            shapes = [list(trace.shapes[name]) for name in use.tensors]
            whole = _count(use, shapes)
            grows = [
                number
                for number, places in _places(units, use, axes).items()
                for _ in range(round(math.log2(_count(use, _doubled(shapes, places)) / whole)) if whole else 0)
            ]
            macs.append((whole / trace.batch, grows))
        self._params, self._macs = _Products(params), _Products(macs)
        self._unit, self._axis, self._sizes = axes.arrays()

    def costs(self, mask: Mask | None = None) -> Costs:
        """Params and MACs of what stays with `mask` (units,); None keeps all."""
        kept = np.ones_like(self._sizes) if mask is None else self._kept_shares(mask)
        return Costs(params=round(self._params.total(kept)), macs=round(self._macs.total(kept)))

    def saved_params(self, mask: Mask) -> float:
        """Share of all params that goes with `mask` (units,)."""
        return self._params.saved(self._kept_shares(mask))

    def saved_macs(self, mask: Mask) -> float:
        """Share of all MACs that goes with `mask` (units,)."""
        return self._macs.saved(self._kept_shares(mask))

    def _kept_shares(self, mask: Mask) -> NDArray[np.float64]:
        lost = np.bincount(self._axis[~mask[self._unit]], minlength=self._sizes.size)
        shares: NDArray[np.float64] = 1.0 - lost / self._sizes
        return shares


@cost("channels")
def channels(inputs: CostInputs) -> Cost:
    """Prunable channels; those that stay by wish do not count."""
    num_free = inputs.units.num_units if inputs.frozen is None else int((~inputs.frozen).sum())
    return Cost("channels", lambda mask: float((~mask).sum() / num_free))


@cost("params")
def params(inputs: CostInputs) -> Cost:
    """All params of the model."""
    return Cost("params", CostModel(inputs.units).saved_params)


@cost("macs")
def macs(inputs: CostInputs) -> Cost:
    """All MACs of the model."""
    return Cost("macs", CostModel(inputs.units).saved_macs, blocks=FAST_BLOCKS)


class _Axes:
    """Numbers for the unit vectors that tensor axes carry; equal vectors share one."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._of_field: dict[int, int] = {}  # by field object; most tensors share theirs
        self._vectors: list[NDArray[np.int64]] = []

    def number(self, field: NDArray[np.int64]) -> int:
        number = self._of_field.get(id(field))
        if number is None:
            vector = field.ravel()
            number = self._numbers.setdefault(vector.tobytes(), len(self._vectors))
            if number == len(self._vectors):
                self._vectors.append(vector)
            self._of_field[id(field)] = number
        return number

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Every unit on an axis, the axis it is on, and the size of each axis."""
        sizes = np.array([v.size for v in self._vectors], dtype=np.int64)
        units = np.concatenate([*self._vectors, np.zeros(0, dtype=np.int64)])
        on = np.repeat(np.arange(sizes.size), sizes)
        return units[units != FIXED], on[units != FIXED], sizes.astype(np.float64)


class _Products:
    """A sum of terms that are each a base times the kept shares of some axes."""

    def __init__(self, terms: Sequence[tuple[float, Sequence[int]]]) -> None:
        self._bases = np.array([base for base, _ in terms], dtype=np.float64)
        self._term = np.repeat(np.arange(len(terms)), [len(axes) for _, axes in terms])
        self._axis = np.array([axis for _, axes in terms for axis in axes], dtype=np.int64)

    def total(self, shares: NDArray[np.float64]) -> float:
        """The sum with `shares` (axes,) of every axis kept."""
        kept = self._bases.copy()
        np.multiply.at(kept, self._term, shares[self._axis])
        return float(kept.sum())

    def saved(self, shares: NDArray[np.float64]) -> float:
        """The share of the sum that goes with `shares` (axes,) of every axis kept; 0 of nothing."""
        whole = float(self._bases.sum())
        return 1.0 - self.total(shares) / whole if whole else 0.0


def model_costs(graph: Graph, trace: Trace) -> Costs:
    """Params and MACs of a model as it is.

    A weight used twice costs its MACs twice. Products of two activations (attention scores) are not counted.
    """
    params = sum(graph.stored.size(name) for name in graph.stored if graph.stored.is_parameter(name))
    params += graph.unseen_params
    macs = sum(_count(use, [trace.shapes[name] for name in use.tensors]) for use in _uses(graph, trace))
    return Costs(params=params, macs=round(macs / trace.batch))


def _uses(graph: Graph, trace: Trace) -> Iterator[_Use]:
    """Products whose sizes are known; what was never seen to run, as in a branch, counts nothing."""
    for node in graph.nodes:
        rules = macs_rules_for(node)
        operands = data_and_weight(node) if rules else ("", "")
        # A product of two constants is worked out when the model is loaded.
        if not rules or any(name not in trace.shapes for name in (*operands, node.result)):
            continue
        if {operand in graph.fixed for operand in operands} == {True, False}:
            yield from (_Use((*operands, node.result), rule) for rule in rules)


def _count(use: _Use, shapes: Sequence[Sequence[int]]) -> float:
    x, weight, y = (tuple(shape) for shape in shapes)
    return use.count(x, weight, y)


def _places(units: Units, use: _Use, axes: _Axes) -> dict[int, list[tuple[int, int]]]:
    """Number of each unit vector to the (tensor, axis) places of a node that carry it."""
    places: dict[int, list[tuple[int, int]]] = {}
    for tensor, name in enumerate(use.tensors):
        taken: set[int] = set()
        for field in units.fields.get(name, ()):
            axis = varying_axes(field)[-1]
            if axis not in taken:
                places.setdefault(axes.number(field), []).append((tensor, axis))
                taken.add(axis)
    return places


def _doubled(shapes: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]) -> list[list[int]]:
    doubled = [list(shape) for shape in shapes]
    for tensor, axis in places:
        doubled[tensor][axis] *= 2
    return doubled
