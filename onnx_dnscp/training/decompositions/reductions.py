"""Reductions whose gradient the runtime lacks, over any axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from onnx_dnscp.training.decompositions.registry import Site, decomposition


def _sum_of_sizes(site: Site, axes: Sequence[int]) -> str:
    return site.reduce("ReduceSum", site.emit("Abs", site.operand(0)), axes)


def _sum_of_squares(site: Site, axes: Sequence[int]) -> str:
    return site.reduce("ReduceSum", site.emit("Mul", site.operand(0), site.operand(0)), axes)


def _log_of_sum(site: Site, axes: Sequence[int]) -> str:
    return site.emit("Log", site.reduce("ReduceSum", site.operand(0), axes))


def _keeping_axes(site: Site, axes: Sequence[int]) -> str:
    """Without keepdims, the runtime cannot lay out the gradient before opset 18, or over all axes."""
    return site.reduce(site.node.op_type, site.operand(0), axes)


def _extreme(site: Site, axes: Sequence[int]) -> str:
    """The element at the place of the extreme; of equal ones, the first gets the gradient."""
    rows = _rows(site, axes)
    place = site.emit(f"Arg{site.node.op_type.removeprefix('Reduce')}", rows, axis=1, keepdims=1)
    return site.emit("GatherElements", rows, place, axis=1)


def _product(site: Site, axes: Sequence[int]) -> str:
    """Products of halves until one column is left: right for zeros and negative values too."""
    rows = _rows(site, axes)
    size = math.prod(site.shape()[axis] for axis in axes)
    while size > 1:
        half, rest = divmod(size, 2)
        parts = [half, half, rest] if rest else [half, half]
        site.emit("Split", rows, site.integers(parts), outputs=len(parts), axis=1)
        first, second, *odd = site.outputs_of_last()
        rows = site.emit("Mul", first, second)
        if odd:
            rows = site.emit("Concat", rows, *odd, axis=1)
        size = half + rest
    return rows


_SPELLINGS: Mapping[str, Callable[[Site, Sequence[int]], str]] = {
    "ReduceL1": _sum_of_sizes,
    "ReduceL2": _keeping_axes,
    "ReduceLogSum": _log_of_sum,
    "ReduceLogSumExp": _keeping_axes,
    "ReduceMax": _extreme,
    "ReduceMin": _extreme,
    "ReduceProd": _product,
    "ReduceSumSquare": _sum_of_squares,
}


@decomposition(*_SPELLINGS)
def reduction(site: Site) -> str | None:
    """The operator's spelling; None for axes that are computed, and for a scalar."""
    axes = _axes(site)
    if axes is None:
        return None
    if not axes:
        return site.operand(0)
    return site.reshape(_SPELLINGS[site.node.op_type](site, axes), site.shapes[site.node.output[0]])


def _axes(site: Site) -> list[int] | None:
    """The axes that are reduced, in ascending order, not negative."""
    rank = len(site.shape())
    given = site.attribute("axes", []) if not site.operand(1) else site.value(1)
    if given is None or rank == 0:
        return None
    axes = sorted(int(axis) % rank for axis in given)
    return axes if axes or site.attribute("noop_with_empty_axes", 0) else list(range(rank))


def _rows(site: Site, axes: Sequence[int]) -> str:
    """Write x as (positions that stay, positions that are reduced)."""
    shape = site.shape()
    stay = [axis for axis in range(len(shape)) if axis not in axes]
    order = [*stay, *axes]
    x = site.operand(0)
    if order != sorted(order):
        x = site.emit("Transpose", x, perm=order)
    return site.reshape(x, (math.prod(shape[axis] for axis in stay), math.prod(shape[axis] for axis in axes)))
