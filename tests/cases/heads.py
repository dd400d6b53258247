"""Selections, counts and random numbers: over space they pass channels on, over channels they keep them."""

from __future__ import annotations

from cases.base import ENDS, ROW, between, case

FEATURES = "float[N, 5] x"

HEADS = [
    between("ArgMax-over-space", "ArgMax", "i = ArgMax<axis = 2>(a) b = Cast<to = 1>(i)"),
    between("ArgMin-over-space", "ArgMin Unsqueeze", "i = ArgMin<axis = -1, keepdims = 0>(a) f = Cast<to = 1>(i) b = Unsqueeze(f, last)",
            "int64[1] last = {3}"),
    *(
        case(f"{op}-over-channels", op, f"a = Conv(x, w1) i = {op}<axis = 1>(a) y = Cast<to = 1>(i)", (), "float[4, 3, 1, 1] w1",
             outputs="float[N, 1, H, W] y", reason=f"{op} node 'i' counts along this axis")
        for op in ("ArgMax", "ArgMin")
    ),
    between("TopK-over-space", "TopK", "v, i = TopK<axis = 3>(a, k) f = Cast<to = 1>(i) b = Add(v, f)", "int64[1] k = {2}"),
    case("TopK-over-channels", "TopK", "a = Conv(x, w1) v, i = TopK<axis = 1>(a, k) y = Conv(v, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] k = {3}", reason="TopK node 'v' sorts along this axis"),
    between("CumSum-over-space", "CumSum", "b = CumSum(a, axis)", "int64 axis = {-1}"),
    case("CumSum-over-channels", "CumSum", "a = Conv(x, w1) s = CumSum(a, axis) y = Conv(s, w2)", (), ENDS + ", int64 axis = {1}",
         reason="CumSum node 's' accumulates along this axis"),
    between("Compress-over-space", "Compress", "b = Compress<axis = 2>(a, takes)", "bool[5] takes = {1, 0, 1, 1, 0}"),
    case("Compress-over-channels", "Compress", "a = Conv(x, w1) b = Compress<axis = 1>(a, takes) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 3, 1, 1] w2, bool[4] takes = {1, 0, 1, 1}", reason="Compress node 'b' selects along this axis"),
    case("Compress-flattened", "Compress", "a = Conv(x, w1) y = Compress(a, takes)", (), "float[4, 3, 1, 1] w1, bool[3] takes = {1, 0, 1}",
         outputs="float[S] y", reason="Compress node 'y': it selects from all positions, flattened"),
    case("Det", "Det Reshape", "a = Gemm(x, w1) m = Reshape(a, matrices) d = Det(m) y = Gemm(d, w2)", (3,),  # 3 matrices of 2 x 2
         "float[5, 12] w1, float[3, 2] w2, int64[4] matrices = {0, 3, 2, 2}", inputs=FEATURES, outputs=ROW),
    case("Det-of-one-matrix", "Det Reshape", "a = Gemm(x, w1) m = Reshape(a, matrix) y = Det(m)", (),
         "float[5, 9] w1, int64[3] matrix = {0, 3, 3}", inputs=FEATURES, outputs="float[N] y",
         reason="Det node 'y' takes the determinant over this axis"),
    case("OneHot", "OneHot", "a = Conv(x, w1) i = Cast<to = 7>(a) y = OneHot(i, depth, off_on)", (),
         "float[4, 3, 1, 1] w1, int64 depth = {3}, float[2] off_on = {0, 1}", outputs="float[N, 4, H, W, 3] y",
         reason="OneHot node 'y': it takes values for positions"),
    case("NonZero", "NonZero", "a = Conv(x, w1) r = Relu(a) y = NonZero(r)", (), "float[4, 3, 1, 1] w1", outputs="int64[4, S] y",
         reason="NonZero node 'y': its results number positions"),
    case("Unique", "Unique", "a = Conv(x, w1) y = Unique(a)", (), "float[4, 3, 1, 1] w1", outputs="float[S] y",
         reason="Unique node 'y': it sorts and compares whole slices"),
    case("NonMaxSuppression", "NonMaxSuppression MatMul",
         "boxes = MatMul(x, wb) scores = MatMul(wc, z) y = NonMaxSuppression(boxes, scores, most)", (),
         "float[5, 4] wb, float[3, 6] wc, int64[1] most = {2}", inputs="float[1, 7, 5] x, float[1, 6, 7] z", outputs="int64[S, 3] y",
         reason="NonMaxSuppression node 'y': it selects boxes by their values"),
    case("Multinomial", "Multinomial", "a = Gemm(x, w1) y = Multinomial<sample_size = 2>(a)", (), "float[5, 4] w1", inputs=FEATURES,
         outputs="int32[N, 2] y", reason="Multinomial node 'y': it draws a random number"),
    *(
        case(op, op, f"a = Conv(x, w1) s = Sigmoid(a) r = {op}<seed = 1.0>(s) b = Add(a, r) y = Conv(b, w2)", (), ENDS,
             reason=f"{op} node 'r': it draws a random number for every position")
        for op in ("Bernoulli", "RandomNormalLike", "RandomUniformLike")
    ),
]  # fmt: skip
