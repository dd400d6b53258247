"""Operators of several families that are newer than the installed runtime, or have no kernel in it."""

from __future__ import annotations

from cases.base import ENDS, case

STATIC = {"inputs": "float[1, 3, 6, 6] x", "outputs": "float[1, 2, 6, 6] y"}
NEWER_NOT_RUN = [
    case("DeformConv", "DeformConv", "a = Conv(x, w1) b = DeformConv<pads = [1, 1, 1, 1]>(a, wd, offsets, bd, weights) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4, 3, 3] wd, float[5] bd, float[1, 18, 6, 6] offsets, float[1, 9, 6, 6] weights, float[2, 5, 1, 1] w2",
         opset=19, **STATIC),
    case("DeformConv-grouped", "DeformConv",
         "a = Conv(x, w1) o = Conv(x, wo) b = DeformConv<group = 4, kernel_shape = [1, 1]>(a, wd, o) y = Conv(b, w2)", (4,),
         ENDS + ", float[4, 1, 1, 1] wd, float[2, 3, 1, 1] wo", opset=22, **STATIC, reason="DeformConv node 'b' samples where it says"),
    case("DeformConv-offset-groups", "DeformConv",
         "a = Conv(x, w1) b = DeformConv<offset_group = 2>(a, wd, offsets) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[4, 4, 1, 1] wd, float[1, 4, 6, 6] offsets, float[2, 4, 1, 1] w2", opset=19, **STATIC,
         reason="DeformConv node 'b': its offset groups partition the channels"),
    case("RMSNormalization-over-space", "RMSNormalization", "a = Conv(x, w1) b = RMSNormalization<axis = 2>(a, s) y = Conv(b, w2)", (4,),
         ENDS + ", float[6, 6] s", opset=23, **STATIC),
    case("RMSNormalization-over-channels", "RMSNormalization", "a = Conv(x, w1) b = RMSNormalization<axis = 1>(a, s) y = Conv(b, w2)", (),
         ENDS + ", float[4, 6, 6] s", opset=23, **STATIC, reason="RMSNormalization node 'b' normalises over this axis"),
    case("CumProd-over-space", "CumProd", "a = Conv(x, w1) b = CumProd(a, axis) y = Conv(b, w2)", (4,), ENDS + ", int64 axis = {2}",
         opset=26, **STATIC),
    case("Attention", "Attention", "a = MatMul(x, w1) o = Attention<q_num_heads = 2, kv_num_heads = 2>(a, a, a) y = MatMul(o, w2)", (),
         "float[5, 4] w1, float[4, 2] w2", opset=23, inputs="float[1, 3, 5] x", outputs="float[1, 3, 2] y",
         reason="Attention node 'o': the heads of attention are not pruned"),
]  # fmt: skip
