"""Matrix products."""

from __future__ import annotations

from cases.base import ROW, case

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
         inputs="float[3, 5] x", outputs="float[3, 3] y", reason="second operand is computed from the input"),
    case("MatMul-right", "MatMul Add", "a0 = MatMul(x, w1) a = Add(a0, c) r = Relu(a) y = MatMul(r, w2)", (4,),
         "float[5, 4] w1, float[4] c, float[4, 2] w2", inputs="float[N, L, 5] x", outputs="float[N, L, 2] y"),
    case("MatMul-left", "MatMul", "a = MatMul(w1, x) r = Relu(a) y = MatMul(w2, r)", (4,),
         "float[4, 5] w1, float[2, 4] w2", inputs="float[N, 5, L] x", outputs="float[N, 2, L] y"),
    case("MatMul-over-tokens", "MatMul Transpose",
         "a = MatMul(x, w1) t = Transpose<perm = [0, 2, 1]>(a) m = MatMul(t, wt) r = Relu(m) n = MatMul(r, wu) "
         "b = Transpose<perm = [0, 2, 1]>(n) y = MatMul(b, w2)", (4, 6),
         "float[5, 4] w1, float[3, 6] wt, float[6, 3] wu, float[4, 2] w2", inputs="float[N, 3, 5] x", outputs="float[N, 3, 2] y"),
    case("MatMul-stack", "MatMul", "a = MatMul(x, w1) b = MatMul(a, ws) y = MatMul(b, w2)", (4, 5),
         "float[5, 4] w1, float[3, 4, 5] ws, float[5, 2] w2", inputs="float[3, L, 5] x", outputs="float[3, L, 2] y",
         ),
    case("MatMul-two-activations", "MatMul", "q = MatMul(x, wq) k = MatMul(wk, x) s = MatMul(q, k) y = Relu(s)", (),
         "float[5, 4] wq, float[4, 5] wk", inputs="float[N, 5, 5] x", outputs="float[N, 5, 5] y",
         reason="both sides are computed from the input"),
    case("MatMul-vector", "MatMul", "a = MatMul(x, w1) y = MatMul(a, v)", (), "float[5, 4] w1, float[4] v",
         inputs="float[N, 5] x", outputs="float[N] y", reason="multiplies a vector"),
    case("MatMul-tied-weights", "MatMul Transpose",
         "a = MatMul(x, w1) h = MatMul(a, w) r = Relu(h) k = Transpose(w) d = MatMul(r, k) y = MatMul(d, w2)", (4, 6),
         "float[5, 4] w1, float[4, 6] w, float[4, 2] w2", inputs="float[N, 5] x", outputs=ROW),
]  # fmt: skip
