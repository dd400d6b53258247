"""Normalisations, their scales and biases included."""

from __future__ import annotations

from gradient_check import away_from, between, gradient_case, normal

from gradients.opsets import ALL, SOME

SPACES = {"1d": (2, 4, 5), "2d": (2, 4, 3, 2), "3d": (2, 4, 2, 2, 3)}

NORMS = [
    *(
        gradient_case(
            f"InstanceNormalization-{how}",
            "InstanceNormalization",
            "y = InstanceNormalization<epsilon = 0.01>(x, s, b)",
            opsets=ALL,
            x=normal(*shape),
            s=normal(4, seed=1),
            b=normal(4, seed=2),
        )
        for how, shape in SPACES.items()
    ),
    *(
        gradient_case(
            f"GroupNormalization-18-{how}",
            "GroupNormalization",
            "y = GroupNormalization<num_groups = 2>(x, s, b)",
            opsets=(18, 20),
            x=normal(*shape),
            s=normal(2, seed=1),
            b=normal(2, seed=2),
        )
        for how, shape in SPACES.items()
    ),
    *(
        gradient_case(
            f"GroupNormalization-21-{how}",
            "GroupNormalization",
            "y = GroupNormalization<num_groups = 2, epsilon = 0.01>(x, s, b)",
            opsets=(21,),
            x=normal(*shape),
            s=normal(4, seed=1),
            b=normal(4, seed=2),
        )
        for how, shape in SPACES.items()
    ),
    gradient_case(
        "LayerNormalization",
        "LayerNormalization",
        "y = LayerNormalization(x, s, b)",
        opsets=(17, 18, 21),
        x=normal(2, 3, 4),
        s=normal(4, seed=1),
        b=normal(4, seed=2),
    ),
    gradient_case(
        "LayerNormalization-no-bias",
        "LayerNormalization",
        "y = LayerNormalization<axis = 1, epsilon = 0.01>(x, s)",
        opsets=(17, 18, 21),
        x=normal(2, 3, 4),
        s=normal(3, 4, seed=1),
    ),
    gradient_case(
        "LayerNormalization-three-outputs",
        "LayerNormalization",
        "y, m, v = LayerNormalization<axis = 1>(x, s, b)",
        opsets=(17, 18, 21),
        x=normal(2, 3, 4),
        s=normal(3, 4, seed=1),
        b=normal(3, 4, seed=2),
    ),
    gradient_case(
        "LayerNormalization-statistics-read",
        "LayerNormalization",
        "y, m, v = LayerNormalization(x, s, b)",
        opsets=(17,),
        outputs="y m v",
        x=normal(2, 3, 4),
        s=normal(4, seed=1),
        b=normal(4, seed=2),
    ),
    *(
        gradient_case(
            f"BatchNormalization-{how}",
            "BatchNormalization",
            "y = BatchNormalization<epsilon = 0.01>(x, s, b, m, v)",
            opsets=ALL,
            fixed="m v",
            x=normal(*shape),
            s=normal(4, seed=1),
            b=normal(4, seed=2),
            m=normal(4, seed=3),
            v=between(0.5, 2, 4),
        )
        for how, shape in SPACES.items()
    ),
    gradient_case(
        "MeanVarianceNormalization",
        "MeanVarianceNormalization",
        "y = MeanVarianceNormalization(x)",
        opsets=ALL,
        x=normal(2, 3, 4, 5),
    ),
    gradient_case(
        "MeanVarianceNormalization-axes",
        "MeanVarianceNormalization",
        "y = MeanVarianceNormalization<axes = [-1]>(x)",
        opsets=SOME,
        x=normal(2, 3, 4),
    ),
    *(
        gradient_case(
            f"LpNormalization-{p}-axis-{axis}",
            "LpNormalization",
            f"y = LpNormalization<p = {p}, axis = {axis}>(x)",
            opsets=SOME,
            x=away_from((0,), 2, 3, 4),
        )
        for p in (1, 2)
        for axis in (-1, 1)
    ),
    *(
        gradient_case(
            f"LRN-{size}-{how}",
            "LRN",
            f"y = LRN<size = {size}, alpha = 0.3, beta = 0.6, bias = 1.5>(x)",
            opsets=SOME,
            x=normal(2, 6, *space),
        )
        for size in (1, 3, 5)
        for how, space in {"2d": (3, 2)}.items()
    ),
    gradient_case("Softmax", "Softmax", "y = Softmax(x)", opsets=ALL, x=normal(2, 3, 4)),
    gradient_case("LogSoftmax", "LogSoftmax", "y = LogSoftmax(x)", opsets=ALL, x=normal(2, 3, 4)),
    *(
        gradient_case(f"{op}-axis-{axis}", op, f"y = {op}<axis = {axis}>(x)", opsets=SOME, x=normal(2, 3, 4))
        for op in ("Softmax", "LogSoftmax")
        for axis in (0, 1, 2, -2)
    ),
    gradient_case(
        "SkipLayerNormalization",
        "com.microsoft.SkipLayerNormalization",
        "y = com.microsoft.SkipLayerNormalization<epsilon = 0.01>(x, k, s, b, c)",
        x=normal(2, 3, 4),
        k=normal(2, 3, 4, seed=1),
        s=normal(4, seed=2),
        b=normal(4, seed=3),
        c=normal(4, seed=4),
    ),
    gradient_case(
        "SkipLayerNormalization-sum-read",
        "com.microsoft.SkipLayerNormalization",
        "y, , , z = com.microsoft.SkipLayerNormalization(x, k, s)",
        outputs="y z",
        x=normal(2, 3, 4),
        k=normal(2, 3, 4, seed=1),
        s=normal(4, seed=2),
    ),
    gradient_case(
        "SkipSimplifiedLayerNormalization",
        "com.microsoft.SkipSimplifiedLayerNormalization",
        "y, , , z = com.microsoft.SkipSimplifiedLayerNormalization(x, k, s)",
        outputs="y z",
        x=normal(2, 3, 4),
        k=normal(2, 3, 4, seed=1),
        s=normal(4, seed=2),
    ),
    gradient_case(
        "SimplifiedLayerNormalization",
        "SimplifiedLayerNormalization",
        "y = SimplifiedLayerNormalization<epsilon = 0.01>(x, s)",
        x=normal(2, 3, 4),
        s=normal(4, seed=1),
    ),
]
