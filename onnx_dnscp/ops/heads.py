"""Operators at the end of detectors and the like, whose results depend on the number or order of positions."""

from __future__ import annotations

from onnx_dnscp.ops.registry import Op, Refusal, op_rule
from onnx_dnscp.ops.table import MICROSOFT

_RANDOM = "it draws a random number for every position, and others if there are fewer"
_WHOLE = {
    "AffineGrid": "its matrices say where to sample",
    "Attention": "the heads of attention are not pruned",
    "Bernoulli": _RANDOM,
    "MaxUnpool": "its indices number positions across channels",
    "MultiHeadAttention": "the heads of attention are not pruned",
    "Multinomial": _RANDOM,
    "NonMaxSuppression": "it selects boxes by their values",
    "NonZero": "its results number positions",
    "OneHot": "it takes values for positions",
    "RandomNormalLike": _RANDOM,
    "RandomUniformLike": _RANDOM,
    "Unique": "it sorts and compares whole slices",
}


@op_rule("Attention", "MultiHeadAttention", domain=MICROSOFT)
@op_rule(*(_WHOLE.keys() - {"MultiHeadAttention"}))
def needs_all(op: Op) -> Refusal:
    """Every position of every operand counts."""
    return Refusal(_WHOLE[op.node.op_type])
