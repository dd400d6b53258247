"""Small models, one or more per operator rule, with the group widths worked out by hand.

Each model is ONNX text that fits on a few lines; weights are declared without values and filled with seeded ones by
`tests.models.filled`. Widths follow from reading the text: channels that an Add, a Concat or a depthwise convolution ties
together are one unit, and units with the same set of weights and axes are one group.
"""

from __future__ import annotations

from cases.base import ENDS, Case, case
from cases.convolution import CONVOLUTIONS
from cases.elementwise import BINARY, UNARY
from cases.movement import RESHAPES
from cases.pieces import CONCAT_SPLIT_SLICE
from cases.products import PRODUCTS
from cases.reduction import NORMALISATION_AND_POOLING

__all__ = ["CASES", "ENDS", "Case", "case"]

CASES: list[Case] = [
    *UNARY,
    *BINARY,
    *CONVOLUTIONS,
    *NORMALISATION_AND_POOLING,
    *PRODUCTS,
    *CONCAT_SPLIT_SLICE,
    *RESHAPES,
]
