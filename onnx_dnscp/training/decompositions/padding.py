"""Padding with the tensor's own values, or on some axes only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.training.decompositions.axis_maps import take
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_AXES_OPERAND = 3


@decomposition("Pad")
def pad(site: Site) -> str | None:
    """Positions per axis for reflect, edge and wrap; counts for all axes for constants, the only ones with a gradient.

    None if the counts are computed from data.
    """
    counts, axes = site.value(1), site.value(_AXES_OPERAND)
    if counts is None or (site.operand(_AXES_OPERAND) and axes is None):
        return None
    shape = site.shape()
    borders = _borders(counts, axes, len(shape))
    mode = site.attribute("mode", "constant")
    if mode == "constant":
        return None if axes is None else pad_all(site, borders)
    x = site.operand(0)
    for axis, (before, after) in enumerate(borders):
        if before or after:
            x = take(site, x, shape[axis], axis, _positions(shape[axis], before, after, mode))
    return x


@decomposition("CenterCropPad")
def center_crop_pad(site: Site) -> str | None:
    """Half of the difference on each side, the odd pixel at the end; None if the size is computed from data."""
    sizes = site.value(1)
    if sizes is None:
        return None
    shape = site.shape()
    borders = [(0, 0)] * len(shape)
    for axis, size in zip(site.attribute("axes", range(len(shape))), sizes, strict=True):
        more = int(size) - shape[axis]
        before = more // 2 if more > 0 else -(-more // 2)
        borders[axis] = before, more - before
    return pad_all(site, borders)


def pad_all(site: Site, borders: Sequence[tuple[int, int]]) -> str:
    """Write the node's first input with a constant around it; negative counts cut off."""
    counts = site.integers([border[side] for side in (0, 1) for border in borders])
    value = [site.operand(2)] if site.node.op_type == "Pad" and site.operand(2) else []
    return site.emit("Pad", site.operand(0), counts, *value)


def _borders(counts: NDArray[Any], axes: NDArray[Any] | None, rank: int) -> list[tuple[int, int]]:
    """How much is put before and behind each axis."""
    where = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    borders = [(0, 0)] * rank
    for axis, before, after in zip(where, counts[: len(where)], counts[len(where) :], strict=True):
        borders[axis] = int(before), int(after)
    return borders


def _positions(size: int, before: int, after: int, mode: str) -> NDArray[np.int64]:
    """What each position of the padded axis reads; negative counts cut off before the rest is padded."""
    inside = np.arange(max(0, -before), size - max(0, -after))
    counts = max(0, before), max(0, after)
    return np.pad(inside, counts, mode=cast(Literal["reflect", "edge", "wrap"], mode))
