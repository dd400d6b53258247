"""Convolutions, matrix products and pooling whose gradient the runtime has."""

from __future__ import annotations

from gradient_check import distinct, gradient_case, normal

from gradients.opsets import ALL, SOME

SPACES = {"1d": (7,), "2d": (6, 5), "3d": (4, 5, 3)}
CONVOLUTIONS = {  # name: attributes, channels, groups
    "plain": ("", 4, 1),
    "padded": ("pads = {pads}", 4, 1),
    "strided": ("pads = {pads}, strides = {twos}", 4, 1),
    "dilated": ("pads = {pads}, dilations = {twos}", 4, 1),
    "depthwise": ("group = 4", 4, 4),
    "grouped": ("group = 2, strides = {twos}", 4, 2),
    "same-upper": ('auto_pad = "SAME_UPPER", strides = {twos}', 4, 1),
    "same-lower": ('auto_pad = "SAME_LOWER"', 4, 1),
    "valid": ('auto_pad = "VALID"', 4, 1),
}
POOLINGS = {
    "plain": "kernel_shape = {twos}",
    "strided": "kernel_shape = {twos}, strides = {twos}",
    "padded": "kernel_shape = {threes}, strides = {twos}, pads = {ones}",
    "uneven-pads": "kernel_shape = {threes}, strides = {twos}, pads = {uneven}",
    "ceil": "kernel_shape = {twos}, strides = {twos}, ceil_mode = 1",
    "same-upper": 'kernel_shape = {threes}, strides = {twos}, auto_pad = "SAME_UPPER"',
    "same-lower": 'kernel_shape = {twos}, auto_pad = "SAME_LOWER"',
    "valid": 'kernel_shape = {twos}, auto_pad = "VALID"',
}


def _spelled(attributes: str, rank: int) -> str:
    """Attributes with lists of the right length."""
    spelled = attributes.format(
        pads=[1] * rank + [2] * rank,
        ones=[1] * 2 * rank,
        uneven=[0] * rank + [1] * rank,
        twos=[2] * rank,
        threes=[3] * rank,
    )
    return f"<{spelled}>" if spelled else ""


def _opsets(how: str) -> tuple[int, ...]:
    return ALL if how in ("plain", "row") else (12, 21)


PRODUCTS = [
    *(
        gradient_case(
            f"Conv-{how}-{space}",
            "Conv",
            f"y = Conv{_spelled(attributes, len(size))}(x, w, b)",
            opsets=_opsets(how),
            x=normal(2, channels, *size),
            w=normal(4, channels // groups, *(2,) * len(size), seed=1, scale=0.5),
            b=normal(4, seed=2),
        )
        for how, (attributes, channels, groups) in CONVOLUTIONS.items()
        for space, size in SPACES.items()
    ),
    gradient_case(
        "Conv-without-bias", "Conv", "y = Conv(x, w)", opsets=SOME, x=normal(2, 3, 5, 5), w=normal(4, 3, 3, 3, seed=1)
    ),
    gradient_case(
        "Conv-shared-weight",
        "Conv",
        "a = Conv(x, w) y = Conv(a, w)",
        opsets=SOME,
        x=normal(2, 3, 5, 5),
        w=normal(3, 3, 2, 2, seed=1),
    ),
    *(
        gradient_case(
            f"Gemm-{a}{b}-{how}",
            "Gemm",
            f"y = Gemm<transA = {a}, transB = {b}, alpha = 0.7, beta = 1.3>(x, w, c)",
            opsets=_opsets(how),
            x=normal(*((4, 3) if a else (3, 4))),
            w=normal(*((5, 4) if b else (4, 5)), seed=1),
            c=normal(*shape, seed=2),
        )
        for a in (0, 1)
        for b in (0, 1)
        for how, shape in {"row": (5,), "column": (3, 1), "full": (3, 5), "scalar": ()}.items()
    ),
    gradient_case("Gemm-without-bias", "Gemm", "y = Gemm(x, w)", opsets=SOME, x=normal(3, 4), w=normal(4, 5, seed=1)),
    *(
        gradient_case(
            f"MatMul-{how}", "MatMul", "y = MatMul(x, w)", opsets=_opsets(how), x=normal(*a), w=normal(*b, seed=1)
        )
        for how, (a, b) in {
            "plain": ((3, 4), (4, 5)),
            "batch": ((2, 3, 4), (4, 5)),
            "batches": ((2, 3, 4), (2, 4, 5)),
            "broadcast": ((2, 1, 3, 4), (3, 4, 2)),
            "left": ((3, 4), (2, 4, 5)),
            "vector": ((2, 3, 4), (4,)),
            "row": ((4,), (4, 5)),
            "rows": ((4,), (2, 4, 5)),
            "dot": ((4,), (4,)),
        }.items()
    ),
    *(
        gradient_case(
            f"FusedMatMul-{a}{b}",
            "com.microsoft.FusedMatMul",
            f"y = com.microsoft.FusedMatMul<transA = {a}, transB = {b}, alpha = 0.5>(x, w)",
            x=normal(*((4, 3) if a else (3, 4))),
            w=normal(*((5, 4) if b else (4, 5)), seed=1),
        )
        for a in (0, 1)
        for b in (0, 1)
    ),
    *(
        gradient_case(
            f"MaxPool-{how}-{space}",
            "MaxPool",
            f"y = MaxPool{_spelled(attributes, len(size))}(x)",
            opsets=_opsets(how),
            x=distinct(2, 2, *size),
        )
        for how, attributes in {**POOLINGS, "dilated": "kernel_shape = {twos}, dilations = {twos}"}.items()
        for space, size in SPACES.items()
    ),
    *(
        gradient_case(
            f"AveragePool-{how}-{space}",
            "AveragePool",
            f"y = AveragePool{_spelled(attributes, len(size))}(x)",
            opsets=_opsets(how),
            x=normal(2, 2, *size),
        )
        for how, attributes in {
            **POOLINGS,
            "padding-counts": "kernel_shape = {threes}, strides = {twos}, pads = {ones}, count_include_pad = 1",
        }.items()
        for space, size in SPACES.items()
    ),
    *(
        gradient_case(
            f"GlobalAveragePool-{space}",
            "GlobalAveragePool",
            "y = GlobalAveragePool(x)",
            opsets=ALL,
            x=normal(2, 3, *size),
        )
        for space, size in SPACES.items()
    ),
]
