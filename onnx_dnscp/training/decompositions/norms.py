"""Normalisations, spelled in means and variances; scales and biases may learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.decompositions.registry import Site, decomposition

_MEAN_VARIANCE_EPSILON = 1e-9  # of MeanVarianceNormalization, added to the deviation
_SKIP_EPSILON = 1e-12  # default of SkipLayerNormalization


@decomposition("InstanceNormalization")
def instance_normalization(site: Site) -> str:
    """Each channel of each sample by its own mean and variance; Ulyanov et al. 2016, equation 3."""
    rank = len(site.shape())
    normal = _normal(site, site.operand(0), range(2, rank), site.attribute("epsilon", 1e-5))[0]
    return _affine(site, normal, (-1,) + (1,) * (rank - 2))


@decomposition("GroupNormalization")
def group_normalization(site: Site) -> str:
    """Groups of channels by their common mean and variance; Wu and He 2018, equations 1 to 6.

    Scale and bias have a value per group up to opset 20, and one per channel from opset 21.
    """
    shape, groups = site.shape(), site.attribute("num_groups")
    per_channel = site.shape(1) == (shape[1],)
    grouped = site.reshape(site.operand(0), (shape[0], groups, -1))
    normal = _normal(site, grouped, (2,), site.attribute("epsilon", 1e-5))[0]
    if per_channel:
        return _affine(site, site.reshape(normal, shape), (-1,) + (1,) * (len(shape) - 2))
    return site.reshape(_affine(site, normal, (-1, 1)), shape)


@decomposition("LayerNormalization")
def layer_normalization(site: Site) -> str | tuple[str, ...]:
    """LayerNormalization with a bias and three outputs, which the runtime's gradient builder wants.

    Its gradient leaves out the mean and the deviation, so the operator is spelled out where they are outputs.
    """
    first = site.attribute("axis", -1) % len(site.shape())
    normalized, epsilon = site.shape()[first:], site.attribute("epsilon", 1e-5)
    if any(site.node.output[1:]):
        normal, mean, inverse = _normal(site, site.operand(0), range(first, len(site.shape())), epsilon)
        return _affine(site, normal, normalized), mean, inverse
    scale = site.operand(1)
    bias = site.operand(2) or site.constant(np.zeros(site.shape(1)))
    return site.emit("LayerNormalization", site.operand(0), scale, bias, outputs=3, axis=first, epsilon=epsilon)


@decomposition("SimplifiedLayerNormalization")
def root_mean_square_normalization(site: Site) -> str | None:
    """`x / sqrt(mean(x^2) + epsilon) * scale`; Zhang and Sennrich 2019, equation 4."""
    if any(site.node.output[1:]):
        return None
    first = site.attribute("axis", -1) % len(site.shape())
    return _root_mean_square(site, site.operand(0), range(first, len(site.shape())), site.attribute("epsilon", 1e-5))


@decomposition("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_normalization(site: Site) -> tuple[str, ...] | None:
    """Layer normalisation of a sum, which is the fourth output; None where its statistics are asked for.

    The simplified operator with a bias stays, too: the runtime leaves the bias out.
    """
    simplified = site.node.op_type == "SkipSimplifiedLayerNormalization"
    if any(site.node.output[1:3]) or (simplified and site.operand(3)):
        return None
    total = site.emit("Add", site.operand(0), site.operand(1))
    if site.operand(4):
        total = site.emit("Add", total, site.operand(4))
    axes, epsilon = [len(site.shape()) - 1], site.attribute("epsilon", _SKIP_EPSILON)
    if simplified:
        return _root_mean_square(site, total, axes, epsilon, scale=2), "", "", total
    return _affine(site, _normal(site, total, axes, epsilon)[0], (-1,), scale=2), "", "", total


@decomposition("MeanVarianceNormalization")
def mean_variance_normalization(site: Site) -> str:
    """(x - mean) / (deviation + 1e-9); under the root the constant does the same, and a slope of 1 / 0 is avoided."""
    axes = site.attribute("axes", [0, 2, 3])
    return _normal(site, site.operand(0), axes, _MEAN_VARIANCE_EPSILON**2)[0]


@decomposition("LpNormalization")
def lp_normalization(site: Site) -> str:
    """`x / norm` along one axis, and 0 where the norm is 0."""
    x, axis = site.operand(0), site.attribute("axis", -1) % len(site.shape())
    norm = (
        site.reduce("ReduceL2", x, [axis])
        if site.attribute("p", 2) == 2
        else site.reduce("ReduceSum", site.emit("Abs", x), [axis])
    )
    missing = site.emit("Equal", norm, site.constant(0.0))
    ones = site.constant(np.ones([1 if k == axis else size for k, size in enumerate(site.shape())]))
    return site.emit("Div", x, site.emit("Where", missing, ones, norm))


@decomposition("LRN")
def local_response_normalization(site: Site) -> str:
    """`x * (bias + alpha / size * (sum of x^2 over near channels))^-beta`; Krizhevsky et al. 2012, section 3.3.

    The sum is a 1x1 convolution with a band of ones.
    """
    x, size, channels = site.operand(0), site.attribute("size"), site.shape()[1]
    before, after = (size - 1) // 2, size // 2  # near channels are c - before .. c + after
    offset = np.arange(channels) - np.arange(channels)[:, None]
    band = ((offset >= -before) & (offset <= after)) * (site.attribute("alpha", 1e-4) / size)
    weight = site.constant(band.reshape(channels, channels, *[1] * (len(site.shape()) - 2)))
    energy = site.emit("Conv", site.emit("Mul", x, x), weight)
    biased = site.emit("Add", energy, site.constant(site.attribute("bias", 1.0)))
    return site.emit("Mul", x, site.emit("Pow", biased, site.constant(-site.attribute("beta", 0.75))))


def _normal(site: Site, x: str, axes: Sequence[int], epsilon: float) -> tuple[str, str, str]:
    """Write (x - mean) / sqrt(variance + epsilon); also the mean and the inverse deviation."""
    mean = site.reduce("ReduceMean", x, list(axes))
    centred = site.emit("Sub", x, mean)
    inverse = _inverse_root_mean_square(site, centred, axes, epsilon)
    return site.emit("Mul", centred, inverse), mean, inverse


def _inverse_root_mean_square(site: Site, x: str, axes: Sequence[int], epsilon: float) -> str:
    square = site.reduce("ReduceMean", site.emit("Mul", x, x), list(axes))
    deviation = site.emit("Sqrt", site.emit("Add", square, site.constant(epsilon)))
    return site.emit("Div", site.constant(1.0), deviation)


def _root_mean_square(site: Site, x: str, axes: Sequence[int], epsilon: float, *, scale: int = 1) -> str:
    normal = site.emit("Mul", x, _inverse_root_mean_square(site, x, axes, epsilon))
    return site.emit("Mul", normal, site.operand(scale))


def _affine(site: Site, x: str, shape: Sequence[int], *, scale: int = 1) -> str:
    """Write x * scale + bias, both operands brought to `shape`; the bias follows the scale and may be omitted."""
    result = site.emit("Mul", x, site.reshape(site.operand(scale), shape))
    bias = site.operand(scale + 1)
    return site.emit("Add", result, site.reshape(bias, shape)) if bias else result
