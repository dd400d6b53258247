"""Small models, one or more per operator rule, with the group widths worked out by hand.

Each model is ONNX text that fits on a few lines; weights are declared without values and filled with seeded ones by
`tests.models.filled`. Widths follow from reading the text: channels that an Add, a Concat or a depthwise convolution ties
together are one unit, and units with the same set of weights and axes are one group.
"""

from __future__ import annotations

from cases.attention import ATTENTION
from cases.base import ENDS, Case, case
from cases.blocks import BLOCKS
from cases.contrib import CONTRIB
from cases.convolution import CONVOLUTIONS
from cases.counts import COUNTS
from cases.elementwise import BINARY, UNARY
from cases.expand import EXPANDED
from cases.heads import HEADS
from cases.indexing import INDEXING
from cases.movement import RESHAPES
from cases.networks import NETWORKS
from cases.normalisation import NORMALISATIONS
from cases.padding import PADDING
from cases.pieces import CONCAT_SPLIT
from cases.pooling import POOLING
from cases.products import EINSUMS, PRODUCTS
from cases.quantized import QUANTIZED
from cases.recurrent import RECURRENT
from cases.reduction import REDUCTIONS
from cases.resample import RESAMPLING
from cases.slices import SLICES
from cases.subgraphs import SUBGRAPHS
from cases.transposed import TRANSPOSED

__all__ = ["CASES", "ENDS", "Case", "case"]

CASES: list[Case] = [
    *COUNTS,
    *UNARY,
    *BINARY,
    *CONVOLUTIONS,
    *TRANSPOSED,
    *POOLING,
    *NORMALISATIONS,
    *REDUCTIONS,
    *HEADS,
    *CONTRIB,
    *PRODUCTS,
    *QUANTIZED,
    *EINSUMS,
    *RECURRENT,
    *CONCAT_SPLIT,
    *SLICES,
    *RESHAPES,
    *BLOCKS,
    *PADDING,
    *EXPANDED,
    *INDEXING,
    *RESAMPLING,
    *NETWORKS,
    *ATTENTION,
    *SUBGRAPHS,
]
