"""Operators without a (right) gradient, each spelled in operators that have one; one family per file.

A file is imported here so that its rules are registered; `passes/decompose.py` applies them.
"""

from onnx_dnscp.training.decompositions import (
    conv_transpose,
    depth_space,
    einsum,
    elementwise,
    grid_sample,
    joining,
    movement,
    norms,
    padding,
    pooling,
    products,
    recurrent,
    reductions,
    resize,
    spellings,
)

__all__ = [
    "conv_transpose",
    "depth_space",
    "einsum",
    "elementwise",
    "grid_sample",
    "joining",
    "movement",
    "norms",
    "padding",
    "pooling",
    "products",
    "recurrent",
    "reductions",
    "resize",
    "spellings",
]
