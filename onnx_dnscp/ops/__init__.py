"""Facts about operators, one file per family; importing this package registers all of them.

An operator is described in one place: how channel ids pass through it (`op_rule`), how counts it bakes into
attributes or operands shrink (`resize_rule`), and what it costs (`macs_rule`).
"""

from onnx_dnscp.ops import (
    blocks,
    contrib,
    conv,
    conv_transpose,
    einsum,
    elementwise,
    expand,
    heads,
    indexing,
    linear,
    movement,
    norm,
    padding,
    pieces,
    pool,
    quantized,
    recurrent,
    reduce,
    resample,
    shape,
    slices,
)

__all__ = [
    "blocks",
    "contrib",
    "conv",
    "conv_transpose",
    "einsum",
    "elementwise",
    "expand",
    "heads",
    "indexing",
    "linear",
    "movement",
    "norm",
    "padding",
    "pieces",
    "pool",
    "quantized",
    "recurrent",
    "reduce",
    "resample",
    "shape",
    "slices",
]
