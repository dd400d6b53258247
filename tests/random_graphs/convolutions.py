"""Blocks around convolutions and pooling."""

from __future__ import annotations

from typing import Any

from random_graphs.builder import Builder, Shape, Size, Tensor
from random_graphs.registry import Made, Picks, Site, block

MAX_CHANNELS = 24


def convolve(b: Builder, x: Tensor, out: int, pick: Picks, *, group: int = 1, kernel: int = 0) -> Tensor:
    """A convolution with drawn kernel, padding, strides, dilations and bias."""
    k = kernel or pick(1, 3)
    weight = b.weight(out, x.channels // group, k, k)
    return convolve_by(b, x, weight, out, k, pick, group=group)


def convolve_by(
    b: Builder, x: Tensor, weight: str, out: int, k: int, pick: Picks, *, group: int = 1, plain: bool = False
) -> Tensor:
    """The same by a weight that is there already; `plain` keeps the image size."""
    attributes: dict[str, Any] = {} if group == 1 else {"group": group}
    stride = 1 if plain or x.smallest() < 6 else pick(1, 1, 2)
    padding = "pads" if plain else pick("pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "uneven")
    dilation = pick(1, 1, 2) if k == 3 and padding == "pads" and x.smallest() >= 6 else 1
    if padding in ("VALID", "uneven") and x.smallest() < k + 2:
        padding = "pads"
    reach = dilation * (k - 1)
    if padding == "pads":
        low = high = reach // 2
    elif padding == "uneven":
        low, high = 0, reach // 2 + 1
    else:
        low = high = 0
    if padding in ("pads", "uneven"):
        if low or high:
            attributes["pads"] = [low, low, high, high]
    else:
        attributes["auto_pad"] = padding
    if stride > 1:
        attributes["strides"] = [stride, stride]
    if dilation > 1:
        attributes["dilations"] = [dilation, dilation]
    if pick.flag():
        attributes["kernel_shape"] = [k, k]
    operands = [x, weight, *([b.weight(out, scale=0.5)] if pick.flag() else [])]

    def shape(s: Shape) -> Shape:
        if padding.startswith("SAME"):
            return (s[0], out, -(-s[2] // stride), -(-s[3] // stride))
        return (s[0], out, *((n + low + high - reach - 1) // stride + 1 for n in s[2:]))

    return b.op("Conv", operands, shape, **attributes)


@block
def conv(s: Site) -> Made:
    return convolve(s.b, s.x, s.pick(4, 3, 5, 6, 8, 2, 1, 12), s.pick)


@block
def depthwise(s: Site) -> Made:
    multiplier = s.pick(1, 1, 2, 3)
    if s.x.channels * multiplier > MAX_CHANNELS:
        multiplier = 1
    return convolve(s.b, s.x, s.x.channels * multiplier, s.pick, group=s.x.channels)


@block
def grouped(s: Site) -> Made:
    """Few wide groups lose equal positions, many narrow ones go whole."""
    groups = [g for g in (2, 3, 4, 6) if s.x.channels % g == 0 and g < s.x.channels]
    if not groups:
        return None
    group = s.pick(*groups)
    return convolve(s.b, s.x, group * s.pick(1, 2, 3), s.pick, group=group)


@block
def shared_conv(s: Site) -> Made:
    """One weight, two convolutions: in a chain, or on two branches."""
    b, c = s.b, s.x.channels
    bias = s.pick.flag()
    if s.pick.flag():
        other = s.partner(lambda m: m.channels == c)
        weight = b.weight(5, c, 1, 1)
        if other is not None:
            return [convolve_by(b, m, weight, 5, 1, Picks([0, int(bias)]), plain=True) for m in (s.x, other)]
    weight = b.weight(c, c, 1, 1)
    first = convolve_by(b, s.x, weight, c, 1, Picks([]), plain=True)
    return convolve_by(b, b.op("Tanh", [first]), weight, c, 1, Picks([0, int(bias)]), plain=True)


@block
def conv_transpose(s: Site) -> Made:
    b, c = s.b, s.x.channels
    groups = [1, 1, *(g for g in (2, c) if c % g == 0)]
    group = s.pick(*groups)
    per_group = s.pick(4, 2, 1) if group < 4 else 1
    k, stride = s.pick((1, 1), (3, 1), (2, 2), (4, 2))
    if stride == 2 and s.x.smallest() > 12:
        k, stride = 3, 1
    pad = (k - stride) // 2
    out = per_group * group
    attributes: dict[str, Any] = {"pads": [pad] * 4, "strides": [stride] * 2}
    if group > 1:
        attributes["group"] = group
    operands = [s.x, b.weight(c, per_group, k, k, scale=0.5), *([b.weight(out)] if s.pick.flag() else [])]
    return b.op("ConvTranspose", operands, lambda n: (n[0], out, n[2] * stride, n[3] * stride), **attributes)


@block
def pool(s: Site) -> Made:
    b, kind = s.b, s.pick("MaxPool", "AveragePool", "LpPool")
    k, stride, pad = s.pick((2, 2, 0), (3, 1, 1), (3, 2, 1))
    if s.x.smallest() < 6:
        k, stride, pad = 3, 1, 1
    attributes: dict[str, Any] = {"kernel_shape": [k, k], "strides": [stride, stride], "pads": [pad] * 4}
    if kind == "AveragePool" and s.pick.flag():
        attributes["count_include_pad"] = 1
    ceil = kind != "LpPool" and b.opset >= 10 and s.pick.flag() and k == 2
    if ceil:
        attributes["ceil_mode"] = 1

    def size(n: int) -> int:
        free = n + 2 * pad - k
        return (-(-free // stride) if ceil else free // stride) + 1

    return b.op(kind, [s.x], lambda n: (*n[:2], size(n[2]), size(n[3])), **attributes)


@block
def conv_1d(s: Site) -> Made:
    """Space as one axis, a 1-D convolution, and back."""
    b, c = s.b, s.x.channels
    flat = b.reshape(s.x, [Size((0,)), c, Size((2, 3))], s.pick.flag())
    out = s.pick(4, c)
    weight = b.weight(out, c, 3)
    made = b.op("Conv", [flat, weight], lambda n: (n[0], out, n[2]), pads=[1, 1])
    return b.reshape(made, [Size((0,)), out, Size((2,)), Size((3,))], like=s.x)
