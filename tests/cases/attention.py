"""Attention blocks as exporters write them, behind a convolution.

Queries and keys meet in a product that no weight takes part in. Whole heads do not see each other, so they come and go;
with a single head only the values can.
"""

from __future__ import annotations

from cases.base import IMAGE, SMALL, case

_IMAGE_5 = "a = Conv(x, w1) f = Reshape(a, flat) t = Transpose<perm = [0, 2, 1]>(f) "
_ENDS_5 = "float[5, 3, 1, 1] w1, float[6, 2] wo, int64[3] flat = {0, 5, -1}"
_TOKENS = "float[N, T, 2] y"
_SCORES = "s0 = MatMul(q, k) s = Mul(s0, scale) p = Softmax<axis = -1>(s) o = MatMul(p, v) "
_OUT = "u = Transpose<perm = [0, 2, 1, 3]>(o) r = Reshape(u, whole) y = MatMul(r, wo)"
_HEADS = ", int64[4] heads = {0, -1, 3, 2}, int64[3] whole = {0, -1, 6}, float scale = {0.7}"
_SPLIT_HEADS = (
    "q1 = Reshape(q0, heads) q = Transpose<perm = [0, 2, 1, 3]>(q1) k1 = Reshape(k0, heads) k = Transpose<perm = [0, 2, 3, 1]>(k1) "
    "v1 = Reshape(v0, heads) v = Transpose<perm = [0, 2, 1, 3]>(v1) "
)
_PROJECTED = "q0 = MatMul(t, wq) k0 = MatMul(t, wk) vm = MatMul(t, wv) v0 = Add(vm, bv) "
_THREE = ", float[5, 6] wq, float[5, 6] wk, float[5, 6] wv, float[6] bv"
_FUSED = (
    _ENDS_5 + ", float[5, 18] w, int64[5] split = {0, -1, 3, 3, 2}, int64[3] whole = {0, -1, 6}, float scale = {0.7}"
)
_SINGLE_LOCKS = "no weight reads it: MatMul node 's0' sums over this axis"

ATTENTION = [
    case("attention-three-projections", "MatMul Reshape Transpose Softmax", _IMAGE_5 + _PROJECTED + _SPLIT_HEADS + _SCORES + _OUT,
         (3, 5), _ENDS_5 + _THREE + _HEADS, outputs=_TOKENS),
    case("attention-position-bias", "MatMul Add Softmax",  # a bias for each head and pair of places
         _IMAGE_5 + _PROJECTED + _SPLIT_HEADS + "s0 = MatMul(q, k) s1 = Mul(s0, scale) s = Add(s1, bias) p = Softmax<axis = -1>(s) o = MatMul(p, v) "
         + _OUT, (3, 5), _ENDS_5 + _THREE + _HEADS + ", float[1, 3, 36, 36] bias", inputs=SMALL, outputs="float[N, 36, 2] y"),
    case("attention-mask-for-each-head", "MatMul Add Softmax",  # heads are counted by an input: equal positions of all values go
         _IMAGE_5 + _PROJECTED + _SPLIT_HEADS + "s0 = MatMul(q, k) s1 = Mul(s0, scale) s = Add(s1, z) p = Softmax<axis = -1>(s) o = MatMul(p, v) "
         + _OUT, (2, 5), _ENDS_5 + _THREE + _HEADS, inputs=IMAGE + ", float[N, 3, 1, 1] z", outputs=_TOKENS,
         reason="Add node 's' combines it with graph input 'z'"),
    case("attention-fused-Split", "MatMul Split", _IMAGE_5 + "m = MatMul(t, w) q0, k0, v0 = Split<axis = 2>(m, thirds) " + _SPLIT_HEADS + _SCORES + _OUT,
         (3, 5), _ENDS_5 + ", float[5, 18] w, int64[3] thirds = {6, 6, 6}" + _HEADS, outputs=_TOKENS),
    case("attention-fused-Gather", "MatMul Gather Transpose", _IMAGE_5 +
         "m = MatMul(t, w) n = Reshape(m, split) g = Transpose<perm = [2, 0, 3, 1, 4]>(n) q = Gather<axis = 0>(g, i0) k0 = Gather<axis = 0>(g, i1) "
         "v = Gather<axis = 0>(g, i2) k = Transpose<perm = [0, 1, 3, 2]>(k0) " + _SCORES + _OUT, (3, 5),
         _FUSED + ", int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}", outputs=_TOKENS),
    case("attention-fused-Split-Squeeze", "MatMul Split Squeeze", _IMAGE_5 +
         "m = MatMul(t, w) n = Reshape(m, split) g = Transpose<perm = [2, 0, 3, 1, 4]>(n) q1, k1, v1 = Split<axis = 0>(g, ones) "
         "q = Squeeze(q1, front) k0 = Squeeze(k1, front) v = Squeeze(v1, front) k = Transpose<perm = [0, 1, 3, 2]>(k0) " + _SCORES + _OUT, (3, 5),
         _FUSED + ", int64[3] ones = {1, 1, 1}, int64[1] front = {0}", outputs=_TOKENS),
    case("attention-fused-Slice", "MatMul Slice Squeeze", _IMAGE_5 +
         "m = MatMul(t, w) n = Reshape(m, split) q1 = Slice(n, n0, n1, axis) k1 = Slice(n, n1, n2, axis) v1 = Slice(n, n2, n3, axis) "
         "q2 = Squeeze(q1, axis) k2 = Squeeze(k1, axis) v2 = Squeeze(v1, axis) q = Transpose<perm = [0, 2, 1, 3]>(q2) "
         "k = Transpose<perm = [0, 2, 3, 1]>(k2) v = Transpose<perm = [0, 2, 1, 3]>(v2) " + _SCORES + _OUT, (3, 5),
         _FUSED + ", int64[1] n0 = {0}, int64[1] n1 = {1}, int64[1] n2 = {2}, int64[1] n3 = {3}, int64[1] axis = {2}", outputs=_TOKENS),
    case("attention-folded-into-the-batch", "MatMul Reshape",  # as torch.nn.MultiheadAttention: an axis of batch and heads is not cut, equal positions of all values go
         _IMAGE_5 + _PROJECTED +
         "q1 = Reshape(q0, heads) q2 = Transpose<perm = [0, 2, 1, 3]>(q1) q = Reshape(q2, stacked) k1 = Reshape(k0, heads) "
         "k2 = Transpose<perm = [0, 2, 3, 1]>(k1) k = Reshape(k2, stacked_t) v1 = Reshape(v0, heads) v2 = Transpose<perm = [0, 2, 1, 3]>(v1) "
         "v = Reshape(v2, stacked) s0 = MatMul(q, k) s = Mul(s0, scale) p = Softmax<axis = -1>(s) o0 = MatMul(p, v) o = Reshape(o0, apart) " + _OUT,
         (2, 5), _ENDS_5 + _THREE + _HEADS + ", int64[3] stacked = {-1, 36, 2}, int64[3] stacked_t = {-1, 2, 36}, int64[4] apart = {-1, 3, 36, 2}",
         inputs=SMALL, outputs="float[N, 36, 2] y", reason=_SINGLE_LOCKS),
    case("attention-shared-keys", "MatMul Unsqueeze",  # all 3 heads have the same keys and values
         _IMAGE_5 + "q0 = MatMul(t, wq) k0 = MatMul(t, wk) v0 = MatMul(t, wv) q1 = Reshape(q0, heads) q = Transpose<perm = [0, 2, 1, 3]>(q1) "
         "k1 = Unsqueeze(k0, one) k = Transpose<perm = [0, 1, 3, 2]>(k1) v = Unsqueeze(v0, one) " + _SCORES + _OUT, (3, 5),
         _ENDS_5 + ", float[5, 6] wq, float[5, 2] wk, float[5, 2] wv, int64[1] one = {1}" + _HEADS, outputs=_TOKENS, reason=_SINGLE_LOCKS),
    case("attention-Einsum", "Einsum Reshape", _IMAGE_5 + _PROJECTED +
         "q = Reshape(q0, heads) k = Reshape(k0, heads) v = Reshape(v0, heads) s0 = Einsum<equation = \"bthd,bshd->bhts\">(q, k) s = Mul(s0, scale) "
         "p = Softmax<axis = -1>(s) o = Einsum<equation = \"bhts,bshd->bthd\">(p, v) r = Reshape(o, whole) y = MatMul(r, wo)", (3, 5),
         _ENDS_5 + _THREE + _HEADS, outputs=_TOKENS),
    case("non-local-block", "MatMul Conv Softmax",  # SAGAN: one head, values [5]
         "a = Conv(x, wf) b = Conv(x, wg) c = Conv(x, wh) k = Reshape(a, four) q0 = Reshape(b, four) v = Reshape(c, five) "
         "q = Transpose<perm = [0, 2, 1]>(q0) s0 = MatMul(q, k) p = Softmax<axis = -1>(s0) r = Transpose<perm = [0, 2, 1]>(p) o = MatMul(v, r) "
         "u = Reshape(o, image) y = Conv(u, w2)", (5,),
         "float[4, 3, 1, 1] wf, float[4, 3, 1, 1] wg, float[5, 3, 1, 1] wh, float[2, 5, 1, 1] w2, int64[3] four = {0, 4, 36}, "
         "int64[3] five = {0, 5, 36}, int64[4] image = {0, 5, 6, 6}", inputs=SMALL, outputs="float[N, 2, 6, 6] y", reason=_SINGLE_LOCKS),
    case("C2PSA", "MatMul Split Conv Add",  # 2 heads: keys of 2, values of 4
         "a = Conv(x, w1) l, b = Split<axis = 1>(a, halves) m = Conv(b, w) n = Reshape(m, heads) q0, k, v = Split<axis = 2>(n, parts) "
         "q = Transpose<perm = [0, 1, 3, 2]>(q0) s0 = MatMul(q, k) s = Mul(s0, scale) p0 = Softmax<axis = -1>(s) "
         "p = Transpose<perm = [0, 1, 3, 2]>(p0) o0 = MatMul(v, p) o = Reshape(o0, image) u = Reshape(v, image) "
         "e = Conv<group = 8, pads = [1, 1, 1, 1]>(u, wd) f = Add(o, e) g = Conv(f, wp) h = Add(b, g) i0 = Conv(h, wi) i1 = Sigmoid(i0) i = Mul(i0, i1) "
         "j = Conv(i, wj) r = Add(h, j) c = Concat<axis = 1>(l, r) y = Conv(c, w2)", (2, 6, 8, 8),
         "float[16, 3, 1, 1] w1, float[16, 8, 1, 1] w, float[8, 1, 3, 3] wd, float[8, 8, 1, 1] wp, float[6, 8, 1, 1] wi, float[8, 6, 1, 1] wj, "
         "float[2, 16, 1, 1] w2, int64[2] halves = {8, 8}, int64[4] heads = {0, 2, 8, 36}, int64[3] parts = {2, 2, 4}, "
         "int64[4] image = {0, 8, 6, 6}, float scale = {0.7}", inputs=SMALL, outputs="float[N, 2, 6, 6] y"),
    case("C2PSA-one-head", "MatMul Split Conv",  # values [4] are free
         "a = Conv(x, w1) m = Conv(a, w) n = Reshape(m, heads) q0, k, v = Split<axis = 2>(n, parts) q = Transpose<perm = [0, 1, 3, 2]>(q0) "
         "s0 = MatMul(q, k) p0 = Softmax<axis = -1>(s0) p = Transpose<perm = [0, 1, 3, 2]>(p0) o0 = MatMul(v, p) o = Reshape(o0, image) "
         "u = Reshape(v, image) e = Conv<group = 4, pads = [1, 1, 1, 1]>(u, wd) f = Add(o, e) y = Conv(f, w2)", (4, 5),
         "float[5, 3, 1, 1] w1, float[8, 5, 1, 1] w, float[4, 1, 3, 3] wd, float[2, 4, 1, 1] w2, int64[4] heads = {0, 1, 8, 36}, "
         "int64[3] parts = {2, 2, 4}, int64[4] image = {0, 4, 6, 6}", inputs=SMALL, outputs="float[N, 2, 6, 6] y", reason=_SINGLE_LOCKS),
    case("attention-over-channels", "MatMul Softmax Reshape",  # XCiT: in each of 2 heads, 3 channels attend to each other
         "a = Conv(x, wa) b = Conv(x, wb) c = Conv(x, wc) q = Reshape(a, heads) k0 = Reshape(b, heads) v = Reshape(c, heads) "
         "k = Transpose<perm = [0, 1, 3, 2]>(k0) s0 = MatMul(q, k) s = Mul(s0, heat) p = Softmax<axis = -1>(s) o = MatMul(p, v) u = Reshape(o, image) "
         "y = Conv(u, w2)", (2,),
         "float[6, 3, 1, 1] wa, float[6, 3, 1, 1] wb, float[6, 3, 1, 1] wc, float[2, 6, 1, 1] w2, float[2, 1, 1] heat, int64[4] heads = {0, 2, 3, 36}, "
         "int64[4] image = {0, 6, 6, 6}", inputs=SMALL, outputs="float[N, 2, 6, 6] y"),
    case("attention-over-channels-one-head", "MatMul Softmax Add",  # DANet
         "a = Conv(x, w1) q = Reshape(a, flat) k = Transpose<perm = [0, 2, 1]>(q) s0 = MatMul(q, k) p = Softmax<axis = -1>(s0) o = MatMul(p, q) "
         "u = Reshape(o, image) m = Mul(u, gamma) b = Add(a, m) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2, float[1] gamma, int64[3] flat = {0, 4, 36}, int64[4] image = {0, 4, 6, 6}",
         inputs=SMALL, outputs="float[N, 2, 6, 6] y", reason="Softmax node 'p' normalises over this axis"),
    case("attention-linear", "MatMul Relu",  # EfficientViT: keys and values first
         "a = Conv(x, wa) b = Conv(x, wb) c = Conv(x, wc) q0 = Reshape(a, heads) k1 = Reshape(b, heads) v0 = Reshape(c, heads) q1 = Relu(q0) "
         "k = Relu(k1) q = Transpose<perm = [0, 1, 3, 2]>(q1) v = Transpose<perm = [0, 1, 3, 2]>(v0) s0 = MatMul(k, v) o = MatMul(q, s0) "
         "r = Transpose<perm = [0, 1, 3, 2]>(o) u = Reshape(r, image) y = Conv(u, w2)", (2,),
         "float[6, 3, 1, 1] wa, float[6, 3, 1, 1] wb, float[6, 3, 1, 1] wc, float[2, 6, 1, 1] w2, int64[4] heads = {0, 2, 3, 36}, "
         "int64[4] image = {0, 6, 6, 6}", inputs=SMALL, outputs="float[N, 2, 6, 6] y"),
    case("ViT-block", "LayerNormalization MatMul Gemm Softmax",  # 5 residual channels meet in the normalisation; 3 heads and 7 hidden are free
         _IMAGE_5 + "l = LayerNormalization(t, g1, h1) q0 = MatMul(l, wq) k0 = MatMul(l, wk) vm = MatMul(l, wv) v0 = Add(vm, bv) " + _SPLIT_HEADS +
         _SCORES + "u = Transpose<perm = [0, 2, 1, 3]>(o) r = Reshape(u, whole) d = MatMul(r, wr) e = Add(t, d) m = LayerNormalization(e, g2, h2) "
         "n0 = MatMul(m, wm) n1 = Add(n0, bm) n = Relu(n1) c = MatMul(n, wn) b = Add(e, c) z = ReduceMean<axes = [1], keepdims = 0>(b) y = Gemm(z, wy)",
         (3, 7), "float[5, 3, 1, 1] w1, int64[3] flat = {0, 5, -1}, float[5] g1, float[5] h1, float[5] g2, float[5] h2, float[6, 5] wr, "
         "float[5, 7] wm, float[7] bm, float[7, 5] wn, float[5, 2] wy" + _THREE + _HEADS, outputs="float[N, 2] y",
         reason="LayerNormalization node 'l'"),
]  # fmt: skip
