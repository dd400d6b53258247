"""Counts of channels that the graph reads, and channels that are tied by counting."""

from __future__ import annotations

from cases.base import ENDS, IMAGE, case

FIXED_IMAGE = "float[1, 3, 6, 6] x"

COUNTS = [
    case("Shape-channel-count-as-a-number", "Shape Gather Cast Sqrt Div",
         "a = Conv(x, w1) s = Shape(a) c = Gather<axis = 0>(s, one) f = Cast<to = 1>(c) r = Sqrt(f) d = Div(a, r) y = Conv(d, w2)", (),
         ENDS + ", int64 one = {1}", reason="Div node 'd' uses the size of 'a' as a number"),
    case("Shape-height-as-a-number", "Shape Gather Cast Sqrt Div",
         "a = Conv(x, w1) s = Shape(a) c = Gather<axis = 0>(s, two) f = Cast<to = 1>(c) r = Sqrt(f) d = Div(a, r) y = Conv(d, w2)", (4,),
         ENDS + ", int64 two = {2}"),
    case("Shape-channel-count-as-another-size", "Shape Slice ReduceSum",
         "a = Conv(x, w1) s = Shape<start = 1, end = 2>(a) e = Slice(z, zero, s, zero) t = ReduceSum<keepdims = 0>(e) ya = Conv(a, w2) y = Add(ya, t)",
         (4,), ENDS + ", int64[1] zero = {0}", inputs=IMAGE + ", float[6] z"),
    case("Reshape-square-shuffle", "Reshape Transpose",
         "a = Conv(x, w1) b = Reshape(a, apart) c = Transpose<perm = [0, 2, 1, 3, 4]>(b) d = Reshape(c, back) y = Conv(d, w2)", (2,),
         ENDS + ", int64[5] apart = {0, 2, 2, 6, 6}, int64[4] back = {0, 4, 6, 6}", inputs=FIXED_IMAGE),
    case("Expand-grey-image", "Expand", "c = Expand(x, three) a = Conv(c, w1) y = Conv(a, w2)", (4,),
         ENDS + ", int64[4] three = {1, 3, 1, 1}", inputs="float[N, 1, H, W] x", reason="channels that no weight makes"),
    case("Conv-groups-across-a-Concat", "Conv Concat",
         "a = Conv(x, w1) p = Conv(x, w0) b = Conv<group = 2>(a, wg) c = Concat<axis = 1>(p, b) d = Conv<group = 2>(c, wh) y = Conv(d, w2)",
         (2, 2, 2),
         "float[4, 3, 1, 1] w1, float[4, 2, 1, 1] wg, float[4, 3, 1, 1] w0, float[4, 4, 1, 1] wh, float[2, 4, 1, 1] w2"),
    case("Conv-weight-is-a-product", "Mul Conv", "k = Mul(w2, m) a = Conv(x, w1) y = Conv(a, k)", (4,),
         ENDS + ", float[2, 4, 1, 1] m"),
    case("Conv-weight-is-a-piece", "Slice Conv", "k = Slice(w, zero, four, one) a = Conv(x, w1) y = Conv(a, k)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 6, 1, 1] w, int64[1] zero = {0}, int64[1] four = {4}, int64[1] one = {1}"),
    case("Conv-weight-is-a-sum", "Add Conv", "k = Add(w2, m) a = Conv(x, w1) y = Conv(a, k)", (),
         ENDS + ", float[2, 4, 1, 1] m", reason="its weight is computed by Add node 'k'"),
]  # fmt: skip
