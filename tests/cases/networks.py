"""Blocks of well-known convolutional networks, as their exporters write them.

The numbers in brackets are the channels of a tensor. Whole blocks meet rules that single operators do not: what a Concat
joins, a shuffle spreads and a grouped convolution ties.
"""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, IMAGE, MAPS, SMALL, case

TWO_MAPS = MAPS + ", float[N, 2, R, S] z"
DOUBLED = "float[4] double = {1, 1, 2, 2}"
BATCH_NORM = "float[{n}] s{i}, float[{n}] t{i}, float[{n}] m{i}, float[{n}] pos_v{i}"


def _batch_norm(index: int, channels: int) -> str:
    return ", " + BATCH_NORM.format(i=index, n=channels)


# Gates: a [4] is weighed by factors that 2 hidden channels of a small network give.
_GATE = ENDS + ", float[2, 4] we, float[2] be, float[4, 2] wf, float[4] bf"
_MEANS = (
    "a = Conv(x, w1) g = ReduceMean<axes = [2, 3], keepdims = 0>(a) "
    "e = Gemm<transB = 1>(g, we, be) r = Relu(e) f = Gemm<transB = 1>(r, wf, bf) s = Sigmoid(f) "
)
_CHANNEL_GATE = (
    "a = Conv(x, w1) g = GlobalAveragePool(a) h = GlobalMaxPool(a) e = Conv(g, we) i = Conv(h, we) r = Relu(e) j = Relu(i) "
    "f = Conv(r, wf) k = Conv(j, wf) sum = Add(f, k) s = Sigmoid(sum) m = Mul(a, s) "
)

GATES = [
    case("SE-HardSwish", "HardSigmoid HardSwish",
         "c = Conv(x, w1) a = HardSwish(c) g = GlobalAveragePool(a) e = Conv(g, we) r = Relu(e) f = Conv(r, wf) "
         "s = HardSigmoid<alpha = 0.1666667>(f) m = Mul(s, a) y = Conv(m, w2)", (2, 4),
         ENDS + ", float[2, 4, 1, 1] we, float[4, 2, 1, 1] wf"),
    case("SE-Gemm-Reshape", "ReduceMean Gemm Reshape Mul", _MEANS + "u = Reshape(s, t) m = Mul(a, u) y = Conv(m, w2)", (2, 4),
         _GATE + ", int64[4] t = {-1, 4, 1, 1}"),
    case("SE-Gemm-Unsqueeze", "ReduceMean Gemm Unsqueeze Mul", _MEANS + "u = Unsqueeze(s, t) m = Mul(a, u) y = Conv(m, w2)", (2, 4),
         _GATE + ", int64[2] t = {2, 3}"),
    case("SE-Reshape-from-Shape", "Reshape Shape Gather", _MEANS +
         "sh = Shape(a) n = Gather(sh, i0) c = Gather(sh, i1) nu = Unsqueeze(n, first) cu = Unsqueeze(c, first) "
         "t = Concat<axis = 0>(nu, cu, ones) u = Reshape(s, t) m = Mul(a, u) y = Conv(m, w2)", (2, 4),
         _GATE + ", int64 i0 = {0}, int64 i1 = {1}, int64[1] first = {0}, int64[2] ones = {1, 1}"),
    case("SE-Expand", "Expand Shape", _MEANS + "u = Unsqueeze(s, t) sh = Shape(a) v = Expand(u, sh) m = Mul(a, v) y = Conv(m, w2)", (2, 4),
         _GATE + ", int64[2] t = {2, 3}"),
    case("SE-channels-last", "Transpose ReduceMean MatMul Add",
         "c = Conv(x, w1) a = Transpose<perm = [0, 2, 3, 1]>(c) g = ReduceMean<axes = [1, 2], keepdims = 0>(a) p = MatMul(g, we) "
         "e = Add(p, be) r = Relu(e) q = MatMul(r, wf) f = Add(q, bf) s = Sigmoid(f) u = Reshape(s, t) m = Mul(a, u) "
         "b = Transpose<perm = [0, 3, 1, 2]>(m) y = Conv(b, w2)", (2, 4),
         ENDS + ", float[4, 2] we, float[2] be, float[2, 4] wf, float[4] bf, int64[4] t = {-1, 1, 1, 4}"),
    case("ECA", "Conv Squeeze Transpose",  # a 1-d convolution slides over the channels
         "a = Conv(x, w1) g = GlobalAveragePool(a) q = Squeeze(g, last) t = Transpose<perm = [0, 2, 1]>(q) c = Conv<pads = [1, 1]>(t, k) "
         "u = Transpose<perm = [0, 2, 1]>(c) v = Unsqueeze(u, last) s = Sigmoid(v) m = Mul(a, s) y = Conv(m, w2)", (),
         ENDS + ", float[1, 1, 3] k, int64[1] last = {3}", reason="Conv node 'c' slides over this axis"),
    case("CBAM-channels", "GlobalMaxPool GlobalAveragePool Add Mul", _CHANNEL_GATE + "y = Conv(m, w2)", (2, 4),
         ENDS + ", float[2, 4, 1, 1] we, float[4, 2, 1, 1] wf"),
    case("CBAM", "ReduceMean ReduceMax Concat Mul", _CHANNEL_GATE +
         "p = ReduceMean<axes = [1]>(m) q = ReduceMax<axes = [1]>(m) c = Concat<axis = 1>(p, q) d = Conv<pads = [1, 1, 1, 1]>(c, ws) "
         "o = Sigmoid(d) b = Mul(m, o) y = Conv(b, w2)", (2,),
         ENDS + ", float[2, 4, 1, 1] we, float[4, 2, 1, 1] wf, float[1, 2, 3, 3] ws", reason="ReduceMean node 'p' reduces this axis"),
    case("CoordAttention", "ReduceMean Concat Split Transpose",
         "a = Conv(x, w1) h = ReduceMean<axes = [3]>(a) v0 = ReduceMean<axes = [2]>(a) v = Transpose<perm = [0, 1, 3, 2]>(v0) "
         "c = Concat<axis = 2>(h, v) d = Conv(c, wm) n = BatchNormalization(d, s1, t1, m1, pos_v1) r = HardSwish(n) "
         "p, q0 = Split<axis = 2>(r, halves) q = Transpose<perm = [0, 1, 3, 2]>(q0) f = Conv(p, wh) g = Conv(q, wv) i = Sigmoid(f) "
         "j = Sigmoid(g) k = Mul(a, j) b = Mul(k, i) y = Conv(b, w2)", (3, 4),
         ENDS + ", float[3, 4, 1, 1] wm, float[4, 3, 1, 1] wh, float[4, 3, 1, 1] wv, int64[2] halves = {6, 6}" + _batch_norm(1, 3),
         inputs=SMALL),
    case("SKNet", "Softmax Concat Unsqueeze ReduceSum",  # two branches [4] are stacked and weighed against each other
         "a = Conv(x, w1) b = Conv(x, w2) u = Add(a, b) g = GlobalAveragePool(u) z = Conv(g, wz) fa = Conv(z, wa) fb = Conv(z, wb) "
         "ua = Unsqueeze(fa, one) ub = Unsqueeze(fb, one) c = Concat<axis = 1>(ua, ub) s = Softmax<axis = 1>(c) va = Unsqueeze(a, one) "
         "vb = Unsqueeze(b, one) d = Concat<axis = 1>(va, vb) m = Mul(d, s) o = ReduceSum<keepdims = 0>(m, one) y = Conv(o, w3)", (3, 4),
         BRANCHES + ", float[3, 4, 1, 1] wz, float[4, 3, 1, 1] wa, float[4, 3, 1, 1] wb, int64[1] one = {1}"),
    case("ResNeSt", "Reshape Softmax ReduceSum Transpose",  # 2 x 4 channels: radix 2
         "a0 = Conv(x, w0) a = Conv<group = 2>(a0, w1) d = Reshape(a, split) u = ReduceSum<keepdims = 0>(d, one) g = GlobalAveragePool(u) "
         "e = Conv(g, we) r = Relu(e) f = Conv(r, wf) h = Reshape(f, cards) i = Transpose<perm = [0, 2, 1, 3]>(h) s = Softmax<axis = 1>(i) "
         "j = Reshape(s, flat) k = Reshape(j, gates) m = Mul(d, k) o = ReduceSum<keepdims = 0>(m, one) y = Conv(o, w2)", (3, 3, 4),
         "float[6, 3, 1, 1] w0, float[8, 3, 1, 1] w1, float[3, 4, 1, 1] we, float[8, 3, 1, 1] wf, float[2, 4, 1, 1] w2, int64[1] one = {1}, "
         "int64[5] split = {0, 2, 4, 6, 6}, int64[4] cards = {0, 1, 2, -1}, int64[2] flat = {0, -1}, int64[5] gates = {0, 2, -1, 1, 1}",
         inputs=SMALL),
]  # fmt: skip

# Shuffles: 2 x 4 channels change places.
_SIZES = "int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64 i3 = {3}, int64[1] first = {0}, int64[1] two = {2}, int64 half = {2}"


def _shuffle(x: str, y: str) -> str:
    """A channel shuffle whose targets are computed from the shape, as PyTorch exports it."""
    p = f"{y}_"
    sizes = "".join(f"{p}g{i} = Gather({p}sh, i{i}) {p}u{i} = Unsqueeze({p}g{i}, first) " for i in range(4))
    return (
        f"{p}sh = Shape({x}) {sizes} {p}c = Div({p}g1, half) {p}h = Unsqueeze({p}c, first) "
        f"{p}t = Concat<axis = 0>({p}u0, two, {p}h, {p}u2, {p}u3) {p}s = Reshape({x}, {p}t) "
        f"{p}p = Transpose<perm = [0, 2, 1, 3, 4]>({p}s) {p}o = Concat<axis = 0>({p}u0, {p}u1, {p}u2, {p}u3) {y} = Reshape({p}p, {p}o) "
    )


_V2_UNIT = (
    "l{i}, r{i} = Split<axis = 1>({x}, halves) p{i} = Conv(r{i}, wa{i}) q{i} = Relu(p{i}) "
    "d{i} = Conv<group = 4, pads = [1, 1, 1, 1]>(q{i}, wd{i}) e{i} = Conv(d{i}, wb{i}) c{i} = Concat<axis = 1>(l{i}, e{i}) "
)
_V2_WEIGHTS = ", float[4, 4, 1, 1] wa{i}, float[4, 1, 3, 3] wd{i}, float[4, 4, 1, 1] wb{i}"

SHUFFLES = [
    *(
        # b [8]: the groups of its convolution tie k and k + 4, the next ones tie first and second half after the shuffle
        case(f"ShuffleNet-{name}", "Reshape Transpose Conv",
             f"a = Conv(x, w1) b = Conv<group = 2>(a, wg) {body} d = Conv<group = 8, pads = [1, 1, 1, 1]>(s, wd) e = Conv<group = 2>(d, wh) "
             "y = Conv(e, w2)", (2, 3, 4),
             "float[8, 3, 1, 1] w1, float[8, 4, 1, 1] wg, float[8, 1, 3, 3] wd, float[6, 4, 1, 1] wh, float[2, 6, 1, 1] w2, " + sizes,
             inputs=inputs)
        for name, body, sizes, inputs in (
            ("constant", "s0 = Reshape(b, t0) s1 = Transpose<perm = [0, 2, 1, 3, 4]>(s0) s = Reshape(s1, t1)",
             "int64[5] t0 = {-1, 2, 4, 6, 6}, int64[4] t1 = {-1, 8, 6, 6}", SMALL),
            ("from-Shape", _shuffle("b", "s"), _SIZES, IMAGE),
        )
    ),
    case("ShuffleNet-v2", "Split Concat Reshape Transpose",  # the second unit splits what the first one shuffled
         "a = Conv(x, w1) " + _V2_UNIT.format(i=0, x="a") + _shuffle("c0", "b") + _V2_UNIT.format(i=1, x="b") + _shuffle("c1", "z") +
         "y = Conv(z, w2)", (2, 2, 4, 4, 4),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[2] halves = {4, 4}, " + _SIZES + _V2_WEIGHTS.format(i=0) + _V2_WEIGHTS.format(i=1)),
]  # fmt: skip

JOINS = [
    case("C2f-by-Slice", "Slice Concat Add",
         "a0 = Conv(x, w1) g = Sigmoid(a0) a = Mul(a0, g) l = Slice(a, zero, half, one) r = Slice(a, half, end, one) c = Conv(r, wc) "
         "d = Conv(c, wd) e = Add(r, d) f = Concat<axis = 1>(l, r, e) y = Conv(f, w2)", (3, 3, 5),
         "float[6, 3, 1, 1] w1, float[5, 3, 1, 1] wc, float[3, 5, 1, 1] wd, float[2, 9, 1, 1] w2, int64[1] zero = {0}, int64[1] half = {3}, "
         "int64[1] end = {6}, int64[1] one = {1}"),
    case("C3k2", "Split Concat Add",
         "a0 = Conv(x, w1) g = Sigmoid(a0) a = Mul(a0, g) l, r = Split<axis = 1>(a, halves) p = Conv(r, wp) q = Conv(r, wq) m0 = Conv(p, wm) "
         "m1 = Conv(m0, wn) m = Add(p, m1) k = Concat<axis = 1>(m, q) n = Conv(k, wk) f = Concat<axis = 1>(l, r, n) y = Conv(f, w2)",
         (3, 3, 4, 4, 4, 5),
         "float[8, 3, 1, 1] w1, float[3, 4, 1, 1] wp, float[3, 4, 1, 1] wq, float[5, 3, 1, 1] wm, float[3, 5, 1, 1] wn, float[4, 6, 1, 1] wk, "
         "float[2, 12, 1, 1] w2, int64[2] halves = {4, 4}"),
    case("SPPF", "MaxPool Concat",
         "a = Conv(x, w1) b = MaxPool<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>(a) c = MaxPool<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>(b) "
         "d = MaxPool<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>(c) e = Concat<axis = 1>(a, b, c, d) y = Conv(e, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 16, 1, 1] w2"),
    case("DenseNet", "BatchNormalization Concat",
         "a = Conv(x, w1) b1 = BatchNormalization(a, s1, t1, m1, pos_v1) r1 = Relu(b1) k1 = Conv(r1, wa) c1 = Concat<axis = 1>(a, k1) "
         "b2 = BatchNormalization(c1, s2, t2, m2, pos_v2) r2 = Relu(b2) k2 = Conv(r2, wb) c2 = Concat<axis = 1>(c1, k2) "
         "b3 = BatchNormalization(c2, s3, t3, m3, pos_v3) y = Conv(b3, w2)", (2, 3, 4),
         "float[4, 3, 1, 1] w1, float[3, 4, 1, 1] wa, float[2, 7, 1, 1] wb, float[2, 9, 1, 1] w2"
         + _batch_norm(1, 4) + _batch_norm(2, 7) + _batch_norm(3, 9)),
    case("Inception", "Concat AveragePool",
         "a = Conv(x, w1) b = Conv(a, wb) c0 = Conv(a, wc) c = Conv<pads = [1, 1, 1, 1]>(c0, wd) "
         "p = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a) e = Conv(p, we) f = Concat<axis = 1>(b, c, e) y = Conv(f, w2)",
         (2, 3, 4, 5, 6),
         "float[4, 3, 1, 1] w1, float[3, 4, 1, 1] wb, float[2, 4, 1, 1] wc, float[5, 2, 3, 3] wd, float[6, 4, 1, 1] we, float[2, 14, 1, 1] w2"),
    case("ResNet-padded-shortcut", "Slice Pad Add",  # 4 channels are added to the middle of 6, the outer 2 stand alone
         "a = Conv(x, w1) s = Slice(a, zeros, ends, axes, steps) p = Pad(s, pads) c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(a, wc) "
         "d = Conv(c, wd) e = Add(d, p) y = Conv(e, w2)", (2, 4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4, 3, 3] wc, float[6, 5, 1, 1] wd, float[2, 6, 1, 1] w2, int64[2] zeros = {0, 0}, "
         "int64[2] ends = {9223372036854775807, 9223372036854775807}, int64[2] axes = {2, 3}, int64[2] steps = {2, 2}, "
         "int64[8] pads = {0, 1, 0, 0, 0, 1, 0, 0}"),
    case("MobileNet-v2", "Clip Conv Add",
         "a = Conv(x, w1) e0 = Conv(a, we) e = Clip(e0, lo, hi) d0 = Conv<group = 6, pads = [1, 1, 1, 1]>(e, wd) d = Clip(d0, lo, hi) "
         "p = Conv(d, wp) s = Add(a, p) y = Conv(s, w2)", (4, 6),
         ENDS + ", float[6, 4, 1, 1] we, float[6, 1, 3, 3] wd, float[4, 6, 1, 1] wp, float lo = {0}, float hi = {6}"),
    case("MobileNet-v3", "HardSwish HardSigmoid Add",
         "a = Conv(x, w1) e0 = Conv(a, we) e = HardSwish(e0) d = Conv<group = 6, pads = [1, 1, 1, 1]>(e, wd) g = GlobalAveragePool(d) "
         "h = Conv(g, wh) r = Relu(h) i = Conv(r, wi) j = HardSigmoid(i) m = Mul(j, d) n = HardSwish(m) p = Conv(n, wp) s = Add(a, p) "
         "y = Conv(s, w2)", (2, 4, 6),
         ENDS + ", float[6, 4, 1, 1] we, float[6, 1, 3, 3] wd, float[2, 6, 1, 1] wh, float[6, 2, 1, 1] wi, float[4, 6, 1, 1] wp"),
    case("GhostNet", "Concat Slice",  # 4 channels and 3 of their 4 cheap copies
         "p = Conv(x, w1) q = Conv<group = 4, pads = [1, 1, 1, 1]>(p, wd) c = Concat<axis = 1>(p, q) s = Slice(c, zero, seven, one) y = Conv(s, w2)",
         (4,), "float[4, 3, 1, 1] w1, float[4, 1, 3, 3] wd, float[2, 7, 1, 1] w2, int64[1] zero = {0}, int64[1] seven = {7}, int64[1] one = {1}"),
    case("Res2Net", "Split Add Concat",
         "a = Conv(x, w1) p, q, r, s = Split<axis = 1>(a, quarters) b = Conv(p, wb) c0 = Add(b, q) c = Conv(c0, wc) d0 = Add(c, r) "
         "d = Conv(d0, wd) e = Concat<axis = 1>(b, c, d, s) y = Conv(e, w2)", (2, 2, 2, 2, 2),
         "float[8, 3, 1, 1] w1, float[2, 2, 1, 1] wb, float[2, 2, 1, 1] wc, float[2, 2, 1, 1] wd, float[2, 8, 1, 1] w2, "
         "int64[4] quarters = {2, 2, 2, 2}"),
    case("RepVGG", "BatchNormalization Add",
         "a = Conv(x, w1) c = Conv<pads = [1, 1, 1, 1]>(a, wc) d = BatchNormalization(c, s1, t1, m1, pos_v1) e = Conv(a, we) "
         "f = BatchNormalization(e, s2, t2, m2, pos_v2) g = BatchNormalization(a, s3, t3, m3, pos_v3) h = Add(d, f) i = Add(h, g) b = Relu(i) "
         "y = Conv(b, w2)", (4,),
         ENDS + ", float[4, 4, 3, 3] wc, float[4, 4, 1, 1] we" + _batch_norm(1, 4) + _batch_norm(2, 4) + _batch_norm(3, 4)),
]  # fmt: skip

SCALES = [
    case("HRNet", "Resize Add",
         "a = Conv(x, w1) b = Conv<strides = [2, 2]>(x, w2) u = Conv(b, wu) r = Resize<mode = \"nearest\">(u, , double) h = Add(a, r) "
         "d = Conv<strides = [2, 2]>(a, wd) l = Add(b, d) y = Conv(h, wy) z = Conv(l, wz)", (4, 6),
         "float[4, 3, 1, 1] w1, float[6, 3, 1, 1] w2, float[4, 6, 1, 1] wu, float[6, 4, 1, 1] wd, float[2, 4, 1, 1] wy, float[2, 6, 1, 1] wz, "
         + DOUBLED, outputs=TWO_MAPS),
    case("FPN", "Resize Add Conv",  # both levels share the last two convolutions
         "c = Conv(x, w1) d = Conv<strides = [2, 2]>(c, w2) m = Conv(d, wm) l = Conv(c, wl) u = Resize<mode = \"linear\">(m, , double) n = Add(l, u) "
         "p = Conv(n, wp) q = Conv(m, wp) y = Conv(p, wh) z = Conv(q, wh)", (4, 5, 6, 6),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[6, 5, 1, 1] wm, float[6, 4, 1, 1] wl, float[6, 6, 1, 1] wp, float[2, 6, 1, 1] wh, "
         + DOUBLED, outputs=TWO_MAPS),
    case("U-Net", "ConvTranspose Concat MaxPool",
         "a = Conv(x, w1) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) b = Conv(p, wb) u = ConvTranspose<strides = [2, 2]>(b, wu) "
         "c = Concat<axis = 1>(a, u) d = Conv(c, wd) y = Conv(d, w2)", (3, 4, 5, 6),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] wb, float[5, 3, 2, 2] wu, float[6, 7, 1, 1] wd, float[2, 6, 1, 1] w2"),
    case("YOLO-v5-head", "Concat Reshape Transpose Sigmoid",  # 2 anchors of 5 values
         "a = Conv(x, w1) b = Conv<strides = [2, 2]>(a, wb) o = Conv(a, wo) p = Conv(b, wp) q = Reshape(o, t) r = Reshape(p, t) "
         "i = Transpose<perm = [0, 1, 3, 2]>(q) j = Transpose<perm = [0, 1, 3, 2]>(r) c = Concat<axis = 2>(i, j) s = Reshape(c, u) y = Sigmoid(s)",
         (4, 6), "float[4, 3, 1, 1] w1, float[6, 4, 1, 1] wb, float[10, 4, 1, 1] wo, float[10, 6, 1, 1] wp, int64[4] t = {0, 2, 5, -1}, "
         "int64[3] u = {0, -1, 5}", outputs="float[N, A, 5] y"),
    case("YOLO-v8-head", "Concat Reshape Softmax",  # 4 sides of 3 bins, read by fixed weights, and 2 classes
         "a = Conv(x, w1) b = Conv(a, wb) k = Conv(a, wk) d = Conv(b, wd) e = Conv(k, we) f = Reshape(d, flat) g = Reshape(e, flat2) "
         "h = Reshape(f, bins) i = Transpose<perm = [0, 2, 1, 3]>(h) s = Softmax<axis = 1>(i) j = Conv(s, wj) l = Reshape(j, sides) m = Sigmoid(g) "
         "y = Concat<axis = 1>(l, m)", (4, 5, 6),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] wb, float[6, 4, 1, 1] wk, float[12, 5, 1, 1] wd, float[2, 6, 1, 1] we, float[1, 3, 1, 1] wj, "
         "int64[3] flat = {0, 12, -1}, int64[3] flat2 = {0, 2, -1}, int64[4] bins = {0, 4, 3, -1}, int64[3] sides = {0, 4, -1}",
         outputs="float[N, 6, A] y", reason="graph output 'y'"),
    case("ConvNeXt", "LayerNormalization MatMul Mul Add",  # the residual channels meet in the normalisation, the hidden ones are free
         "a = Conv(x, w1) d = Conv<group = 4, pads = [1, 1, 1, 1]>(a, wd) t = Transpose<perm = [0, 2, 3, 1]>(d) n = LayerNormalization(t, s, c) "
         "u0 = MatMul(n, wu) u = Add(u0, bu) e0 = Div(u, k) e = Erf(e0) f = Add(e, one) g0 = Mul(u, f) g = Mul(g0, h) v0 = MatMul(g, wv) "
         "v = Add(v0, bv) m = Mul(v, ls) b = Transpose<perm = [0, 3, 1, 2]>(m) r = Add(a, b) y = Conv(r, w2)", (6,),
         ENDS + ", float[4, 1, 3, 3] wd, float[4] s, float[4] c, float[4, 6] wu, float[6] bu, float[6, 4] wv, float[4] bv, float[4] ls, "
         "float k = {1.4142135}, float one = {1}, float h = {0.5}", reason="LayerNormalization node 'n'"),
]  # fmt: skip

NETWORKS = [*GATES, *SHUFFLES, *JOINS, *SCALES]
