"""Pooling whose gradient the runtime lacks, or has wrong: average pooling over three axes or with dilations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.training.decompositions.axis_maps import apply_matrix, axis_attributes, run_alone
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_SMALLEST = 1e-30  # of a sum of powers under a root, which has no slope at 0


@decomposition("AveragePool")
def average_pool(site: Site) -> str | None:
    """Sums over a box, and the numbers they are divided by, are products of one factor per axis.

    Over one or two axes without dilations the runtime's gradient is right.
    """
    if len(site.shape()) < 5 and max(site.attribute("dilations", [1])) == 1:
        return None
    return _pool_each_axis(site, site.operand(0))


@decomposition("GlobalMaxPool")
def global_max_pool(site: Site) -> str:
    """The maximum over all pixels, laid out along one axis."""
    batch, channels, *space = site.shape()
    size = int(np.prod(space))
    flat = site.reshape(site.operand(0), (batch, channels, size))
    return site.reshape(site.emit("MaxPool", flat, kernel_shape=[size]), (batch, channels, *[1] * len(space)))


@decomposition("LpPool")
def lp_pool(site: Site) -> str:
    """Root of the sums of powers in a window."""
    power = site.attribute("p", 2)
    return _root(site, _pool_each_axis(site, _powers(site, power)), power)


@decomposition("GlobalLpPool")
def global_lp_pool(site: Site) -> str:
    """Root of the sum of powers over all pixels."""
    power = site.attribute("p", 2)
    return _root(site, site.reduce("ReduceSum", _powers(site, power), range(2, len(site.shape()))), power)


@decomposition("MaxPool")
def max_pool(site: Site) -> Sequence[str] | None:
    """Values apart from column-major indices, by which the runtime would distribute gradients row-major."""
    if site.attribute("storage_order", 0) == 0:
        return None
    values = site.emit("MaxPool", site.operand(0), **{**site.attributes, "storage_order": 0})
    site.emit("MaxPool", site.operand(0), outputs=2, **site.attributes)
    return values, site.outputs_of_last()[1]


@decomposition("MaxUnpool")
def max_unpool(site: Site) -> str | None:
    """Zeros with the values scattered into them; None where windows overlap and two values may share a place."""
    kernel = site.attribute("kernel_shape")
    if any(size > step for size, step in zip(kernel, site.attribute("strides", [1] * len(kernel)), strict=True)):
        return None
    outputs = site.shapes[site.node.output[0]]
    empty = site.constant(np.zeros(int(np.prod(outputs))))
    values, places = (site.reshape(site.operand(position), (-1,)) for position in (0, 1))
    return site.reshape(site.emit("ScatterElements", empty, places, values), outputs)


def _powers(site: Site, power: int) -> str:
    if power == 2:
        return site.emit("Mul", site.operand(0), site.operand(0))
    size = site.emit("Abs", site.operand(0))
    return size if power == 1 else site.emit("Pow", size, site.constant(power))


def _root(site: Site, sums: str, power: int) -> str:
    if power == 1:
        return sums
    return site.emit("Pow", site.emit("Clip", sums, site.constant(_SMALLEST)), site.constant(1 / power))


def _pool_each_axis(site: Site, x: str) -> str:
    """Write the linear pooling of x along one axis after the other."""
    shape = list(site.shape())
    for axis in range(2, len(shape)):
        matrix = _axis_matrix(site, axis - 2, shape[axis])
        x = apply_matrix(site, x, shape, axis, matrix)
        shape[axis] = len(matrix)
    return x


def _axis_matrix(site: Site, number: int, size: int) -> NDArray[np.float32]:
    """(outputs, inputs) of one spatial axis: the operator's answer to the identity.

    For LpPool, too: whatever its power, the root of a single 1 is 1.
    """
    pixels = np.eye(size, dtype=np.float32)[:, None]
    answer: NDArray[np.float32] = run_alone(site, [pixels], axis_attributes(site, number))
    return answer[:, 0].T
