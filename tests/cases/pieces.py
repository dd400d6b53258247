"""Tensors that are joined or cut along an axis."""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, SMALL, case

CONCAT_SPLIT = [
    case("Concat-two-branches", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 1>(a, b) y = Conv(c, w3)", (3, 4),
         "float[4, 3, 1, 1] w1, float[3, 3, 1, 1] w2, float[2, 7, 1, 1] w3"),
    case("Concat-locked-part", "Concat", "a = Conv(x, w1) c = Concat<axis = -3>(x, a) y = Conv(c, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 7, 1, 1] w2", reason="graph input 'x'"),
    case("Concat-same-twice", "Concat", "a = Conv(x, w1) c = Concat<axis = 1>(a, a) y = Conv(c, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 8, 1, 1] w2"),
    case("Concat-one-channel", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 1>(a, b) y = Conv(c, w3)", (4,),
         "float[4, 3, 1, 1] w1, float[1, 3, 1, 1] w2, float[2, 5, 1, 1] w3", reason="only channel of 'b'|made by Conv node 'b'"),
    case("Concat-in-space", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 3>(a, b) y = Conv(c, w3)", (4,), BRANCHES),
    case("Concat-dense-block", "Concat BatchNormalization",
         "a = Conv(x, w1) n = BatchNormalization(a, s, t, m, pos_v) b = Conv(n, w2) c = Concat<axis = 1>(a, b) "
         "k = BatchNormalization(c, s2, t2, m2, pos_v2) y = Conv(k, w3)", (3, 4),
         "float[4, 3, 1, 1] w1, float[3, 4, 1, 1] w2, float[2, 7, 1, 1] w3, float[4] s, float[4] t, float[4] m, float[4] pos_v, "
         "float[7] s2, float[7] t2, float[7] m2, float[7] pos_v2"),
    *(
        case(f"Split-{name}", "Split Conv",
             f"a = Conv(x, w1) l, r = Split<{attributes}>({operands}) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)",
             tuple(sorted((left, 6 - left))),
             f"float[6, 3, 1, 1] w1, float[2, {left}, 1, 1] w2, float[2, {6 - left}, 1, 1] w3" + sizes, opset=opset)
        for name, opset, attributes, operands, left, sizes in (
            ("attribute", 11, "axis = 1, split = [4, 2]", "a", 4, ""),
            ("attribute-first", 11, "split = [4, 2], axis = 1", "a", 4, ""),
            ("equal-opset-11", 11, "axis = 1", "a", 3, ""),
            ("operand", 13, "axis = -3", "a, sizes", 4, ", int64[2] sizes = {4, 2}"),
            ("equal-opset-13", 13, "axis = 1", "a", 3, ""),
            ("num-outputs", 18, "axis = 1, num_outputs = 2", "a", 3, ""),
        )
    ),
    case("Split-num-outputs-uneven", "Split",
         "a = Conv(x, w1) l, r = Split<axis = 1, num_outputs = 2>(a) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)", (2, 3),
         "float[5, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 2, 1, 1] w3", opset=18),
    case("Split-sizes-from-Shape", "Split Shape",
         "a = Conv(x, w1) s = Shape<start = 1, end = 2>(a) h = Div(s, two) sizes = Concat<axis = 0>(h, h) "
         "l, r = Split<axis = 1>(a, sizes) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)", (3, 3),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 3, 1, 1] w3, int64[1] two = {2}"),
    case("Split-C2f", "Split Concat Add",
         "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) c = Conv(r, wc) d = Conv(c, wd) e = Add(r, d) "
         "f = Concat<axis = 1>(l, r, e) y = Conv(f, w2)", (3, 3, 5),
         "float[6, 3, 1, 1] w1, float[5, 3, 1, 1] wc, float[3, 5, 1, 1] wd, float[2, 9, 1, 1] w2, int64[2] sizes = {3, 3}"),
    case("Split-off-one-channel", "Split", "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) g = Sigmoid(l) b = Mul(r, g) y = Conv(b, w2)", (5,),
         "float[6, 3, 1, 1] w1, float[2, 5, 1, 1] w2, int64[2] sizes = {1, 5}", reason="the only channel that Split node 'l' picks"),
    case("Split-unequal-sizes-from-Shape", "Split Shape",  # c // 3 and the rest
         "a = Conv(x, w1) s = Shape(a) c = Gather(s, one) h = Div(c, three) k = Sub(c, h) sizes = Concat<axis = 0>(h, k) "
         "l, r = Split<axis = 1>(a, sizes) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)", (2, 4),
         "float[6, 3, 1, 1] w1, float[2, 2, 1, 1] w2, float[2, 4, 1, 1] w3, int64[1] one = {1}, int64[1] three = {3}"),
    case("Split-sizes-from-data", "Split ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) f = Slice(q, zero, one) k = Add(f, one) e = Sub(four, k) "
         "sizes = Concat<axis = 0>(k, e) l, r = Split<axis = 1>(a, sizes) b = ReduceSum(l, one) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] minus = {-1}",
         reason="splits this axis at positions that depend on the data"),
    case("Split-NHWC", "Split Transpose MatMul", "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) l, r = Split<axis = -1>(t, sizes) g = Sigmoid(l) m = Mul(r, g) k = MatMul(m, wm) "
         "y = Transpose<perm = [0, 3, 1, 2]>(k)", (3,), "float[6, 3, 1, 1] w1, float[3, 2] wm, int64[2] sizes = {3, 3}"),
    case("Split-in-space", "Split", "a = Conv(x, w1) l, r = Split<axis = 2>(a) b = Sub(l, r) y = Conv(b, w2)", (4,), ENDS, inputs=SMALL),
    case("Split-then-Concat-swapped", "Split Concat MaxPool",
         "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) p = MaxPool<kernel_shape = [1, 1]>(r) "
         "c = Concat<axis = 1>(p, l) y = Conv(c, w2)", (2, 4),  # one weight made and one read, but neither piece may vanish
         "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, int64[2] sizes = {4, 2}"),
]  # fmt: skip
