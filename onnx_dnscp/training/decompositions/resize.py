"""Resize: on every axis apart, a product with the matrix that the runtime's own Resize has there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.training.decompositions.axis_maps import apply_matrix, run_alone
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_ROI, _SCALES, _SIZES = 1, 2, 3
_PLACED = (2, 3)  # axes of the lone Resize: the one that is looked at, and its companion


@decomposition("Resize")
def resize(site: Site) -> str | None:
    """One product per resized axis; None if sizes are computed from data, or points outside take a value of their own.

    Interpolation, antialiasing and the choice of the nearest pixel treat every axis apart, in every mode.
    """
    shape = list(site.shape())
    axes = [axis % len(shape) for axis in site.attribute("axes", range(len(shape)))]
    scales, sizes = _scales_or_sizes(site)
    if scales is None and sizes is None:
        return None
    crops = site.attribute("coordinate_transformation_mode") == "tf_crop_and_resize"
    if crops and (site.value(_ROI) is None or site.attribute("extrapolation_value", 0.0)):
        return None
    companion = _companion(site, [shape[axis] for axis in axes], sizes)
    y = site.operand(0)
    for place, axis in enumerate(axes):
        if crops or companion != (1, 1) or not _stays(place, shape[axis], scales, sizes):
            matrix = _matrix(site, place, shape[axis], scales, sizes, companion)
            y = apply_matrix(site, y, shape, axis, matrix)
            shape[axis] = len(matrix)
    return y


def _scales_or_sizes(site: Site) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """The operand that says how large the result is; None for the other, and for both if it is computed from data."""
    scales = site.value(_SCALES)
    return (scales, None) if scales is not None and scales.size else (None, site.value(_SIZES))


def _stays(place: int, size: int, scales: NDArray[Any] | None, sizes: NDArray[Any] | None) -> bool:
    """Whether one of the resized axes keeps its size."""
    if scales is not None:
        return bool(scales[place] == 1)
    return sizes is not None and bool(sizes[place] == size)


def _companion(site: Site, inputs: list[int], sizes: NDArray[Any] | None) -> tuple[int, int]:
    """Input and output size of a second axis that gives the lone Resize the scale that all axes have in common.

    Where the aspect ratio is kept, the axis that is scaled least (or most) decides for all of them.
    """
    policy = site.attribute("keep_aspect_ratio_policy", "stretch")
    if sizes is None or policy == "stretch":
        return 1, 1
    choose = min if policy == "not_larger" else max
    _, output, size = choose((int(o) / i, int(o), i) for o, i in zip(sizes, inputs, strict=True))
    common = math.gcd(output, size)
    return size // common, output // common


def _matrix(
    site: Site,
    place: int,
    size: int,
    scales: NDArray[Any] | None,
    sizes: NDArray[Any] | None,
    companion: tuple[int, int],
) -> NDArray[Any]:
    """(outputs, inputs) of one axis: the operator's answer to the identity, whose rows lie along the batch axis."""
    x = np.zeros((size, 1, size, companion[0]), dtype=np.float32)
    x += np.eye(size, dtype=np.float32)[:, None, :, None]
    attributes = {name: value for name, value in site.attributes.items() if name != "axes"}
    roi = site.value(_ROI)
    if roi is not None and roi.size:
        num_axes = roi.size // 2
        whole = np.zeros(4, dtype=roi.dtype), np.ones(4, dtype=roi.dtype)
        for edges, values in zip(whole, (roi[:num_axes], roi[num_axes:]), strict=True):
            edges[_PLACED[0]] = values[place]
        roi = np.concatenate(whole)
    if scales is not None:
        inputs = [x, roi, np.array([1, 1, scales[place], 1], dtype=np.float32)]
    else:
        assert sizes is not None
        wanted = np.array([size, 1, sizes[place], companion[1]], dtype=np.int64)
        if companion != (1, 1):
            wanted = wanted[2:]  # the policy must not see the axes that stay
            attributes["axes"] = _PLACED
        inputs = [x, roi, None, wanted]
    return run_alone(site, inputs, attributes)[:, 0, :, 0].T
