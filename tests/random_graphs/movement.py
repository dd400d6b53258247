"""Blocks that move channels about: concatenation, splits, slices, shuffles, layouts, padding, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from random_graphs.builder import Builder, Size, Tensor
from random_graphs.convolutions import MAX_CHANNELS, convolve_by
from random_graphs.registry import Made, Picks, Site, block

BATCH, HEIGHT, WIDTH = Size((0,)), Size((2,)), Size((3,))


def concatenate(b: Builder, parts: list[Tensor], axis: int = 1) -> Tensor:
    positive = axis % parts[0].rank

    def shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
        total = sum(s[positive] for s in shapes)
        return (*shapes[0][:positive], total, *shapes[0][positive + 1 :])

    return b.op("Concat", parts, shape, axis=axis)


@block
def concat(s: Site) -> Made:
    """With another map of the same size, or with itself; along channels."""
    other = s.partner(lambda m: [n[2:] for n in m.shapes] == [n[2:] for n in s.x.shapes]) or s.x
    parts = s.pick([s.x, other], [s.x, s.x], [other, s.x, other])
    if sum(part.channels for part in parts) > MAX_CHANNELS:
        return None
    return concatenate(s.b, parts, s.pick(1, -3))


@block
def concat_in_space(s: Site) -> Made:
    if s.x.smallest() > 16:
        return None
    other = s.partner(lambda m: m.shapes == s.x.shapes) or s.b.op("Tanh", [s.x])
    return concatenate(s.b, [s.x, other], s.pick(2, 3, -1))


def split_channels(b: Builder, x: Tensor, sizes: list[int], spell: int) -> list[Tensor]:
    """`spell` 0 writes the sizes; 1 and 2 leave equal pieces to the operator, 3 and 4 compute them from `Shape`."""
    if spell == 3 and b.opset >= 10 and sizes == [x.channels // 2] * 2:
        return halves(b, x)
    if spell == 4 and b.opset >= 13 and len(set(sizes)) == 1:
        pieces = b.sizes(x, [Size((1,), divisor=len(sizes))] * len(sizes))
        names = b.node("Split", [x.name, pieces], len(sizes), axis=1)
        return [Tensor(name, tuple((n[0], sizes[0], *n[2:]) for n in x.shapes)) for name in names]
    axis = -3 if spell == 2 and b.opset >= 11 else 1
    if spell and len(set(sizes)) == 1:
        number = {"num_outputs": len(sizes)} if b.opset >= 18 else {}
        names = b.node("Split", [x.name], len(sizes), axis=axis, **number)
    elif b.opset < 13:
        names = b.node("Split", [x.name], len(sizes), axis=axis, split=sizes)
    else:
        names = b.node("Split", [x.name, b.integers(sizes)], len(sizes), axis=axis)
    return [
        Tensor(name, tuple((n[0], size, *n[2:]) for n in x.shapes)) for name, size in zip(names, sizes, strict=True)
    ]


def halves(b: Builder, x: Tensor) -> list[Tensor]:
    """`torch.chunk`: two slices up to and from half of the size that `Shape` tells."""
    shapes = tuple((n[0], n[1] // 2, *n[2:]) for n in x.shapes)
    zero, axis, half = b.integers([0]), b.integers([1]), b.sizes(x, [Size((1,), divisor=2)])
    whole = b.node("Mul", [half, b.integers([2])])[0]
    ends = ((zero, half), (half, whole))
    return [Tensor(b.node("Slice", [x.name, start, end, axis])[0], shapes) for start, end in ends]


def cut_sizes(channels: int, pieces: int, uneven: bool) -> list[int]:
    even = channels // pieces
    first = channels - even * (pieces - 1)
    if uneven and even > 1:
        first, even = first + pieces - 1, even - 1
    return [first, *[even] * (pieces - 1)]


@block
def split(s: Site) -> Made:
    """Pieces go their own ways, or one is convolved and all are joined again (C2f)."""
    b, pieces = s.b, s.pick(2, 3)
    if s.x.channels < pieces:
        return None
    parts = split_channels(b, s.x, cut_sizes(s.x.channels, pieces, s.pick.flag()), s.pick(0, 1, 2, 3, 4))
    kind = s.pick("apart", "C2f", "swap", "gate")
    if kind == "C2f":
        c = parts[-1].channels
        made = convolve_by(b, parts[-1], b.weight(c, c, 3, 3), c, 3, Picks([]), plain=True)
        return concatenate(b, [*parts, b.op("Add", [parts[-1], made])])
    if kind == "swap":
        return concatenate(b, parts[::-1])
    if kind == "gate" and parts[0].channels == parts[-1].channels:
        return b.op("Mul", [parts[0], b.op("Sigmoid", [parts[-1]])])
    return parts


def sliced(b: Builder, x: Tensor, axes: list[int], starts: list[int], ends: list[int], steps: list[int]) -> Tensor:
    def shape(n: tuple[int, ...]) -> tuple[int, ...]:
        sizes = list(n)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            sizes[axis] = len(range(n[axis])[slice(start, None if step < 0 and end < -n[axis] else end, step)])
        return tuple(sizes)

    if b.opset < 10:
        return b.op("Slice", [x], shape, axes=axes, starts=starts, ends=ends)
    operands = [b.integers(v) for v in (starts, ends, axes)]
    if any(step != 1 for step in steps):
        operands.append(b.integers(steps))
    return b.op("Slice", [x, *operands], shape)


@block
def slice_channels(s: Site) -> Made:
    """A run of channels, counted from the front or the back, perhaps with a stride, perhaps cropped too."""
    b, c = s.b, s.x.channels
    if c < 2:
        return None
    end: int = s.pick(c, -1, 2**31 - 1, 1 + c // 2)
    start: int = s.pick(1, 0, -c + 1, c // 2)
    step = s.pick(1, 1, 2, -1) if b.opset >= 10 else 1
    if step < 0:
        start, end = s.pick((c - 1, -c - 1), (-1, -(2**31)))
    if not range(c)[slice(start, None if step < 0 and end < -c else end, step)]:
        start = 0
    crop = s.pick.flag() and s.x.smallest() > 4
    if crop:
        return sliced(b, s.x, [1, 2, 3], [start, 1, -3], [end, 2**31 - 1, -1], [step, 1, 1])
    rest = s.pick.flag()
    made = sliced(b, s.x, [1], [start], [end], [step])
    return [s.x, made] if rest else made


@block
def focus(s: Site) -> Made:
    """Every second pixel, four times, as channels (YOLOv5)."""
    b = s.b
    if b.opset < 10 or s.x.channels * 4 > MAX_CHANNELS or any(n[2] % 2 or n[3] % 2 for n in s.x.shapes):
        return None
    big = 2**31 - 1
    parts = [sliced(b, s.x, [2, 3], [i, j], [big, big], [2, 2]) for j in (0, 1) for i in (0, 1)]
    return concatenate(b, parts)


@block
def shuffle(s: Site) -> Made:
    b, c = s.b, s.x.channels
    groups = [g for g in (2, 3, 4) if c % g == 0]
    if not groups:
        return None
    g, computed = s.pick(*groups), s.pick(0, 1, 2)
    first = Size((1,), divisor=g) if computed == 2 else c // g
    apart = b.reshape(s.x, [BATCH, g, first, HEIGHT, WIDTH], computed > 0)
    swapped = transpose(b, apart, [0, 2, 1, 3, 4])
    return b.reshape(swapped, [BATCH, c, Size((3,)), Size((4,))], computed > 0)


def transpose(b: Builder, x: Tensor, perm: list[int]) -> Tensor:
    return b.op("Transpose", [x], lambda n: tuple(n[p] for p in perm), perm=perm)


@block
def swap_space(s: Site) -> Made:
    return transpose(s.b, s.x, [0, 1, 3, 2])


@block
def zeros_beside(s: Site) -> Made:
    """More channels by a Concat with computed zeros, added to a convolution of as many (old CIFAR ResNets)."""
    b, c, more = s.b, s.x.channels, s.pick(2, 3)
    if b.opset < 9:
        return None
    sizes = b.sizes(s.x, [BATCH, more, HEIGHT, WIDTH])
    zeros = b.node("ConstantOfShape", [sizes])[0]
    beside = Tensor(zeros, tuple((n[0], more, *n[2:]) for n in s.x.shapes))
    wide = concatenate(b, s.pick([s.x, beside], [beside, s.x]))
    made = convolve_by(b, s.x, b.weight(c + more, c, 1, 1), c + more, 1, Picks([]), plain=True)
    return b.op("Add", [made, wide])


@block
def channels_last(s: Site) -> Made:
    """To NHWC, something there, and back."""
    b, c = s.b, s.x.channels
    last = transpose(b, s.x, [0, 2, 3, 1])
    kind = s.pick("Relu", "Add", "MatMul", "Pad", "Concat", "mlp")
    if kind == "Relu":
        last = b.op("Relu", [last])
    elif kind == "Add":
        last = b.op("Mul", [b.op("Add", [last, b.weight(c)]), b.weight(c)])
    elif kind == "Pad":
        last = padded(b, last, [0, 0, 0, 0, 0, 0, 0, 2], s.pick("constant", "reflect"))
    elif kind == "Concat" and c * 2 <= MAX_CHANNELS:
        last = concatenate(b, [last, last], s.pick(3, -1))
    else:
        for out in (s.pick(4, c, 1), *([c] if kind == "mlp" else [])):
            last = b.op("MatMul", [last, b.weight(last.shapes[0][3], out)], lambda n, o=out: (*n[:3], o))
            if s.pick.flag():
                last = b.op("Add", [last, b.weight(out)])
    return transpose(b, last, [0, 3, 1, 2])


def padded(b: Builder, x: Tensor, pads: list[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    rank = x.rank
    if mode == "reflect" and any(n[a] <= max(pads[a], pads[a + rank]) for n in x.shapes for a in range(rank)):
        mode = "edge"

    def shape(n: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(n[a] + pads[a] + pads[a + rank] for a in range(rank))

    if b.opset < 11:
        return b.op("Pad", [x], shape, pads=pads, mode=mode, value=value)
    axes = [a for a in range(rank) if pads[a] or pads[a + rank]]
    if b.opset >= 18 and len(axes) < rank:
        short = b.integers([*(pads[a] for a in axes), *(pads[a + rank] for a in axes)])
        return b.op("Pad", [x, short, b.constant(value), b.integers(axes)], shape, mode=mode)
    operands = [b.integers(pads), *([b.constant(value)] if value else [])]
    return b.op("Pad", [x, *operands], shape, mode=mode)


@block
def pad(s: Site) -> Made:
    """Around the image, or more channels."""
    kind = s.pick("space", "channels", "both")
    mode = s.pick("constant", "reflect", "edge")
    value = s.pick(0.0, 0.5)
    front, back = s.pick((0, 2), (1, 1), (1, 0))
    pads = {
        "space": [0, 0, 1, 0, 0, 0, 1, 2],
        "channels": [0, front, 0, 0, 0, back, 0, 0],
        "both": [0, front, 1, 1, 0, back, 1, 1],
    }[kind]
    return padded(s.b, s.x, pads, mode, value if mode == "constant" else 0.0)


@block
def padded_shortcut(s: Site) -> Made:
    """CIFAR ResNets: every second pixel and zeros for the new channels, added to a strided convolution."""
    b, c, more = s.b, s.x.channels, s.pick(2, 3)
    halve = b.opset >= 10 and s.x.smallest() >= 6 and s.pick.flag()
    big = 2**31 - 1
    small = sliced(b, s.x, [2, 3], [0, 0], [big, big], [2, 2]) if halve else s.x
    ends = s.pick((more, 0), (1, more - 1))
    shortcut = padded(b, small, [0, ends[0], 0, 0, 0, ends[1], 0, 0])
    stride = 2 if halve else 1
    made = b.op(
        "Conv",
        [s.x, b.weight(c + more, c, 3, 3)],
        lambda n: (n[0], c + more, (n[2] - 1) // stride + 1, (n[3] - 1) // stride + 1),
        strides=[stride, stride],
        pads=[1, 1, 1, 1],
    )
    return b.op("Add", [made, shortcut])


@block
def squeeze_and_back(s: Site) -> Made:
    b, axis = s.b, s.pick(1, 2, 4, -1)
    name = b.with_axes("Unsqueeze", s.x.name, [axis if axis >= 0 or b.opset >= 11 else 4])
    name = b.node("Relu", [name])[0]
    name = b.with_axes("Squeeze", name, [axis if axis >= 0 or b.opset >= 11 else 4])
    return Tensor(name, s.x.shapes)


@block
def flat_and_back(s: Site) -> Made:
    """(batch, channels, pixels), or channels and pixels as one axis, and back."""
    b, c, computed = s.b, s.x.channels, s.pick.flag()
    target = s.pick([BATCH, c, Size((2, 3))], [BATCH, Size((1, 2, 3))], [BATCH, Size((1,)), Size((2, 3))])
    flat = b.op("Tanh", [b.reshape(s.x, target, computed)])
    channels: int | Size = Size((1,)) if s.pick.flag() else c
    return b.reshape(flat, [BATCH, channels, HEIGHT, WIDTH], computed, like=s.x)


@block
def depth_to_space(s: Site) -> Made:
    b, c = s.b, s.x.channels
    if c % 4 or s.x.smallest() > 16:
        return None
    mode = s.pick("DCR", "CRD")
    if s.pick.flag():  # decomposed, as PixelShuffle was exported
        apart = b.reshape(s.x, [BATCH, c // 4, 2, 2, HEIGHT, WIDTH], s.pick.flag())
        moved = transpose(b, apart, [0, 1, 4, 2, 5, 3])
        return b.reshape(moved, [BATCH, c // 4, Size((2, 3)), Size((4, 5))], s.pick.flag())
    attributes: dict[str, Any] = {"mode": mode} if b.opset >= 11 else {}
    return b.op("DepthToSpace", [s.x], lambda n: (n[0], c // 4, n[2] * 2, n[3] * 2), blocksize=2, **attributes)


@block
def space_to_depth(s: Site) -> Made:
    if s.x.channels * 4 > MAX_CHANNELS or any(n[2] % 2 or n[3] % 2 for n in s.x.shapes):
        return None
    return s.b.op("SpaceToDepth", [s.x], lambda n: (n[0], n[1] * 4, n[2] // 2, n[3] // 2), blocksize=2)


@block
def gather(s: Site) -> Made:
    """A permutation of the channels, a few of them, some twice, or one."""
    b, c = s.b, s.x.channels
    order = b.values.permutation(c)
    kind = s.pick("permutation", "some", "twice", "one", "slice")
    if kind == "one":
        one = b.op("Gather", [s.x, b.constant(np.array(c - 1, dtype=np.int64))], lambda n: (n[0], *n[2:]), axis=1)
        return Tensor(b.with_axes("Unsqueeze", one.name, [1]), tuple((n[0], 1, *n[1:]) for n in one.shapes))
    indices = {
        "permutation": order,
        "some": order[: 1 + c // 2],
        "twice": [*order[:2], *order[:2]],
        "slice": np.arange(1 + c // 2) - c,
    }[kind]
    return b.op("Gather", [s.x, b.integers([int(i) for i in indices])], lambda n: (n[0], len(indices), *n[2:]), axis=1)


@block
def tile(s: Site) -> Made:
    repeats = s.pick([1, 2, 1, 1], [1, 1, 1, 2])
    if s.x.channels * repeats[1] > MAX_CHANNELS or s.x.smallest() > 24:
        return None
    return s.b.op("Tile", [s.x, s.b.integers(repeats)], lambda n: tuple(a * r for a, r in zip(n, repeats, strict=True)))


@block
def resize(s: Site) -> Made:
    """Twice the size by whatever the opset calls it."""
    b, mode = s.b, s.pick("nearest", "linear")
    if s.x.smallest() > 16:
        return None
    scales = b.constant([1.0, 1.0, 2.0, 2.0])
    sizes = s.pick.flag()

    def shape(n: tuple[int, ...]) -> tuple[int, ...]:
        return (n[0], n[1], n[2] * 2, n[3] * 2)

    if b.opset < 9:
        return b.op("Upsample", [s.x], shape, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")
    if b.opset == 9:
        return b.op("Upsample", [s.x, scales], shape, mode=mode)
    if b.opset == 10:
        return b.op("Resize", [s.x, scales], shape, mode=mode)
    roi = "" if b.opset >= 13 else b.constant(np.zeros(0, dtype=np.float32))
    where = s.pick("asymmetric", "half_pixel")
    if sizes:
        wanted = b.sizes(s.x, [BATCH, s.pick(Size((1,)), s.x.channels), Size((2,), factor=2), Size((3,), factor=2)])
        none = "" if b.opset >= 13 else b.constant(np.zeros(0, dtype=np.float32))
        return b.op("Resize", [s.x, roi, none, wanted], shape, mode=mode, coordinate_transformation_mode=where)
    return b.op("Resize", [s.x, roi, scales], shape, mode=mode, coordinate_transformation_mode=where)
