"""Sampling at computed places: a sum over neighbouring pixels, each gathered and weighted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_CUBIC = -0.75  # the operator's parameter of the cubic kernel
_METHODS = {"bilinear": "linear", "bicubic": "cubic"}  # names before opset 20


class _Tap(NamedTuple):
    """One neighbour along one axis: its position, int64, and its weight ("" for 1), both (batch, places)."""

    position: str
    weight: str


@decomposition("GridSample", domain=MICROSOFT)
@decomposition("GridSample")
def grid_sample(site: Site) -> str:
    """One, two or four neighbours per axis; every mode of interpolation and padding."""
    batch, channels, *space = site.shape()
    places = int(np.prod(site.shape(1)[1:-1]))
    grid = site.reshape(site.operand(1), (batch, places, len(space)))
    site.emit("Split", grid, site.integers([1] * len(space)), outputs=len(space), axis=2)
    axes = []
    for column, size in zip(reversed(site.outputs_of_last()), space, strict=True):  # the last axis comes first
        axes.append(_taps(site, _pixels(site, site.reshape(column, (batch, places)), size), size))
    image = site.reshape(site.operand(0), (batch, channels, int(np.prod(space))))
    strides = [int(np.prod(space[axis + 1 :])) for axis in range(len(space))]
    total = ""
    for taps in product(*axes):
        flat = ""
        for tap, stride in zip(taps, strides, strict=True):
            step = site.emit("Mul", tap.position, site.integers(np.array(stride)))
            flat = site.emit("Add", flat, step) if flat else step
        index = site.emit("Expand", site.reshape(flat, (batch, 1, places)), site.integers((batch, channels, places)))
        term = site.emit("GatherElements", image, index, axis=2)
        for tap in taps:
            if tap.weight:
                term = site.emit("Mul", term, site.reshape(tap.weight, (batch, 1, places)))
        total = site.emit("Add", total, term) if total else term
    return site.reshape(total, (batch, channels, *site.shape(1)[1:-1]))


@decomposition("AffineGrid")
def affine_grid(site: Site) -> str | None:
    """The places of an even grid, moved by one matrix per image; None if the size is computed from data."""
    size = site.value(1)
    if size is None:
        return None
    space = [int(n) for n in size[2:]]
    if site.attribute("align_corners", 0):
        lines = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in space]
    else:
        lines = [(2 * np.arange(n) + 1) / n - 1 for n in space]
    even = [*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(space)]
    matrices = site.emit("Transpose", site.operand(0), perm=[0, 2, 1])
    moved = site.emit("MatMul", site.constant(np.stack(even, axis=-1).reshape(-1, len(even))), matrices)
    return site.reshape(moved, (site.shape()[0], *space, len(space)))


def _pixels(site: Site, places: str, size: int) -> str:
    """Places from -1 to 1 in pixels."""
    aligned = site.attribute("align_corners", 0)
    scale = (size - 1) / 2 if aligned else size / 2
    return site.emit("Add", site.emit("Mul", places, site.constant(scale)), site.constant((size - 1) / 2))


def _taps(site: Site, pixels: str, size: int) -> list[_Tap]:
    method = site.attribute("mode", "linear")
    method = _METHODS.get(method, method)
    # Through an integer no gradient flows, and Floor and Round have none.
    whole = site.emit("Cast", site.emit("Round" if method == "nearest" else "Floor", pixels), to=TensorProto.INT64)
    base = site.emit("Cast", whole, to=TensorProto.FLOAT)
    if method == "nearest":
        return [_inside(site, base, "", size)]
    fraction = site.emit("Sub", pixels, base)
    if method == "linear":
        weights = {0: site.emit("Sub", site.constant(1.0), fraction), 1: fraction}
    else:
        weights = {offset: _cubic(site, fraction, offset) for offset in (-1, 0, 1, 2)}
    return [
        _inside(site, site.emit("Add", base, site.constant(offset)), weight, size) for offset, weight in weights.items()
    ]


def _cubic(site: Site, fraction: str, offset: int) -> str:
    """Weight of the pixel at `offset`, a cubic polynomial of its distance.

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing", equation 4.
    """
    distance = site.emit("Sub", fraction, site.constant(offset))
    if offset > 0:
        distance = site.emit("Neg", distance)
    near = (_CUBIC + 2, -(_CUBIC + 3), 0, 1)
    far = (_CUBIC, -5 * _CUBIC, 8 * _CUBIC, -4 * _CUBIC)
    return _polynomial(site, distance, near if offset in (0, 1) else far)


def _polynomial(site: Site, x: str, coefficients: Sequence[float]) -> str:
    """Write c0 x^n + .. + cn by Horner's rule."""
    value = site.constant(coefficients[0])
    for coefficient in coefficients[1:]:
        value = site.emit("Add", site.emit("Mul", value, x), site.constant(coefficient))
    return value


def _inside(site: Site, position: str, weight: str, size: int) -> _Tap:
    """Move a position into the image, or let it weigh nothing where zeros lie outside."""
    padding = site.attribute("padding_mode", "zeros")
    nearest = site.emit("Clip", position, site.constant(0.0), site.constant(size - 1))
    if padding == "zeros":
        same = site.emit("Cast", site.emit("Equal", nearest, position), to=TensorProto.FLOAT)
        weight = site.emit("Mul", weight, same) if weight else same
    elif padding == "reflection":
        nearest = _reflected(site, position, size)
    return _Tap(site.emit("Cast", nearest, to=TensorProto.INT64), weight)


def _reflected(site: Site, position: str, size: int) -> str:
    """A triangle wave between the image's borders: the centres of its outer pixels if corners are aligned."""
    low, span = (0.0, size - 1) if site.attribute("align_corners", 0) else (-0.5, size)
    if not span:
        return site.emit("Mul", position, site.constant(0.0))
    distance = site.emit("Abs", site.emit("Sub", position, site.constant(low)))
    periods = site.emit("Floor", site.emit("Div", distance, site.constant(2 * span)))
    rest = site.emit("Sub", distance, site.emit("Mul", periods, site.constant(2 * span)))
    from_end = site.emit("Abs", site.emit("Sub", rest, site.constant(span)))
    back = site.emit("Sub", site.constant(low + span), from_end)
    return site.emit("Clip", back, site.constant(0.0), site.constant(size - 1))
