"""Operators that move data and compute nothing."""

from __future__ import annotations

import numpy as np
from gradient_check import between, distinct, gradient_case, normal

from gradients.opsets import ALL, FROM_13, FROM_18, SOME

X = (2, 3, 4)

MOVEMENT = [
    gradient_case("Reshape", "Reshape", "y = Reshape(x, s)", opsets=ALL, x=normal(*X), s=[0, -1]),
    gradient_case("Flatten", "Flatten", "y = Flatten<axis = 2>(x)", opsets=ALL, x=normal(*X)),
    gradient_case("Squeeze", "Squeeze", "y = Squeeze(x, a)", opsets=FROM_13, x=normal(2, 1, 4), a=[1]),
    gradient_case("Squeeze-all", "Squeeze", "y = Squeeze(x)", opsets=ALL, x=normal(2, 1, 4, 1)),
    gradient_case("Squeeze-attribute", "Squeeze", "y = Squeeze<axes = [1]>(x)", opsets=(12,), x=normal(2, 1, 4)),
    gradient_case("Unsqueeze", "Unsqueeze", "y = Unsqueeze(x, a)", opsets=FROM_13, x=normal(*X), a=[-1, 1]),
    gradient_case("Unsqueeze-attribute", "Unsqueeze", "y = Unsqueeze<axes = [0, 2]>(x)", opsets=(12,), x=normal(*X)),
    gradient_case("Transpose", "Transpose", "y = Transpose<perm = [1, 2, 0]>(x)", opsets=ALL, x=normal(*X)),
    gradient_case("Transpose-reversed", "Transpose", "y = Transpose(x)", opsets=SOME, x=normal(*X)),
    gradient_case(
        "Concat", "Concat", "y = Concat<axis = 1>(x, w, x)", opsets=ALL, x=normal(*X), w=normal(2, 1, 4, seed=1)
    ),
    gradient_case(
        "Concat-negative-axis",
        "Concat",
        "y = Concat<axis = -1>(x, w)",
        opsets=SOME,
        x=normal(*X),
        w=normal(2, 3, 1, seed=1),
    ),
    gradient_case(
        "Split", "Split", "y, z = Split<axis = 2>(x, s)", opsets=FROM_13, outputs="y z", x=normal(*X), s=[1, 3]
    ),
    gradient_case("Split-one-read", "Split", "z, y = Split<axis = -2>(x, s)", opsets=FROM_13, x=normal(*X), s=[1, 2]),
    *(
        gradient_case(
            f"Split-part-without-gradient-{how}",
            "Split",
            f"h = Tanh(x) t = Mul(h, w) {parts} i = ArgMax<axis = 1, keepdims = 0>(z) g = Gather<axis = 1>(u, i) y = Tanh(g)",
            opsets=FROM_18 if how == "even" else FROM_13,
            w=between(0.5, 2, 2, 2, 4),
            x=distinct(2, 2, 4, spacing=0.1),
            s=[1, 1],
            a=[0],
            b=[1],
            c=[2],
        )
        for how, parts in {
            "split": "z, u = Split<axis = 1>(t, s)",
            "even": "z, u = Split<axis = 1, num_outputs = 2>(t)",
            "slices": "z = Slice(t, a, b, b) u = Slice(t, b, c, b)",
        }.items()
    ),
    gradient_case(
        "Split-attribute",
        "Split",
        "y, z = Split<axis = 2, split = [1, 3]>(x)",
        opsets=(12,),
        outputs="y z",
        x=normal(*X),
    ),
    gradient_case(
        "Split-even", "Split", "y, z = Split<axis = 2>(x)", opsets=(12, 13, 14, 17), outputs="y z", x=normal(*X)
    ),
    gradient_case(
        "Split-count",
        "Split",
        "y, z = Split<axis = 1, num_outputs = 2>(x)",
        opsets=FROM_18,
        outputs="y z",
        x=normal(*X),
    ),
    gradient_case(
        "Slice",
        "Slice",
        "y = Slice(x, s, e, a, t)",
        opsets=ALL,
        x=normal(2, 5, 6),
        s=[1, -1],
        e=[4, -7],
        a=[1, 2],
        t=[2, -1],
    ),
    gradient_case(
        "Slice-leading-axes", "Slice", "y = Slice(x, s, e)", opsets=SOME, x=normal(2, 5, 6), s=[0, 1], e=[1, 9]
    ),
    gradient_case("Gather", "Gather", "y = Gather<axis = 1>(x, i)", opsets=ALL, x=normal(*X), i=[[0, -1], [2, 2]]),
    gradient_case("Gather-scalar", "Gather", "y = Gather<axis = -1>(x, i)", opsets=SOME, x=normal(*X), i=-2),
    gradient_case(
        "GatherElements",
        "GatherElements",
        "y = GatherElements<axis = 1>(x, i)",
        opsets=ALL,
        x=normal(2, 3),
        i=[[0, -1, 0], [2, 2, 1]],
    ),
    gradient_case("GatherND", "GatherND", "y = GatherND(x, i)", opsets=ALL, x=normal(*X), i=[[0, 1], [1, -1], [0, 1]]),
    gradient_case(
        "GatherND-batch", "GatherND", "y = GatherND<batch_dims = 1>(x, i)", opsets=SOME, x=normal(*X), i=[[1], [2]]
    ),
    gradient_case(
        "ScatterElements",
        "ScatterElements",
        "y = ScatterElements<axis = 1>(x, i, u)",
        opsets=ALL,
        x=normal(2, 4),
        i=[[0, -1], [2, 1]],
        u=normal(2, 2, seed=1),
    ),
    gradient_case(
        "ScatterElements-add",
        "ScatterElements",
        'y = ScatterElements<axis = 1, reduction = "add">(x, i, u)',
        opsets=(16, 18),
        x=normal(2, 4),
        i=[[0, 0], [2, 1]],
        u=normal(2, 2, seed=1),
    ),
    gradient_case(
        "ScatterND",
        "ScatterND",
        "y = ScatterND(x, i, u)",
        opsets=ALL,
        x=normal(4, 3),
        i=[[2], [0]],
        u=normal(2, 3, seed=1),
    ),
    gradient_case(
        "ScatterND-add",
        "ScatterND",
        'y = ScatterND<reduction = "add">(x, i, u)',
        opsets=(16, 18),
        x=normal(4, 3),
        i=[[2], [2]],
        u=normal(2, 3, seed=1),
    ),
    gradient_case("TopK", "TopK", "y, i = TopK<axis = 1>(x, k)", opsets=ALL, x=distinct(2, 5, 3), k=[2]),
    gradient_case("TopK-smallest", "TopK", "y, i = TopK<largest = 0>(x, k)", opsets=SOME, x=distinct(2, 5), k=[3]),
    gradient_case("Tile", "Tile", "y = Tile(x, r)", opsets=ALL, x=normal(2, 3), r=[2, 3]),
    gradient_case("Expand", "Expand", "y = Expand(x, s)", opsets=ALL, x=normal(3, 1), s=[2, 1, 4]),
    gradient_case("Pad", "Pad", "y = Pad(x, p)", opsets=ALL, x=normal(2, 3), p=[1, 0, 0, 2]),
    gradient_case(
        "Pad-value", "Pad", "y = Pad(x, p, v)", opsets=SOME, fixed="v", x=normal(2, 3), p=[1, 0, 0, 2], v=0.5
    ),
    gradient_case("Pad-negative", "Pad", "y = Pad(x, p)", opsets=SOME, x=normal(3, 4), p=[-1, 0, 1, -2]),
    gradient_case(
        "Trilu", "Trilu", "y = Trilu<upper = 0>(x, k)", opsets=(14, 17, 21), x=normal(2, 3, 4), k=np.array(1)
    ),
]
