"""Reductions and normalisations along axes."""

from __future__ import annotations

from cases.base import ENDS, ROW, SMALL, between, case

REDUCTIONS = [
    between("Softmax-over-space", "Softmax", "b = Softmax<axis = 3>(a)"),
    between("LogSoftmax-over-space", "LogSoftmax", "b = LogSoftmax<axis = -1>(a)"),
    between("Hardmax-over-space", "Hardmax", "b = Hardmax<axis = 2>(a)"),
    between("Softmax-opset-11-over-space", "Softmax", "b = Softmax<axis = 2>(a)", opset=11),
    *(
        case(f"{op}-over-channels", op, f"a = Conv(x, w1) b = {op}<axis = 1>(a) y = Conv(b, w2)", (), ENDS,
             reason=f"{op} node 'b' normalises over this axis")
        for op in ("Softmax", "LogSoftmax", "Hardmax")
    ),
    case("Softmax-opset-11-default-axis", "Softmax", "a = Conv(x, w1) b = Softmax(a) y = Conv(b, w2)", (), ENDS, opset=11,
         reason="normalises over this axis"),
    *(
        between(f"{op}-keepdims", op, f"t = Tanh(a) e = Exp(t) b = {op}<axes = [3]>(e)", opset=12)
        for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
                   "ReduceProd", "ReduceSum", "ReduceSumSquare")
    ),
    case("ReduceMean-keepdims-0", "ReduceMean Gemm", "a = Conv(x, w1) r = ReduceMean<axes = [2, 3], keepdims = 0>(a) y = Gemm(r, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", outputs=ROW),
    case("ReduceMean-operand", "ReduceMean Gemm", "a = Conv(x, w1) r = ReduceMean<keepdims = 0>(a, axes) y = Gemm(r, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2, int64[2] axes = {-1, -2}", outputs=ROW, opset=18),
    between("ReduceSum-operand", "ReduceSum", "b = ReduceSum(a, axes)", "int64[1] axes = {2}", opset=13),
    between("ReduceSum-noop", "ReduceSum", "b = ReduceSum<noop_with_empty_axes = 1>(a, none)", "int64[0] none = {}", opset=13),
    case("ReduceMean-over-channels", "ReduceMean", "a = Conv(x, w1) m = ReduceMean<axes = [1]>(a) y = Conv(m, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2", reason="ReduceMean node 'm' reduces this axis"),
    case("ReduceMax-over-all", "ReduceMax", "a = Conv(x, w1) m = ReduceMax<keepdims = 0>(a) y = Add(m, m)", (),
         "float[4, 3, 1, 1] w1", outputs="float y", reason="ReduceMax node 'm' reduces this axis"),
    case("group-norm-by-reductions", "ReduceMean Sub Div Reshape",  # 4 groups of 2 channels
         "a = Conv(x, w1) r = Reshape(a, groups) m = ReduceMean<axes = [2, 3, 4]>(r) c = Sub(r, m) q = Mul(c, c) v = ReduceMean<axes = [2, 3, 4]>(q) "
         "e = Add(v, eps) d = Sqrt(e) n = Div(c, d) sh = Shape(a) k = Reshape(n, sh) p = Mul(k, s) b = Add(p, t) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, float[8, 1, 1] s, float[8, 1, 1] t, float eps = {0.001}, int64[5] groups = {0, 4, 2, 6, 6}",
         inputs=SMALL),
    case("ReduceMax-maxout", "ReduceMax Reshape", "a = Conv(x, w1) r = Reshape(a, pieces) b = ReduceMax<axes = [2], keepdims = 0>(r) y = Conv(b, w2)",
         (4,), "float[12, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[5] pieces = {0, 4, 3, 6, 6}", inputs=SMALL),
    case("ReduceMax-maxout-interleaved", "ReduceMax Reshape",
         "a = Conv(x, w1) r = Reshape(a, pieces) b = ReduceMax<axes = [1], keepdims = 0>(r) y = Conv(b, w2)", (4,),
         "float[12, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[5] pieces = {0, 3, 4, 6, 6}", inputs=SMALL),
    case("Softmax-split-attention", "Softmax ReduceSum GlobalAveragePool",  # two branches share their channels
         "a = Conv(x, w1) r = Reshape(a, radix) s = ReduceSum<keepdims = 0>(r, one) g = GlobalAveragePool(s) h = Conv(g, wh) u = Relu(h) "
         "l = Conv(u, wl) k = Reshape(l, radix1) p = Softmax<axis = 1>(k) m = Mul(r, p) b = ReduceSum<keepdims = 0>(m, one) y = Conv(b, w2)", (3, 4),
         "float[8, 3, 1, 1] w1, float[3, 4, 1, 1] wh, float[8, 3, 1, 1] wl, float[2, 4, 1, 1] w2, int64[1] one = {1}, "
         "int64[5] radix = {0, 2, 4, 6, 6}, int64[5] radix1 = {0, 2, 4, 1, 1}", inputs=SMALL),
    case("Softmax-in-groups-opset-11", "Softmax Reshape",  # from `axis` on everything is one block
         "a = Conv(x, w1) r = Reshape(a, groups) n = Softmax<axis = 2>(r) b = Reshape(n, back) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[5] groups = {0, 4, 2, 6, 6}, int64[4] back = {0, 8, 6, 6}", inputs=SMALL, opset=11),
    case("ReduceMean-across-groups-and-within", "ReduceMean",
         "a = Conv(x, w1) r = Reshape(a, groups) m = ReduceMean<axes = [1]>(r) n = ReduceMean<axes = [2]>(m) b = Add(r, n) c = Reshape(b, back) "
         "y = Conv(c, w2)", (),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[5] groups = {0, 4, 2, 6, 6}, int64[4] back = {0, 8, 6, 6}", inputs=SMALL,
         reason="ReduceMean node 'n' reduces this axis"),
    case("Softmax-across-groups-and-within", "Softmax",
         "a = Conv(x, w1) r = Reshape(a, groups) m = Softmax<axis = 1>(r) n = Softmax<axis = 2>(m) c = Reshape(n, back) y = Conv(c, w2)", (),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[5] groups = {0, 4, 2, 6, 6}, int64[4] back = {0, 8, 6, 6}", inputs=SMALL,
         reason="all channels of '.*' go or stay together"),
]  # fmt: skip
