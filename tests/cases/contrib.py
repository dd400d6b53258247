"""Operators that ONNX Runtime's optimiser writes into saved models."""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, ROW, between, case

TOKENS = "float[N, L, 5] x"
TOKENS_OUT = "float[N, L, 2] y"

CONTRIB = [
    case("FusedConv", "FusedConv",
         'a = com.microsoft.FusedConv<activation = "Relu">(x, w1, b1) y = com.microsoft.FusedConv<activation = "Sigmoid">(a, w2)', (4,),
         ENDS + ", float[4] b1"),
    case("FusedConv-depthwise", "FusedConv",
         'a = Conv(x, w1) b = com.microsoft.FusedConv<activation = "Relu", group = 4>(a, wd, bd) y = Conv(b, w2)', (4,),
         ENDS + ", float[4, 1, 3, 3] wd, float[4] bd"),
    case("FusedConv-adds", "FusedConv",
         'a = Conv(x, w1) b = com.microsoft.FusedConv<activation = "Relu">(x, w2, b2, a) y = Conv(b, w3)', (4,), BRANCHES + ", float[4] b2"),
    case("FusedConv-adds-a-graph-input", "FusedConv",
         'b = com.microsoft.FusedConv<activation = "Relu">(x, w1, b1, z) y = Conv(b, w2)', (), ENDS + ", float[4] b1",
         inputs="float[N, 3, H, W] x, float[N, 4, H, W] z", reason="FusedConv node 'b' combines it with graph input 'z'"),
    case("FusedGemm", "FusedGemm",
         'a = com.microsoft.FusedGemm<activation = "Relu", alpha = 0.5, beta = 2.0, transA = 0, transB = 0>(x, w1, c1) y = com.microsoft.FusedGemm<activation = "Tanh", alpha = 1.0, beta = 1.0, transA = 0, transB = 1>(a, w2)',
         (4,), "float[5, 4] w1, float[4] c1, float[2, 4] w2", inputs="float[N, 5] x", outputs=ROW),
    case("FusedMatMul", "FusedMatMul",
         "a = com.microsoft.FusedMatMul<alpha = 0.5>(x, w1) r = Relu(a) y = com.microsoft.FusedMatMul<transB = 1>(r, w2)", (4,),
         "float[5, 4] w1, float[2, 4] w2", inputs=TOKENS, outputs=TOKENS_OUT),
    case("FusedMatMul-left", "FusedMatMul",
         "a = com.microsoft.FusedMatMul<transA = 1>(w1, x) r = Relu(a) y = com.microsoft.FusedMatMul<transA = 1>(w2, r)", (4,),
         "float[5, 4] w1, float[4, 2] w2", inputs="float[N, 5, L] x", outputs="float[N, 2, L] y"),
    case("FusedMatMul-transA-activation", "FusedMatMul Transpose",
         "a = MatMul(x, w1) t = Transpose<perm = [0, 2, 1]>(a) y = com.microsoft.FusedMatMul<transA = 1>(t, w2)", (4,),
         "float[5, 4] w1, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT),
    case("FusedMatMul-batch", "FusedMatMul",
         "a = MatMul(x, w1) y = com.microsoft.FusedMatMul<transBatchA = 1>(a, w2)", (), "float[5, 4] w1, float[3, 4, 2] w2",
         inputs="float[2, 3, 5] x", outputs="float[3, 2, 2] y", reason="FusedMatMul node 'y': it moves the batch axis"),
    *(between(f"{op}-contrib", op, f"b = com.microsoft.{op}(a)") for op in ("Gelu", "QuickGelu")),
    *(
        case(f"{op}-bias", op, f"a = MatMul(x, w1) b = com.microsoft.{op}(a, c) y = MatMul(b, w2)", (4,),
             "float[5, 4] w1, float[4] c, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT)
        for op in ("BiasGelu", "FastGelu")
    ),
    case("SkipLayerNormalization", "SkipLayerNormalization",
         "a = MatMul(x, w1) d = MatMul(x, w3) n = com.microsoft.SkipLayerNormalization(a, d, s, t) y = MatMul(n, w2)", (),
         "float[5, 4] w1, float[5, 4] w3, float[4] s, float[4] t, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT,
         reason="SkipLayerNormalization node 'n' normalises over this axis"),
    case("SkipSimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization",
         "a = MatMul(x, w1) d = MatMul(x, w3) n = com.microsoft.SkipSimplifiedLayerNormalization(a, d, s) y = MatMul(n, w2)", (),
         "float[5, 4] w1, float[5, 4] w3, float[4] s, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT,
         reason="SkipSimplifiedLayerNormalization node 'n' normalises over this axis"),
    case("SkipLayerNormalization-over-features", "SkipLayerNormalization",  # tokens are the channels here
         "a = MatMul(w1, x) d = MatMul(w3, x) n, , , sum = com.microsoft.SkipLayerNormalization(a, d, s, t) b = Add(n, sum) y = MatMul(w2, b)",
         (4,), "float[4, 3] w1, float[4, 3] w3, float[5] s, float[5] t, float[2, 4] w2", inputs="float[N, 3, 5] x", outputs="float[N, 2, 5] y"),
    case("MultiHeadAttention", "MultiHeadAttention",
         "q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) o = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v) y = MatMul(o, w2)", (),
         "float[5, 4] wq, float[5, 4] wk, float[5, 4] wv, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT,
         reason="MultiHeadAttention node 'o': the heads of attention are not pruned"),
    case("Attention-contrib", "Attention",
         "a = MatMul(x, w1) o = com.microsoft.Attention<num_heads = 2>(a, w, c) y = MatMul(o, w2)", (),
         "float[5, 4] w1, float[4, 12] w, float[12] c, float[4, 2] w2", inputs=TOKENS, outputs=TOKENS_OUT,
         reason="Attention node 'o': the heads of attention are not pruned"),
]  # fmt: skip
