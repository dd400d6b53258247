"""Slices of an axis."""

from __future__ import annotations

from cases.base import ENDS, between, case

SLICES = [
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
    *(  # blocks of |step| channels; both halves of a block are read by c, all of it by d
        case(f"Slice-strided-{name}", "Slice Conv Add",
             "a = Conv(x, w1) b = Slice(a, s, e, axis, step) c = Conv(b, w2) d = Conv(a, w3) y = Add(c, d)", widths,
             f"float[{size}, 3, 1, 1] w1, float[2, {picked}, 1, 1] w2, float[2, {size}, 1, 1] w3, int64[1] s = {{{start}}}, "
             f"int64[1] e = {{{end}}}, int64[1] axis = {{1}}, int64[1] step = {{{step}}}", reason=reason)
        for name, size, start, end, step, picked, widths, reason in (
            ("every-second", 8, 0, 8, 2, 4, (4,), ""),
            ("every-second-from-1", 8, 1, "9223372036854775807", 2, 4, (4,), ""),
            ("every-second-in-the-middle", 12, 3, 9, 2, 3, (3, 3), ""),  # blocks 1, 2, 3 of 0 .. 5
            ("every-second-to-the-middle-of-a-block", 12, 2, 7, 2, 3, (3, 3), ""),
            ("every-third-negative", 12, -8, -1, 3, 3, (1, 3), ""),  # 4, 7, 10
            ("every-second-uneven", 7, 0, 7, 2, 4, (3,), "ends in a part of a block"),
            ("reversed", 6, -1, -100, -1, 6, (6,), ""),
            ("reversed-part", 8, -2, 2, -1, 4, (4, 4), ""),  # 6, 5, 4, 3
            ("reversed-to-INT-MIN", 8, 5, "-9223372036854775807", -1, 6, (2, 6), ""),
            ("reversed-every-second", 12, 9, 2, -2, 4, (2, 4), ""),  # 9, 7, 5, 3: blocks 4, 3, 2, 1
            ("reversed-every-second-from-the-end", 12, "9223372036854775807", -9, -2, 4, (2, 4), ""),  # 11, 9, 7, 5
            ("reversed-every-third-uneven", 8, 7, -100, -3, 3, (2,), "ends in a part of a block"),  # 7, 4, 1
        )
    ),
    case("Slice-even-and-odd", "Slice", "a = Conv(x, w1) l = Slice(a, s0, e, axis, step) r = Slice(a, s1, e, axis, step) g = Sigmoid(l) b = Mul(g, r) y = Conv(b, w2)",
         (4,), "float[8, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[1] s0 = {0}, int64[1] s1 = {1}, int64[1] e = {8}, int64[1] axis = {1}, int64[1] step = {2}"),
    case("Slice-one-channel", "Slice", "a = Conv(x, w1) l = Slice(a, s, e, axis) g = Sigmoid(l) b = Mul(a, g) y = Conv(b, w2)", (3,),
         ENDS + ", int64[1] s = {2}, int64[1] e = {3}, int64[1] axis = {1}", reason="the only channel that Slice node 'l' picks"),
    case("Slice-NHWC", "Slice Transpose MatMul",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) l = Slice(t, zero, three, minus) r = Slice(t, three, end, minus) g = Tanh(r) m = Mul(l, g) "
         "k = MatMul(m, wm) b = Transpose<perm = [0, 3, 1, 2]>(k) y = Conv(b, w2)", (3, 4),
         "float[6, 3, 1, 1] w1, float[3, 4] wm, float[2, 4, 1, 1] w2, int64[1] zero = {0}, int64[1] three = {3}, int64[1] end = {2147483647}, int64[1] minus = {-1}"),
    case("Slice-bounds-from-data", "Slice ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) f = Slice(q, zero, one) "
         "e = Add(f, three) b = Slice(a, zero, e, one) r = ReduceSum(b, one) y = Conv(r, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, int64[1] minus = {-1}",
         reason="at bounds that depend on the data"),
    case("Slice-unequal-parts-by-Shape", "Slice Shape",  # c // 3 and the rest: the bounds have to be corrected
         "a = Conv(x, w1) sh = Shape(a) c = Gather(sh, one) h = Div(c, three) b = Slice(a, zero, h, one) d = Slice(a, h, c, one) "
         "yb = Conv(b, w2) yd = Conv(d, w3) y = Add(yb, yd)", (2, 4),
         "float[6, 3, 1, 1] w1, float[2, 2, 1, 1] w2, float[2, 4, 1, 1] w3, int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}"),
    case("Slice-shared-bounds-old-IR", "Slice",
         "a = Conv(x, w1) c = Conv(x, w4) b = Slice(a, zero, three, one) d = Slice(c, zero, three, one) yb = Conv(b, w2) yd = Conv(d, w3) y = Add(yb, yd)", (3, 3),
         "float[6, 3, 1, 1] w1, float[6, 3, 1, 1] w4, float[2, 3, 1, 1] w2, float[2, 3, 1, 1] w3, int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}",
         opset=10, ir=3),
]  # fmt: skip
