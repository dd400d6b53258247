"""Matrix products."""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, IMAGE, ROW, case

PRODUCTS = [
    case("Gemm", "Gemm", "a = Gemm(x, w1, c1) r = Relu(a) y = Gemm(r, w2, c2)", (4,),
         "float[5, 4] w1, float[4] c1, float[4, 2] w2, float[1, 2] c2", inputs="float[N, 5] x", outputs=ROW),
    case("Gemm-double", "Gemm", "a = Gemm(x, w1) r = Relu(a) y = Gemm(r, w2)", (4,),
         "double[5, 4] w1, double[4, 2] w2", inputs="double[N, 5] x", outputs="double[N, 2] y"),
    case("Gemm-transB", "Gemm", "a = Gemm<transB = 1, alpha = 0.5>(x, w1, c1) y = Gemm<transB = 1, beta = 2.0>(a, w2, c2)", (4,),
         "float[4, 5] w1, float[1, 4] c1, float[2, 4] w2, float c2 = {0.5}", inputs="float[N, 5] x", outputs=ROW),
    case("Gemm-transA", "Gemm Transpose",
         "a = Gemm(x, w1) t = Transpose(a) y = Gemm<transA = 1>(t, w2)", (4,),
         "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
    case("Gemm-C-per-row", "Gemm", "a = Gemm(x, w1, c1) y = Gemm(a, w2)", (4,),
         "float[5, 4] w1, float[3, 1] c1, float[4, 2] w2", inputs="float[3, 5] x", outputs="float[3, 2] y"),
    case("Gemm-C-full", "Gemm", "a = Gemm(x, w1, c1) y = Gemm(a, w2)", (4,),
         "float[5, 4] w1, float[3, 4] c1, float[4, 2] w2", inputs="float[3, 5] x", outputs="float[3, 2] y"),
    case("Gemm-computed", "Gemm", "a = Gemm(x, w1) y = Gemm<transB = 1>(a, a)", (), "float[5, 4] w1",
         inputs="float[3, 5] x", outputs="float[3, 3] y", reason="no weight reads it: Gemm node 'y' sums over this axis"),
    case("Gemm-computed-columns", "Gemm", "a = Gemm(x, w1) m = Gemm(z, a, c) y = Gemm(m, w2)", (4,),
         "float[5, 4] w1, float[4] c, float[4, 2] w2", inputs="float[3, 5] x, float[6, 3] z", outputs="float[6, 2] y"),
    case("Gemm-weight-first", "Gemm", "a = Gemm(w1, x, c1) r = Relu(a) b = Gemm<transA = 1>(w2, r) y = Gemm(w3, b)", (4, 6),
         "float[4, 2] w1, float[4, 1] c1, float[4, 6] w2, float[2, 6] w3", inputs="float[2, N] x", outputs="float[2, N] y"),
    case("MatMul-right", "MatMul Add", "a0 = MatMul(x, w1) a = Add(a0, c) r = Relu(a) y = MatMul(r, w2)", (4,),
         "float[5, 4] w1, float[4] c, float[4, 2] w2", inputs="float[N, L, 5] x", outputs="float[N, L, 2] y"),
    case("MatMul-left", "MatMul", "a = MatMul(w1, x) r = Relu(a) y = MatMul(w2, r)", (4,),
         "float[4, 5] w1, float[2, 4] w2", inputs="float[N, 5, L] x", outputs="float[N, 2, L] y"),
    case("MatMul-over-tokens", "MatMul Transpose",
         "a = MatMul(x, w1) t = Transpose<perm = [0, 2, 1]>(a) m = MatMul(t, wt) r = Relu(m) n = MatMul(r, wu) "
         "b = Transpose<perm = [0, 2, 1]>(n) y = MatMul(b, w2)", (4, 6),
         "float[5, 4] w1, float[3, 6] wt, float[6, 3] wu, float[4, 2] w2", inputs="float[N, 3, 5] x", outputs="float[N, 3, 2] y"),
    case("MatMul-stack", "MatMul", "a = MatMul(x, w1) b = MatMul(a, ws) y = MatMul(b, w2)", (4, 5),
         "float[5, 4] w1, float[3, 4, 5] ws, float[5, 2] w2", inputs="float[3, L, 5] x", outputs="float[3, L, 2] y"),
    case("MatMul-stack-of-groups", "MatMul Reshape Transpose",  # 4 stacked weights read 3 channels each and make 5 each
         "a = MatMul(x, w1) s = Reshape(a, ta) t = Transpose<perm = [1, 0, 2]>(s) b = MatMul(t, ws) r = Relu(b) "
         "u = Transpose<perm = [1, 0, 2]>(r) v = Reshape(u, tv) y = MatMul(v, w2)", (3, 5),
         "float[5, 12] w1, float[4, 3, 5] ws, float[20, 2] w2, int64[3] ta = {0, 4, 3}, int64[2] tv = {0, 20}",
         inputs="float[N, 5] x", outputs=ROW),
    case("MatMul-stack-goes-with-its-rows", "MatMul Transpose Unsqueeze Squeeze",  # one weight for each channel of a
         "a = MatMul(x, w1) t = Transpose(a) s = Unsqueeze(t, last) b = MatMul(s, ws) r = Relu(b) c = MatMul(r, wr) q = Squeeze(c, last) "
         "u = Transpose(q) y = MatMul(u, w2)", (4, 6),
         "float[5, 4] w1, float[4, 1, 6] ws, float[4, 6, 1] wr, float[4, 2] w2, int64[1] last = {2}", inputs="float[N, 5] x", outputs=ROW),
    case("MatMul-two-activations", "MatMul", "q = MatMul(x, wq) k = MatMul(wk, x) s = MatMul(q, k) y = Relu(s)", (),
         "float[5, 4] wq, float[4, 5] wk", inputs="float[N, 5, 5] x", outputs="float[N, 5, 5] y",
         reason="no weight reads it: MatMul node 's' sums over this axis"),
    case("MatMul-rows-and-columns-of-activations", "MatMul",  # (4, L) x (L, 5): outer products, read on both sides
         "l = MatMul(w1, x) r = MatMul(z, w2) s = MatMul(l, r) b = MatMul(w3, s) y = MatMul(b, w4)", (4, 5),
         "float[4, 6] w1, float[6, 5] w2, float[2, 4] w3, float[5, 2] w4",
         inputs="float[N, 6, L] x, float[N, L, 6] z", outputs="float[N, 2, 2] y"),
    case("MatMul-stacks-of-activations", "MatMul Conv",  # (N, 4, H, W) x (N, 4, W, H): channels are stacked matrices
         "a = Conv(x, w1) b = Conv(x, w2) t = Transpose<perm = [0, 1, 3, 2]>(b) m = MatMul(a, t) y = Conv(m, w3)", (4,), BRANCHES),
    case("MatMul-of-itself", "MatMul Reshape Transpose",  # a Gram matrix: channels are rows and columns, and read twice
         "a = Conv(x, w1) l = Reshape(a, t4) r = Transpose<perm = [0, 2, 1]>(l) m = MatMul(l, r) n = MatMul(m, w3) "
         "t = Transpose<perm = [0, 2, 1]>(n) y = MatMul(t, w4)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 3] w3, float[4, 2] w4, int64[3] t4 = {0, 4, -1}", outputs="float[N, 3, 2] y"),
    case("MatMul-outer-product", "MatMul Flatten",  # bilinear pooling: 4 rows stay cuttable, 3 columns are folded with them
         "a = Conv(x, w1) b = Conv(x, w2) l = Reshape(a, t4) r0 = Reshape(b, t3) r = Transpose<perm = [0, 2, 1]>(r0) m = MatMul(l, r) "
         "f = Flatten(m) y = MatMul(f, w3)", (4,), "float[4, 3, 1, 1] w1, float[3, 3, 1, 1] w2, float[12, 2] w3, int64[3] t4 = {0, 4, -1}, "
         "int64[3] t3 = {0, 3, -1}", outputs=ROW, reason="Flatten node 'f' folds it into an axis with other channels"),
    case("MatMul-stack-of-an-input", "MatMul Conv", "a = Conv(x, w1) m = MatMul(a, z) y = Conv(m, w2)", (), ENDS,
         inputs=IMAGE + ", float[N, 4, W, 5] z", reason="MatMul node 'm' combines it with graph input 'z'"),
    case("MatMul-vector", "MatMul", "a = MatMul(x, w1) b = MatMul(x, w2) r = MatMul(a, v) t = Unsqueeze(r, last) m = Mul(t, b) y = MatMul(m, w3)", (3, 4),
         "float[5, 4] w1, float[4] v, float[5, 3] w2, float[3, 2] w3, int64[1] last = {1}", inputs="float[N, 5] x", outputs=ROW),
    case("MatMul-vector-first", "MatMul", "a = MatMul(w1, x) b = MatMul(w2, x) r = MatMul(v, a) m = Mul(r, b) y = MatMul(w3, m)", (3, 4),
         "float[4, 2] w1, float[4] v, float[3, 2] w2, float[2, 3] w3", inputs="float[2, N] x", outputs="float[2, N] y"),
    case("MatMul-activation-vector", "MatMul", "a = MatMul(x, w1) r = Relu(a) y = MatMul(r, w2)", (4,), "float[2, 4] w1, float[4, 2] w2",
         inputs="float[2] x", outputs="float[2] y"),
    case("MatMul-activation-vector-second", "MatMul", "a = MatMul(w1, x) r = Relu(a) y = MatMul(w2, r)", (4,),
         "float[4, 2] w1, float[2, 4] w2", inputs="float[2] x", outputs="float[2] y"),
    case("MatMul-constants", "MatMul", "w = MatMul(u, v) a = MatMul(x, w) r = Relu(a) y = MatMul(r, w2)", (4,),
         "float[5, 3] u, float[3, 4] v, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
    case("MatMul-computed-weight-that-reads", "MatMul", "a = MatMul(x, w1) w = MatMul(u, v) y = MatMul(a, w)", (),
         "float[5, 4] w1, float[4, 3] u, float[3, 2] v", inputs="float[N, 5] x", outputs=ROW, reason="its weight is computed by MatMul node 'w'"),
    case("MatMul-tied-weights", "MatMul Transpose",
         "a = MatMul(x, w1) h = MatMul(a, w) r = Relu(h) k = Transpose(w) d = MatMul(r, k) y = MatMul(d, w2)", (4, 6),
         "float[5, 4] w1, float[4, 6] w, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
]  # fmt: skip

EINSUMS = [
    case("Einsum-like-MatMul", "Einsum", 'a = Einsum<equation = "nk, km -> nm">(x, w1) r = Relu(a) y = Einsum<equation="nm,mo">(r, w2)', (4,),
         "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
    case("Einsum-ellipsis", "Einsum", 'a = Einsum<equation = "...k,mk->...m">(x, w1) r = Relu(a) y = Einsum<equation = "...m,om">(r, w2)', (4,),
         "float[4, 5] w1, float[2, 4] w2", inputs="float[N, L, 5] x", outputs="float[N, L, 2] y"),
    case("Einsum-weight-first", "Einsum Conv", 'a = Conv(x, w1) b = Einsum<equation = "oc,nchw->nohw">(w, a) y = Conv(b, w2)', (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4] w, float[2, 5, 1, 1] w2"),
    case("Einsum-channels-last", "Einsum Conv",
         'a = Conv(x, w1) b = Einsum<equation = "nchw,cd->nhwd">(a, w) r = Relu(b) y = Einsum<equation = "nhwd,od->nohw">(r, w2)', (4, 5),
         "float[4, 3, 1, 1] w1, float[4, 5] w, float[2, 5] w2"),
    case("Einsum-elementwise", "Einsum Conv GlobalAveragePool Flatten",
         'a = Conv(x, w1) b = Einsum<equation = "nchw,c->nchw">(a, s) g = GlobalAveragePool(b) f = Flatten(g) '
         'c = Einsum<equation = "nchw,nc->nchw">(b, f) y = Conv(c, w2)', (4,), ENDS + ", float[4] s"),
    case("Einsum-one-operand", "Einsum Conv", 'a = Conv(x, w1) p = Einsum<equation = "nchw->nhc">(a) r = Relu(p) y = MatMul(r, w2)', (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", outputs="float[N, H, 2] y"),
    case("Einsum-sum-of-channels", "Einsum Conv", 'a = Conv(x, w1) y = Einsum<equation = "nchw->nhw">(a)', (),
         "float[4, 3, 1, 1] w1", outputs="float[N, H, W] y", reason="no weight reads it: Einsum node 'y' sums over this axis"),
    case("Einsum-diagonal", "Einsum", 'a = MatMul(x, w1) d = Einsum<equation = "nii->ni">(a) y = MatMul(d, w2)', (),
         "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 4, 5] x", outputs=ROW, reason="it takes a diagonal"),
    case("Einsum-constants", "Einsum", 'w = Einsum<equation = "ij,jk->ik">(u, v) a = MatMul(x, w) y = MatMul(a, w2)', (4,),
         "float[5, 3] u, float[3, 4] v, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
    case("Einsum-three-operands", "Einsum",
         'l = MatMul(x, w1) r = MatMul(x, w2) a = Einsum<equation = "nc,nc,nd->nd">(l, l, r) y = MatMul(a, w3)', (6,),
         "float[5, 4] w1, float[5, 6] w2, float[6, 2] w3", inputs="float[N, 5] x", outputs=ROW,
         reason="no weight reads it: Einsum node 'a' sums over this axis"),
    case("Einsum-bilinear", "Einsum",  # a is read by w, b passes
         'a = MatMul(x, w1) b = MatMul(z, w2) p = Einsum<equation = "nk,kl->nl">(a, w) s = Einsum<equation = "nl,nl->nl">(p, b) y = MatMul(s, w3)',
         (4, 6), "float[5, 4] w1, float[5, 6] w2, float[4, 6] w, float[6, 2] w3", inputs="float[N, 5] x, float[N, 5] z", outputs=ROW),
    case("Einsum-two-summed-axes", "Einsum Conv",  # the weight reads channels; places in space stay
         'a = Conv(x, w1) r = Relu(a) y = Einsum<equation = "nchw,hco->no">(r, w2)', (4,), "float[4, 3, 1, 1] w1, float[6, 4, 2] w2",
         inputs="float[N, 3, 6, 5] x", outputs=ROW),
    case("Einsum-implicit-result", "Einsum Transpose",  # in alphabetical order: (4, N)
         'a = Einsum<equation = "bk,ka">(x, w1) t = Transpose(a) y = Einsum<equation = "bm,mo->bo">(t, w2)', (4,),
         "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
    case("Einsum-heads", "Einsum",  # q, k, v (3 heads of 4) as Keras writes them: heads, and channels of all values; the weight reads the longer axis
         'q = Einsum<equation = "abc,chd->abhd">(x, wq) k = Einsum<equation = "abc,chd->abhd">(x, wk) v = Einsum<equation = "abc,chd->abhd">(x, wv) '
         's = Einsum<equation = "aehd,abhd->ahbe">(k, q) p = Softmax<axis = -1>(s) o = Einsum<equation = "ahbe,aehd->abhd">(p, v) '
         'y = Einsum<equation = "abhd,hdo->abo">(o, wo)', (4,),
         "float[5, 3, 4] wq, float[5, 3, 4] wk, float[5, 3, 4] wv, float[3, 4, 2] wo", inputs="float[N, L, 5] x", outputs="float[N, L, 2] y",
         reason="no weight reads it: Einsum node 's' sums over this axis"),
]  # fmt: skip
