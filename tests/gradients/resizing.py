"""Resizing, transposed convolution and sampling."""

from __future__ import annotations

from itertools import product

import numpy as np
from gradient_check import gradient_case, normal

SCALES = np.array([1, 1, 2, 1.5], dtype=np.float32)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _resize(name: str, attributes: str, *, opsets=(14, 21), by="scales", shape=(2, 2, 3, 4), **stored):  # type: ignore[no-untyped-def]
    operands = {"scales": "x, , s", "sizes": "x, , , s", "crop": "x, r, s"}[by]
    fixed = {"scales": "s", "sizes": "", "crop": "r s"}[by]
    return gradient_case(
        f"Resize-{name}", "Resize", f"y = Resize<{attributes}>({operands})", opsets=opsets, fixed=fixed,
        x=normal(*shape), **{"s": SCALES, **stored},
    )  # fmt: skip


RESIZING = [
    *(
        _resize(f"nearest-{where}-{how}", f'coordinate_transformation_mode = "{where}", nearest_mode = "{how}"')
        for where, how in product(COORDINATES, ROUNDINGS)
    ),
    *(
        _resize(f"{mode}-{where}", f'mode = "{mode}", coordinate_transformation_mode = "{where}"')
        for mode, where in product(("linear", "cubic"), COORDINATES)
    ),
    _resize("symmetric", 'mode = "linear", coordinate_transformation_mode = "half_pixel_symmetric"', opsets=(19, 21)),
    _resize("cubic-coefficient", 'mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1'),
    *(_resize(f"{mode}-smaller", f'mode = "{mode}"', s=[1, 1, 0.6, 0.5]) for mode in ("nearest", "linear", "cubic")),
    *(
        _resize(f"{mode}-antialias", f'mode = "{mode}", antialias = 1', opsets=(18, 21), s=[1, 1, 0.5, 0.7])
        for mode in ("linear", "cubic")
    ),
    *(_resize(f"{mode}-sizes", f'mode = "{mode}"', by="sizes", s=[2, 2, 5, 7]) for mode in ("nearest", "linear")),
    _resize("channels-last", 'mode = "linear"', shape=(2, 3, 4, 2), s=[1, 2, 2, 1.0]),
    _resize("every-axis", 'mode = "nearest"', s=[2, 2, 2, 2.0]),
    _resize("1d", 'mode = "nearest"', shape=(2, 3, 4), s=[1, 1, 2.0]),
    _resize("rank-2", 'mode = "linear"', shape=(3, 4), s=[2, 1.5]),
    *(
        _resize(f"3d-{mode}", f'mode = "{mode}"', shape=(1, 2, 3, 2, 3), s=[1, 1, 2, 2, 1.5])
        for mode in ("nearest", "linear")
    ),
    *(
        _resize(f"axes-{mode}", f'mode = "{mode}", axes = [2, 3]', opsets=(18, 21), s=[1.5, 2])
        for mode in ("nearest", "linear", "cubic")
    ),
    *(
        _resize(
            f"{policy}-{mode}", f'mode = "{mode}", axes = [2, 3], keep_aspect_ratio_policy = "{policy}"',
            opsets=(18, 21), by="sizes", shape=(1, 2, 4, 6), s=[7, 9],
        )
        for policy, mode in product(("not_larger", "not_smaller"), ("nearest", "linear"))
    ),
    _resize(
        "crop", 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"', by="crop",
        r=np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 1.2], dtype=np.float32),
    ),
    gradient_case(
        "Upsample", "Upsample", 'y = Upsample<mode = "nearest">(x, s)', opsets=(9,), fixed="s",
        x=normal(1, 2, 3, 2), s=[1, 1, 2, 3.0],
    ),
]  # fmt: skip

_TRANSPOSED = {  # name: attributes, group; {n} is a list of as many n as there are axes
    "plain": ("", 1),
    "strided": ("strides = {2}", 1),
    "half": ("strides = {2}, pads = {1}{1}", 1),
    "padded": ("strides = {2}, pads = {1}{0}, output_padding = {1}", 1),
    "steep": ("strides = {4}, output_padding = {1}", 1),
    "dilated": ("dilations = {2}, pads = {1}{1}", 1),
    "dilated-strided": ("dilations = {3}, strides = {2}, pads = {1}{2}", 1),
    "grouped": ("group = 2, strides = {2}", 2),
    "depthwise": ("group = 4, strides = {2}, pads = {1}{1}", 4),
    "same-upper": ('auto_pad = "SAME_UPPER", strides = {2}', 1),
    "same-lower": ('auto_pad = "SAME_LOWER", strides = {2}', 1),
    "output-shape": ("strides = {2}, output_shape = {6}", 1),
    "output-shape-upper": ('strides = {2}, output_shape = {6}, auto_pad = "SAME_UPPER"', 1),
}


_RANKS = {1: (13, 21), 2: (14,), 3: (17,)}  # spatial axes to opsets; the double-precision reference is slow in 3d


def _lists(attributes: str, rank: int) -> str:
    """Write {n} as a list of n, two in a row as one list, and brackets around all."""
    for number in range(7):
        attributes = attributes.replace(f"{{{number}}}", str([number] * rank))
    return f"<{attributes.replace('][', ', ')}>" if attributes else ""


TRANSPOSED = [
    *(
        gradient_case(
            f"ConvTranspose-{name}-{rank}d", "ConvTranspose",
            f"y = ConvTranspose{_lists(attributes, rank)}(x, w, b)", opsets=_RANKS[rank],
            x=normal(1, 4, *[3, 4, 2][:rank]), b=normal(2 * group, seed=2),
            w=normal(4, 2, *[4 if name == "half" else 3] * min(rank, 2), *[2] * (rank - 2), seed=1),
        )
        for (name, (attributes, group)), rank in product(_TRANSPOSED.items(), _RANKS)
    ),
    gradient_case(
        "ConvTranspose-uneven", "ConvTranspose", "y = ConvTranspose<strides = [3, 2], pads = [0, 1, 2, 0]>(x, w)",
        opsets=(13, 21), x=normal(1, 3, 3, 4), w=normal(3, 2, 2, 3, seed=1),
    ),
    gradient_case(
        "ConvTranspose-computed-weight", "ConvTranspose", "m = Mul(w, v) y = ConvTranspose<strides = [2, 2]>(x, m)",
        opsets=(13, 21), x=normal(1, 3, 3, 3), w=normal(3, 2, 3, 3, seed=1), v=normal(3, 1, 1, 1, seed=2),
    ),
    gradient_case(
        "Col2Im", "Col2Im", "y = Col2Im(x, a, b)", opsets=(18, 21), x=normal(2, 8, 4), a=[3, 3], b=[2, 2],
    ),
    gradient_case(
        "Col2Im-attributes", "Col2Im",
        "y = Col2Im<pads = [1, 0, 1, 0], strides = [2, 1], dilations = [1, 2]>(x, a, b)", opsets=(18, 21),
        x=normal(1, 12, 3), a=[5, 5], b=[2, 3],
    ),
]  # fmt: skip


def _grid(*shape: int, size: int, corners: bool) -> np.ndarray:  # type: ignore[type-arg]
    """Places between the pixels (some outside the image), at least a fifth of a pixel away from the jumps of any mode."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(-2, size + 1, shape) + rng.choice([0.22, 0.35, 0.65, 0.78], shape)
    return (2 * pixels / (size - 1) - 1 if corners else (2 * pixels + 1) / size - 1).astype(np.float32)


SAMPLING = [
    *(
        gradient_case(
            f"GridSample-{mode}-{padding}-{corners}", "GridSample",
            f'y = GridSample<mode = "{mode}", padding_mode = "{padding}", align_corners = {corners}>(x, g)',
            opsets=(16,) if mode in ("bilinear", "bicubic") else (20,),
            fixed="g" if mode == "nearest" else "", x=normal(2, 2, 4, 4),
            g=_grid(2, 3, 2, 2, size=4, corners=bool(corners)),
        )
        for mode in ("bilinear", "bicubic", "linear", "cubic", "nearest")
        for padding in ("zeros", "border", "reflection")
        for corners in (0, 1)
    ),
    *(
        gradient_case(
            f"GridSample-3d-{padding}", "GridSample", f'y = GridSample<mode = "linear", padding_mode = "{padding}">(x, g)',
            opsets=(20,), x=normal(1, 2, 3, 3, 3), g=_grid(1, 2, 2, 2, 3, size=3, corners=False),
        )
        for padding in ("zeros", "border", "reflection")
    ),
    gradient_case(
        "GridSample-microsoft", "com.microsoft.GridSample", "y = com.microsoft.GridSample<align_corners = 1>(x, g)",
        x=normal(2, 2, 4, 4), g=_grid(2, 3, 2, 2, size=4, corners=True),
    ),
    *(
        gradient_case(
            f"AffineGrid-{len(size)}-{corners}", "AffineGrid", f"y = AffineGrid<align_corners = {corners}>(t, s)",
            opsets=(20,), t=normal(2, len(size) - 2, len(size) - 1), s=size,
        )
        for corners in (0, 1)
        for size in ([2, 3, 4, 5], [2, 3, 2, 3, 4])
    ),
]  # fmt: skip
