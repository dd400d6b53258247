"""Data movement."""

from __future__ import annotations

from cases.base import ENDS, ROW, SMALL, case

RESHAPES = [
    case("Flatten-Gemm", "Flatten Gemm", "a = Conv(x, w1) r = Relu(a) f = Flatten(r) y = Gemm<transB = 1>(f, w2, c2)", (4,),
         "float[4, 3, 3, 3] w1, float[2, 64] w2, float[2] c2", inputs=SMALL, outputs=ROW),
    case("Flatten-axis-2", "Flatten Reshape", "a = Conv(x, w1) f = Flatten<axis = 2>(a) r = Reshape(f, t) y = Conv(r, w2)", (4,),
         ENDS + ", int64[4] t = {-1, 4, 6, 6}", inputs=SMALL),
    *(
        case(f"Reshape-{name}", "Reshape Gemm", "a = Conv(x, w1) f = Reshape(a, t) y = Gemm(f, w2)", (4,),
             f"float[4, 3, 1, 1] w1, float[144, 2] w2, int64[2] t = {target}", inputs=SMALL, outputs=ROW)
        for name, target in (("zero-and-infer", "{0, -1}"), ("explicit-count", "{0, 144}"), ("infer-batch", "{-1, 144}"))
    ),
    case("Reshape-attribute-in-Constant", "Reshape Gemm", "t = Constant<value_ints = [-1, 144]>() a = Conv(x, w1) f = Reshape(a, t) y = Gemm(f, w2)",
         (4,), "float[4, 3, 1, 1] w1, float[144, 2] w2", inputs=SMALL, outputs=ROW),
    case("Reshape-shared-target", "Reshape Gemm Add",
         "t = Constant<value = int64[2] {-1, 144}>() a = Conv(x, w1) f = Reshape(a, t) b = Conv(x, w2) g = Reshape(b, t) "
         "yf = Gemm(f, w3) yg = Gemm(g, w4) y = Add(yf, yg)", (4, 4),
         "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[144, 2] w3, float[144, 2] w4", inputs=SMALL, outputs=ROW),
    case("Reshape-shared-target-old-IR", "Reshape Gemm Add",
         "a = Conv(x, w1) f = Reshape(a, t) b = Conv(x, w2) g = Reshape(b, t) yf = Gemm(f, w3, c) yg = Gemm(g, w4, c) y = Add(yf, yg)", (4, 4),
         "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[144, 2] w3, float[144, 2] w4, float[2] c, int64[2] t = {-1, 144}",
         inputs=SMALL, outputs=ROW, opset=8, ir=3),
    case("Reshape-space", "Reshape", "a = Conv(x, w1) f = Reshape(a, t) r = Relu(f) g = Reshape(r, u) y = Conv(g, w2)", (4,),
         ENDS + ", int64[3] t = {0, 4, -1}, int64[4] u = {0, 0, 6, 6}", inputs=SMALL),
    case("Reshape-channel-shuffle", "Reshape Transpose",
         "a = Conv(x, w1) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) b = Reshape(p, u) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[5] t = {0, 2, 4, 6, 6}, int64[4] u = {-1, 8, 6, 6}", inputs=SMALL),
    case("Reshape-shufflenet", "Reshape Transpose Conv",
         "i = Conv(x, w0) a = Conv<group = 2>(i, w1) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) b = Reshape(p, u) "
         "d = Conv<group = 8, pads = [1, 1, 1, 1]>(b, wd) e = Conv<group = 2>(d, w2) y = Conv(e, w3)",
         (2, 2, 2),  # i: 4 = 2 x 2 positions; a: boxes {k, k + 4}, then read in two halves: {0, 2}, {1, 3}; e: 4 = 2 x 2
         "float[4, 3, 1, 1] w0, float[8, 2, 1, 1] w1, float[8, 1, 3, 3] wd, float[4, 4, 1, 1] w2, float[2, 4, 1, 1] w3, "
         "int64[5] t = {0, 2, 4, 6, 6}, int64[4] u = {0, -1, 6, 6}", inputs=SMALL),
    case("Reshape-shuffle-from-Shape", "Reshape Transpose Shape",
         "a = Conv(x, w1) s = Shape(a) i0 = Constant<value = int64 {0}>() n = Gather<axis = 0>(s, i0) n1 = Unsqueeze(n, zero) "
         "i1 = Constant<value = int64 {1}>() c = Gather<axis = 0>(s, i1) h0 = Div(c, two) h1 = Unsqueeze(h0, zero) "
         "i2 = Constant<value = int64 {2}>() h = Gather(s, i2) hh = Unsqueeze(h, zero) i3 = Constant<value = int64 {3}>() w = Gather(s, i3) ww = Unsqueeze(w, zero) "
         "t = Concat<axis = 0>(n1, two1, h1, hh, ww) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) "
         "u = Concat<axis = 0>(n1, minus, hh, ww) b = Reshape(p, u) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[1] zero = {0}, int64 two = {2}, int64[1] two1 = {2}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-in-Concat", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) "
         "t = Concat<axis = 0>(n, four, minus) f = Reshape(a, t) u = Concat<axis = 0>(n, four2, h, w) b = Reshape(f, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] four2 = {4}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-Unsqueezed", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) i0 = Constant<value_int = 0>() n0 = Gather(s, i0) n = Unsqueeze(n0, ax) c0 = Constant<value = int64 {4}>() "
         "c = Unsqueeze(c0, ax) t = Concat<axis = 0>(n, c, minus) f = Reshape(a, t) d = Relu(f) h = Constant<value_int = 4>() hh = Unsqueeze(h, ax) "
         "u = Concat<axis = 0>(n, hh, six, six) b = Reshape(d, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] ax = {0}, int64[1] minus = {-1}, int64[1] six = {6}", inputs=SMALL),
    case("Reshape-tokens-to-rows", "Reshape Transpose Gemm Shape",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) s = Shape<start = 0, end = 3>(t) r = Reshape(t, rows) g = Gemm<transB = 1>(r, wg, cg) "
         "k = Relu(g) u = Concat<axis = 0>(s, five) q = Reshape(k, u) b = Transpose<perm = [0, 3, 1, 2]>(q) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4] wg, float[5] cg, float[2, 5, 1, 1] w2, int64[2] rows = {-1, 4}, int64[1] five = {5}"),
    case("Reshape-baked-count-shared", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) "
         "t = Concat<axis = 0>(n, four, minus) f = Reshape(a, t) u = Concat<axis = 0>(n, four, h, w) b = Reshape(f, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-in-Mul", "Reshape Shape Mul",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) nc = Mul(n, four) "
         "t = Concat<axis = 0>(nc, one, h, w) f = Reshape(a, t) g = MaxPool<kernel_shape = [1, 1]>(f) "
         "u = Concat<axis = 0>(n, minus, h, w) b = Reshape(g, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] minus = {-1}"),
    case("Reshape-blur-in-the-batch", "Reshape Shape Conv",
         "a = Conv(x, w1) s = Shape(a) h = Gather(s, two) w = Gather(s, three) t = Concat<axis = 0>(minus, one, h, w) f = Reshape(a, t) "
         "g = Conv<pads = [1, 1, 1, 1]>(f, blur) b = Reshape(g, s) y = Conv(b, w2)", (4,),
         ENDS + ", float[1, 1, 3, 3] blur, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] minus = {-1}"),
    case("Reshape-count-from-Size", "Reshape Shape Size",
         "a = Conv(x, w1) s = Shape(a) n = Gather(s, zero) z0 = Size(a) z = Unsqueeze(z0, zero) c = Div(z, n) t = Concat<axis = 0>(n, c) "
         "f = Reshape(a, t) y = Gemm(f, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[144, 2] w2, int64[1] zero = {0}", inputs=SMALL, outputs=ROW),
    case("Reshape-mixes-channels-and-space", "Reshape", "a = Conv(x, w1) f = Reshape(a, t) y = Conv(f, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 9, 1, 1] w2, int64[4] t = {0, 9, 4, 4}", inputs=SMALL, reason="slides over|made by"),
    case("Transpose-NHWC-island", "Transpose MatMul Add",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) m0 = MatMul(t, wm) m = Add(m0, c) r = Relu(m) n = MatMul(r, wn) "
         "k = Add(n, t) b = Transpose<perm = [0, 3, 1, 2]>(k) y = Conv(b, w2)", (4, 5),
         ENDS + ", float[4, 5] wm, float[5] c, float[5, 4] wn"),
    case("Squeeze-attribute", "Squeeze Gemm GlobalMaxPool", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze<axes = [2, 3]>(g) y = Gemm(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", outputs=ROW, opset=11),
    case("Squeeze-operand", "Squeeze Gemm", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze(g, axes) y = Gemm(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2, int64[2] axes = {-1, -2}", outputs=ROW),
    case("Squeeze-unnamed-axes", "Squeeze Gemm", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze(g) y = Gemm(q, w2)", (),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", inputs="float[2, 3, H, W] x", outputs="float[2, 2] y", reason="name the axes"),
    case("Unsqueeze-attribute", "Unsqueeze Gemm", "g = Gemm(x, w1) u = Unsqueeze<axes = [2, 3]>(g) y = Conv(u, w2)", (4,),
         "float[3, 4] w1, float[2, 4, 1, 1] w2", inputs="float[N, 3] x", opset=11),
    case("Unsqueeze-operand", "Unsqueeze Squeeze Conv", "a = Conv(x, w1) u = Unsqueeze(a, axes) r = Relu(u) b = Squeeze(r, axes) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] axes = {1}"),
]  # fmt: skip
