"""Tensors that are joined or cut along an axis."""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, SMALL, between, case

CONCAT_SPLIT_SLICE = [
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
    case("Split-in-space", "Split", "a = Conv(x, w1) l, r = Split<axis = 2>(a) b = Sub(l, r) y = Conv(b, w2)", (4,), ENDS, inputs=SMALL),
    case("Split-then-Concat-swapped", "Split Concat MaxPool",
         "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) p = MaxPool<kernel_shape = [1, 1]>(r) "
         "c = Concat<axis = 1>(p, l) y = Conv(c, w2)", (2, 4),  # one weight made and one read, but neither piece may vanish
         "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, int64[2] sizes = {4, 2}"),
    *(
        case(f"Slice-{name}", "Slice Conv Add",
             f"a = Conv(x, w1) b = Slice{slicing} c = Conv(b, w2) d = Conv(a, w3) y = Add(c, d)", widths,
             "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 6, 1, 1] w3" + bounds, opset=opset)
        for name, opset, slicing, widths, bounds in (
            ("attributes", 9, "<starts = [1], ends = [4], axes = [1]>(a)", (3, 3), ""),
            ("attributes-no-axes", 9, "<starts = [0, 3], ends = [9223372036854775807, 6]>(a)", (3, 3), ""),
            ("operands", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {2}, int64[1] e = {5}, int64[1] axis = {1}"),
            ("negative", 13, "(a, s, e, axis, step)", (3, 3),
             ", int64[1] s = {-4}, int64[1] e = {-1}, int64[1] axis = {-3}, int64[1] step = {1}"),
            ("from-before-the-front", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {-100}, int64[1] e = {3}, int64[1] axis = {1}"),
            ("just-before-the-front", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {-7}, int64[1] e = {3}, int64[1] axis = {1}"),
            ("to-int-max", 13, "(a, s, e, axis)", (3, 3),
             ", int64[1] s = {3}, int64[1] e = {9223372036854775807}, int64[1] axis = {1}"),
            ("with-space", 13, "(a, s, e, axis)", (3, 3),
             ", int64[3] s = {0, 0, 1}, int64[3] e = {9223372036854775807, 9223372036854775807, 4}, int64[3] axis = {2, 3, 1}"),
            ("int32", 13, "(a, s, e, axis)", (3, 3), ", int32[1] s = {3}, int32[1] e = {2147483647}, int32[1] axis = {1}"),
        )
    ),
    case("Slice-strided-channels", "Slice", "a = Conv(x, w1) b = Slice(a, s, e, axis, step) y = Conv(b, w2)", (),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] s = {0}, int64[1] e = {6}, int64[1] axis = {1}, int64[1] step = {2}",
         reason="takes every 2th position"),
    case("Slice-reversed-channels", "Slice", "a = Conv(x, w1) b = Slice(a, s, e, axis, step) y = Conv(b, w2)", (),
         ENDS + ", int64[1] s = {-1}, int64[1] e = {-100}, int64[1] axis = {1}, int64[1] step = {-1}", reason="takes every -1th"),
    between("Slice-focus", "Slice Add", "p = Slice(a, s, e, axes, step) q = Slice(a, s2, e, axes, step) b = Add(p, q)",
            "int64[2] s = {0, 0}, int64[2] s2 = {1, 1}, int64[2] e = {2147483647, 2147483647}, int64[2] axes = {2, 3}, int64[2] step = {2, 2}"),
    case("Slice-channel-half-by-float-arithmetic", "Slice Shape",  # c // 2 as older exporters spell it
         "a = Conv(x, w1) sh = Shape(a) c = Gather(sh, one) c_float = Cast<to = 1>(c) h_float = Div(c_float, two) h_floor = Floor(h_float) "
         "h0 = Cast<to = 7>(h_floor) b = Slice(a, zero, h0, one) d = Slice(a, h0, c, one) g = Sigmoid(d) m = Mul(b, g) y = Conv(m, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, float two = {2}"),
    case("Slice-channel-half-by-Shape", "Slice Shape",
         "a = Conv(x, w1) sh = Shape(a) c = Gather(sh, one) h0 = Div(c, two) b = Slice(a, zero, h0, one) d = Slice(a, h0, c, one) "
         "g = Sigmoid(d) m = Mul(b, g) y = Conv(m, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}"),
]  # fmt: skip
