"""Pooling, padding and blocks of pixels, in those spellings whose gradient the runtime lacks or has wrong."""

from __future__ import annotations

from itertools import product

from gradient_check import away_from, distinct, gradient_case, normal

from gradients.opsets import ENDS

SPACES = {1: (7,), 2: (6, 5), 3: (4, 5, 3)}
_LP = {  # {n} is a list of as many n as there are axes
    "plain": "kernel_shape = {2}",
    "strided": "kernel_shape = {3}, strides = {2}, pads = {1}{1}",
    "uneven": "kernel_shape = {3}, strides = {2}, pads = {0}{1}",
    "same-upper": 'kernel_shape = {2}, strides = {2}, auto_pad = "SAME_UPPER"',
    "same-lower": 'kernel_shape = {3}, auto_pad = "SAME_LOWER"',
    "one": "kernel_shape = {2}, p = 1",
    "three": "kernel_shape = {2}, p = 3",
}
_AVERAGE = {
    "plain": "kernel_shape = {2}, dilations = {2}",
    "padded": "kernel_shape = {2}, dilations = {2}, strides = {2}, pads = {1}{1}",
    "counted": "kernel_shape = {2}, dilations = {2}, pads = {1}{1}, count_include_pad = 1",
    "ceil": "kernel_shape = {2}, dilations = {2}, strides = {2}, ceil_mode = 1",
}


def _lists(attributes: str, rank: int) -> str:
    """Write {n} as a list of n; two in a row are one list."""
    for number in range(4):
        attributes = attributes.replace(f"{{{number}}}", str([number] * rank))
    return attributes.replace("][", ", ")


POOLING = [
    *(
        gradient_case(
            f"LpPool-{name}-{rank}d", "LpPool", f"y = LpPool<{_lists(attributes, rank)}>(x)", opsets=ENDS,
            x=away_from([0], 2, 2, *size),
        )
        for (name, attributes), (rank, size) in product(_LP.items(), SPACES.items())
    ),
    gradient_case(
        "LpPool-dilated", "LpPool", "y = LpPool<kernel_shape = [2, 2], dilations = [2, 1], ceil_mode = 1>(x)",
        opsets=(18, 21), x=away_from([0], 1, 2, 5, 5),
    ),
    *(
        gradient_case(
            f"GlobalLpPool-{power}-{rank}d", "GlobalLpPool", f"y = GlobalLpPool<p = {power}>(x)", opsets=ENDS,
            x=away_from([0], 2, 2, *size),
        )
        for power, (rank, size) in product((1, 2, 3), SPACES.items())
    ),
    *(
        gradient_case(
            f"GlobalMaxPool-{rank}d", "GlobalMaxPool", "y = GlobalMaxPool(x)", opsets=ENDS, x=distinct(2, 2, *size)
        )
        for rank, size in SPACES.items()
    ),
    *(
        gradient_case(
            f"AveragePool-dilated-{name}-{rank}d", "AveragePool", f"y = AveragePool<{_lists(attributes, rank)}>(x)",
            opsets=(19, 21), x=normal(1, 2, *size),
        )
        for (name, attributes), (rank, size) in product(_AVERAGE.items(), SPACES.items())
    ),
    *(
        gradient_case(
            f"MaxPool-indices-{order}", "MaxPool",
            f"y, i = MaxPool<kernel_shape = [2, 3], storage_order = {order}>(x)", opsets=ENDS, x=distinct(2, 2, 4, 5),
        )
        for order in (0, 1)
    ),
    gradient_case(
        "MaxUnpool", "MaxUnpool",
        "a, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) b = Tanh(a)"
        "y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(b, i)",
        opsets=ENDS, x=distinct(2, 2, 4, 6, spacing=0.05),
    ),
]  # fmt: skip

PADDING = [
    *(
        gradient_case(
            f"Pad-{mode}-{name}", "Pad", f'y = Pad<mode = "{mode}">(x, p)',
            opsets=(19, 21) if mode == "wrap" else ENDS, x=normal(2, 3, 4), p=counts,
        )
        for mode, (name, counts) in product(
            ("reflect", "edge", "wrap"),
            {"both": [0, 1, 2, 0, 2, 1], "cut": [0, -1, 1, 0, 1, 0], "batch": [1, 0, 0, 1, 0, 0]}.items(),
        )
    ),
    gradient_case("Pad-axes", "Pad", "y = Pad(x, p, , a)", opsets=(18, 21), x=normal(2, 3), p=[1, 2], a=[-1]),
    gradient_case(
        "Pad-axes-value", "Pad", "y = Pad(x, p, v, a)", opsets=(18, 21), fixed="v", x=normal(2, 3, 4),
        p=[1, 0, -1, 2], a=[2, 0], v=1.5,
    ),
    gradient_case(
        "Pad-axes-edge", "Pad", 'y = Pad<mode = "edge">(x, p, , a)', opsets=(18, 21), x=normal(2, 3), p=[1, 2], a=[1],
    ),
    *(
        gradient_case(
            f"CenterCropPad-{name}", "CenterCropPad", f"y = CenterCropPad{attributes}(x, s)", opsets=(18, 21),
            x=normal(2, 4, 5), s=sizes,
        )
        for name, attributes, sizes in (("all", "", [3, 7, 2]), ("axes", "<axes = [1, -1]>", [5, 4]))
    ),
    *(
        gradient_case(
            f"DepthToSpace-{mode}", "DepthToSpace", f'y = DepthToSpace<blocksize = 2, mode = "{mode}">(x)', opsets=ENDS,
            x=normal(2, 8, 2, 3),
        )
        for mode in ("DCR", "CRD")
    ),
    gradient_case(
        "SpaceToDepth", "SpaceToDepth", "y = SpaceToDepth<blocksize = 2>(x)", opsets=(13, 21), x=normal(2, 3, 4, 6)
    ),
    gradient_case(
        "Slice-backwards", "Slice", "y = Slice(x, s, e, a, t)", opsets=(14, 21), x=normal(3, 5),
        s=[-1, 4], e=[-100, 0], a=[0, 1], t=[-2, -1],
    ),
    gradient_case(
        "Slice-both-ways", "Slice", "y = Slice(x, s, e, a, t)", opsets=(14, 21), x=normal(3, 5),
        s=[0, 3], e=[100, -6], a=[0, -1], t=[2, -1],
    ),
    gradient_case("Compress", "Compress", "y = Compress<axis = -1>(x, c)", opsets=ENDS, x=normal(2, 4), c=[True, False, True]),
    gradient_case("Compress-flat", "Compress", "y = Compress(x, c)", opsets=ENDS, x=normal(2, 2), c=[True, False, True]),
    gradient_case(
        "ReverseSequence", "ReverseSequence", "y = ReverseSequence(x, l)", opsets=ENDS, x=normal(4, 3, 2), l=[4, 2, 1],
    ),
    gradient_case(
        "ReverseSequence-batch-first", "ReverseSequence", "y = ReverseSequence<batch_axis = 0, time_axis = 1>(x, l)",
        opsets=ENDS, x=normal(3, 4, 2), l=[1, 4, 3],
    ),
    *(
        gradient_case(
            f"ScatterElements-repeated-{how}", "ScatterElements",
            f'y = ScatterElements<axis = 1, reduction = "{how}">(x, i, u)', opsets=(16, 18) if how in ("add", "mul") else (18, 21),
            x=distinct(2, 3, spacing=0.5), i=[[0, -1, 0, 0], [2, 2, 1, 1]], u=distinct(2, 4, seed=1, spacing=0.3),
        )
        for how in ("add", "mul", "max", "min")
    ),
    *(
        gradient_case(
            f"ScatterND-repeated-{how}", "ScatterND", f'y = ScatterND<reduction = "{how}">(x, i, u)',
            opsets=(16, 18) if how in ("add", "mul") else (18, 21),
            x=distinct(3, 2, spacing=0.5), i=[[2], [0], [2]], u=distinct(3, 2, seed=1, spacing=0.3),
        )
        for how in ("add", "mul", "max", "min")
    ),
    gradient_case(
        "Concat-constant-twice", "Concat", "a = Concat<axis = 0>(x, c) b = Concat<axis = -2>(c, w, c) d = Slice(b, s, e) y = Mul(a, d)",
        opsets=ENDS, fixed="c", x=normal(2, 3), w=normal(2, 3, seed=1), c=normal(1, 3, seed=2), s=[1], e=[4],
    ),
]  # fmt: skip
