"""Params and MACs of a model, whole or with any set of units removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import onnx_dnscp.ops  # noqa: F401  (importing registers the operators)
from onnx_dnscp.graph import Graph
from onnx_dnscp.ops.macs import macs_rule_for
from onnx_dnscp.trace import Trace
from onnx_dnscp.units import Units

Metric = Literal["channels", "params", "macs"]
METRICS: tuple[Metric, ...] = ("channels", "params", "macs")


@dataclass(frozen=True)
class Costs:
    """What one model costs.

    Attributes:
        params: Elements of all stored floating-point tensors.
        macs: Multiply-accumulates of one sample, at the traced input size.
    """

    params: int
    macs: int


class CostModel:
    """Counts params and MACs for any set of removed units, in a few numpy calls.

    Every weight takes part in a fixed number of products per element (its reuse: the output positions it
    slides over), so MACs are `sum of kept elements x reuse`, and kept elements are the product of the kept sizes of
    the tensor's axes. That holds for dense, grouped and depthwise convolutions and matrix products alike.
    """

    def __init__(self, units: Units) -> None:
        graph = units.graph
        self._num_units = units.num_units
        self._slices = units.slices
        names = [n for n, a in graph.stored.items() if _is_parameter(a)]
        index = {name: i for i, name in enumerate(names)}
        self._sizes = np.array([graph.stored[n].size for n in names], dtype=np.float64)
        reuse = weight_reuse(graph, units.trace)
        self._reuse = np.array([reuse.get(n, 0.0) for n in names], dtype=np.float64)
        self._tensor_of_axis = np.array([index[n] for n, _ in units.slices.axes], dtype=np.int64)
        self._axis_sizes = np.array([graph.stored[n].shape[a] for n, a in units.slices.axes], dtype=np.float64)

    def costs(self, removed: NDArray[np.bool_] | None = None) -> Costs:
        """Params and MACs with the `removed` units (units,) gone; None keeps all."""
        kept = self._kept_sizes(removed)
        return Costs(params=round(float(kept.sum())), macs=round(float(kept @ self._reuse)))

    def removed_ratio(self, removed: NDArray[np.bool_], metric: Metric) -> float:
        """Share of prunable channels, or of all params or MACs, that removing the units saves."""
        if metric == "channels":
            return float(removed.sum()) / max(1, self._num_units)
        kept = self._kept_sizes(removed)
        weight = np.ones_like(kept) if metric == "params" else self._reuse
        total = float(self._sizes @ weight)
        return 1.0 - float(kept @ weight) / total if total else 0.0

    def _kept_sizes(self, removed: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        kept = self._sizes.copy()
        if removed is None or not removed.any():
            return kept
        gone = removed[self._slices.unit]
        lost = np.bincount(self._slices.axis_index[gone], minlength=self._axis_sizes.size)
        changed = np.flatnonzero(lost)
        np.multiply.at(kept, self._tensor_of_axis[changed], 1.0 - lost[changed] / self._axis_sizes[changed])
        return kept


def model_costs(graph: Graph, seen: Trace) -> Costs:
    """Params and MACs of a model as it is."""
    reuse = weight_reuse(graph, seen)
    sizes = {name: array.size for name, array in graph.stored.items() if _is_parameter(array)}
    macs = sum(reuse.get(name, 0.0) * size for name, size in sizes.items())
    return Costs(params=sum(sizes.values()), macs=round(macs))


def weight_reuse(graph: Graph, seen: Trace) -> dict[str, float]:
    """MACs per element of each weight and sample; a weight used twice counts twice.

    Products of two activations (attention scores) have no weight and are not counted.
    """
    reuse: dict[str, float] = {}
    for node in graph.nodes:
        count_macs = macs_rule_for(node.domain, node.op_type)
        weights = [] if count_macs is None else [graph.stored_source(operand) for operand in node.inputs[:2]]
        for weight in filter(None, weights):
            assert count_macs is not None
            macs = count_macs(*(seen.shapes[name] for name in (*node.inputs[:2], node.outputs[0])))
            reuse[weight] = reuse.get(weight, 0.0) + macs / seen.batch / graph.stored[weight].size
    return reuse


def _is_parameter(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind not in "iub" or array.dtype.itemsize == 1
