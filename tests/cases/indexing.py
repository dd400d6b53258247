"""Positions that are picked or written."""

from __future__ import annotations

from cases.base import ENDS, SMALL, case

SIX = "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w3"  # x (3) -> a (6) -> y (2), and what is picked from a
PICKED = "yb = Conv(b, w2) ya = Conv(a, w3) y = Add(yb, ya)"

INDEXING = [
    *(
        case(f"Gather-{name}", "Gather", f"a = Conv(x, w1) b = Gather<axis = {axis}>(a, i) {PICKED}", widths,
             f"{SIX}, float[2, {count}, 1, 1] w2, {dtype}[{count}] i = {{{indices}}}", opset=opset, ir=ir)
        for name, indices, count, widths, axis, dtype, opset, ir in (
            ("permutation", "3, 0, 5, 1, 4, 2", 6, (6,), 1, "int64", 17, 8),
            ("subset", "4, 0, 2", 3, (3, 3), 1, "int64", 17, 8),
            ("repeated", "1, 1, 4, 1", 4, (2, 4), 1, "int64", 17, 8),
            ("negative", "-1, 0, -3, 2", 4, (2, 4), -3, "int64", 17, 8),
            ("int32-old-IR", "5, 3, 1", 3, (3, 3), 1, "int32", 7, 3),
        )
    ),
    case("Gather-shuffle", "Gather Conv", "a = Conv(x, w1) b = Gather<axis = 1>(a, i) d = Conv<group = 6>(b, wd) y = Conv(d, w3)", (6,), SIX + ", float[6, 1, 1, 1] wd, int64[6] i = {0, 3, 1, 4, 2, 5}"),
    case("Gather-shared-indices", "Gather Add", "a = Conv(x, w1) c = Conv(x, w4) b = Gather<axis = 1>(a, i) d = Gather<axis = 1>(c, i) yb = Conv(b, w2) yd = Conv(d, w3) y = Add(yb, yd)", (6, 6),
         "float[6, 3, 1, 1] w1, float[6, 3, 1, 1] w4, float[2, 6, 1, 1] w2, float[2, 6, 1, 1] w3, int64[6] i = {3, 0, 5, 1, 4, 2}"),
    case("Gather-Constant-list", "Gather", f"i = Constant<value_ints = [4, 0, 2]>() a = Conv(x, w1) b = Gather<axis = 1>(a, i) {PICKED}", (3, 3), SIX + ", float[2, 3, 1, 1] w2"),
    case("Gather-chain-of-constants", "Gather Concat", f"i = Concat<axis = 0>(l, r) a = Conv(x, w1) b = Gather<axis = 1>(a, i) {PICKED}", (2, 4),
         SIX + ", float[2, 4, 1, 1] w2, int64[2] l = {4, 0}, int64[2] r = {2, 1}"),
    case("Gather-one-channel", "Gather", "a = Conv(x, w1) b = Gather<axis = 1>(a, i) g = Sigmoid(b) m = Mul(a, g) y = Conv(m, w3)", (5,), SIX + ", int64[1] i = {2}", reason="the only channel that Gather node 'b' picks"),
    case("Gather-scalar", "Gather Unsqueeze", "a = Conv(x, w1) b = Gather<axis = 1>(a, i) g = Sigmoid(b) u = Unsqueeze(g, one) m = Mul(a, u) y = Conv(m, w3)", (5,), SIX + ", int64 i = {-2}, int64[1] one = {1}",
         reason="the only channel that Gather node 'b' picks"),
    case("Gather-scalar-of-boxes", "Gather Reshape", "a = Conv(x, w1) r = Reshape(a, t) q = Gather<axis = 1>(r, zero) k = Gather<axis = 1>(r, one) g = Tanh(k) b = Mul(q, g) y = Conv(b, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[5] t = {0, 2, 3, 6, 6}, int64 zero = {0}, int64 one = {1}", inputs=SMALL),
    case("Gather-rank-2", "Gather Reshape", "a = Conv(x, w1) g = Gather<axis = 1>(a, i) b = Reshape(g, t) y = Conv(b, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, int64[2, 3] i = {5, 0, 3, 1, 2, 4}, int64[4] t = {0, 6, 6, 6}", inputs=SMALL),
    case("Gather-space", "Gather", "a = Conv(x, w1) b = Gather<axis = 2>(a, i) y = Conv(b, w2)", (4,), ENDS + ", int64[3] i = {0, 2, 1}"),
    case("Gather-space-scalar", "Gather Unsqueeze", "a = Conv(x, w1) g = Gather<axis = 3>(a, i) b = Unsqueeze(g, minus) y = Conv(b, w2)", (4,), ENDS + ", int64 i = {0}, int64[1] minus = {-1}"),
    case("Gather-NHWC", "Gather Transpose MatMul", "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) b = Gather<axis = -1>(t, i) m = MatMul(b, wm) y = Transpose<perm = [0, 3, 1, 2]>(m)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] wm, int64[4] i = {3, 2, 1, 0}"),
    case("Gather-computed-indices", "Gather ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) b = Gather<axis = 1>(a, q) r = ReduceSum(b, one) y = Conv(r, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2, int64[1] one = {1}, int64[1] minus = {-1}", reason="picks from this axis by computed indices"),
    case("Gather-computed-indices-elsewhere", "Gather ArgMax", "a = Conv(x, w1) m = GlobalMaxPool(x) p = ArgMax<axis = 1>(m) q = Reshape(p, minus) b = Gather<axis = 2>(a, q) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] minus = {-1}"),
    case("Gather-reversed-by-Range", "Gather Range Shape", "a = Conv(x, w1) s = Shape(a) c = Gather(s, one) l = Sub(c, one) i = Range(l, minus, minus) b = Gather<axis = 1>(a, i) y = Conv(b, w2)", (4,),
         ENDS + ", int64 one = {1}, int64 minus = {-1}"),
    case("Gather-by-Range-of-constants", "Gather Range", f"i = Range(zero, three, one) a = Conv(x, w1) b = Gather<axis = 1>(a, i) {PICKED}", (3, 3),
         SIX + ", float[2, 3, 1, 1] w2, int64 zero = {0}, int64 one = {1}, int64 three = {3}"),
    case("Gather-by-Range-of-a-third", "Gather Range Shape Div", f"a = Conv(x, w1) s = Shape(a) c = Gather(s, one) h = Div(c, three) i = Range(zero, h, one) b = Gather<axis = 1>(a, i) {PICKED}", (2, 4),
         SIX + ", float[2, 2, 1, 1] w2, int64 zero = {0}, int64 one = {1}, int64 three = {3}"),
    case("Gather-embedding", "Gather MatMul", "k = Cast<to = 7>(x) e = Gather(table, k) m = Relu(e) y = MatMul(m, w2)", (5,), "float[9, 5] table, float[5, 2] w2",
         inputs="int32[N, L] x", outputs="float[N, L, 2] y", reason="computed indices|graph output"),
    case("GatherND-space", "GatherND Transpose MatMul", "a = Conv(x, w1) t = Transpose<perm = [2, 3, 0, 1]>(a) g = GatherND(t, i) y = MatMul(g, wm)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] wm, int64[3, 2] i = {0, 1, 2, 2, 1, 0}", outputs="float[3, N, 2] y"),
    case("GatherND-batch-dims", "GatherND Transpose MatMul", "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) g = GatherND<batch_dims = 1>(t, i) y = MatMul(g, wm)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] wm, int64[1, 2, 2] i = {0, 1, 2, 2}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 2] y"),
    case("GatherND-channels", "GatherND", "a = Conv(x, w1) t = Transpose<perm = [1, 0, 2, 3]>(a) g = GatherND(t, i) b = Transpose<perm = [1, 0, 2, 3]>(g) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 2, 1, 1] w2, int64[2, 1] i = {0, 3}", reason="picks single positions"),
    case("GatherElements", "GatherElements Conv", "i = Conv(x, w0) a = Conv(i, w1) m = ArgMax<axis = 1>(a) b = GatherElements<axis = 1>(a, m) y = Conv(b, w2)", (3,),
         "float[3, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2", reason="picks single positions|counts along"),
    case("ScatterElements", "ScatterElements Conv", "i = Conv(x, w0) a = Conv(i, w1) b = ScatterElements<axis = 1>(a, k, u) y = Conv(b, w2)", (3,),
         "float[3, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[1, 1, 1, 1] k = {2}, float[1, 1, 1, 1] u", reason="picks single positions"),
    case("Scatter", "Scatter Conv", "i = Conv(x, w0) a = Conv(i, w1) b = Scatter<axis = 1>(a, k, u) y = Conv(b, w2)", (3,),
         "float[3, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64[1, 1, 1, 1] k = {2}, float[1, 1, 1, 1] u", opset=9, reason="picks single positions"),
    case("ScatterND-rows", "ScatterND Transpose MatMul", "a = Conv(x, w1) c = Conv(x, w3) t = Transpose<perm = [2, 0, 3, 1]>(a) v = Transpose<perm = [2, 0, 3, 1]>(c) v1 = Gather(v, k) g = ScatterND(t, i, v1) "
         "m = MatMul(g, wm) y = Transpose<perm = [1, 3, 0, 2]>(m)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w3, float[4, 2] wm, int64[1, 1] i = {1}, int64[1] k = {2}"),
    case("ScatterND-stored-updates", "ScatterND Transpose MatMul", "a = Conv(x, w1) t = Transpose<perm = [2, 3, 0, 1]>(a) g = ScatterND(t, i, v) m = MatMul(g, wm) y = Transpose<perm = [2, 3, 0, 1]>(m)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] wm, float[2, 1, 4] v, int64[2, 2] i = {1, 0, 2, 2}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y"),
    case("ScatterND-channels", "ScatterND Transpose Conv", "i0 = Conv(x, w0) a = Conv(i0, w1) t = Transpose<perm = [1, 0, 2, 3]>(a) g = ScatterND(t, i, v) b = Transpose<perm = [1, 0, 2, 3]>(g) y = Conv(b, w2)", (3,),
         "float[3, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, float[1, 1, 6, 6] v, int64[1, 1] i = {1}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y", reason="picks single positions"),
    case("ReverseSequence-space", "ReverseSequence Transpose", "a = Conv(x, w1) t = Transpose<perm = [2, 0, 1, 3]>(a) r = ReverseSequence<time_axis = 0, batch_axis = 1>(t, n) b = Transpose<perm = [1, 2, 0, 3]>(r) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] n = {3}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y"),
    case("ReverseSequence-channels", "ReverseSequence", "a = Conv(x, w1) b = ReverseSequence<time_axis = 1, batch_axis = 0>(a, n) y = Conv(b, w2)", (),
         ENDS + ", int64[1] n = {3}", inputs="float[1, 3, 6, 6] x", outputs="float[1, 2, 6, 6] y", reason="picks single positions"),
    case("Trilu-space", "Trilu", "a = Conv(x, w1) b = Trilu(a) y = Conv(b, w2)", (4,), ENDS),
    case("Trilu-channels", "Trilu Transpose", "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) u = Trilu<upper = 0>(t) b = Transpose<perm = [0, 3, 1, 2]>(u) y = Conv(b, w2)", (), ENDS, reason="picks single positions"),
    case("EyeLike", "EyeLike Flatten Conv", "a = Conv(x, w1) g = GlobalMaxPool(a) f = Flatten(g) e = EyeLike(f) u = Unsqueeze(e, ax) b = Add(a, u) y = Conv(b, w2)", (), ENDS + ", int64[2] ax = {2, 3}", reason="diagonal as long as the operand"),
    *(
        case(f"{name}", covers, f"i = Conv(x, w0) a = Conv(i, w1) {body} y = Conv(b, w2)", (3,),
             "float[3, 3, 1, 1] w0, float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, int64 zero = {0}, int64 two = {2}", reason="sequence|is no tensor")
        for name, covers, body in (
            ("sequence-split", "SplitToSequence ConcatFromSequence", "s = SplitToSequence<axis = 1>(a, two) b = ConcatFromSequence<axis = 1>(s)"),
            ("sequence-construct", "SequenceConstruct SequenceInsert SequenceErase SequenceAt", "c = Relu(a) s = SequenceConstruct(a, c) t = SequenceInsert(s, a) u = SequenceErase(t, zero) b = SequenceAt(u, zero)"),
        )
    ),
]  # fmt: skip
