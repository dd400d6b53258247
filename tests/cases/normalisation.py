"""Normalisations."""

from __future__ import annotations

from cases.base import ENDS, ROW, between, case

STATISTICS = "float[4] s, float[4] t, float[4] m, float[4] pos_v"
EIGHT = "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2"
AFFINE = "float[8, 1, 1] s, float[8, 1, 1] t"
SMALL = "float[N, 3, 5, 5] x"
TOKENS = "float[N, 3, 5] x"

NORMALISATIONS = [
    between("BatchNormalization", "BatchNormalization", "b = BatchNormalization(a, s, t, m, pos_v)", STATISTICS),
    case("BatchNormalization-on-input", "BatchNormalization", "n = BatchNormalization(x, s, t, m, pos_v) a = Conv(n, w1) y = Conv(a, w2)",
         (4,), ENDS + ", float[3] s, float[3] t, float[3] m, float[3] pos_v"),
    between("BatchNormalization-training", "BatchNormalization",
            "b, mean, var = BatchNormalization<training_mode = 1>(a, s, t, m, pos_v)", STATISTICS),
    between("InstanceNormalization", "InstanceNormalization", "b = InstanceNormalization(a, s, t)", "float[4] s, float[4] t"),
    case("InstanceNormalization-on-input", "InstanceNormalization", "n = InstanceNormalization(x, s, t) a = Conv(n, w1) y = Conv(a, w2)",
         (4,), ENDS + ", float[3] s, float[3] t"),
    *(
        case(f"group-norm-by-InstanceNormalization-{name}", "InstanceNormalization Reshape",
             f"a = Conv(x, w1) r = Reshape(a, groups) n = InstanceNormalization(r, one, zero) {back} "
             "p = Mul(k, s) q = Add(p, t) h = Relu(q) y = Conv(h, w2)", (4,),  # 4 groups of 2 channels
             f"{EIGHT}, {AFFINE}, float[4] one, float[4] zero, int64[3] groups = {{0, 4, -1}}{sizes}", inputs=SMALL)
        for name, back, sizes in (
            ("Shape", "sh = Shape(a) k = Reshape(n, sh)", ""),
            ("baked", "k = Reshape(n, baked)", ", int64[4] baked = {0, 8, 5, 5}"),
        )
    ),
    case("group-norm-by-InstanceNormalization-residual", "InstanceNormalization Add",
         "a = Conv(x, w1) r = Reshape(a, groups) n = InstanceNormalization(r, one, zero) sh = Shape(a) k = Reshape(n, sh) "
         "c = Conv(x, w3) b = Add(k, c) y = Conv(b, w2)", (4,),
         f"{EIGHT}, float[8, 3, 1, 1] w3, float[4] one, float[4] zero, int64[3] groups = {{0, 4, -1}}"),
    case("group-norm-by-InstanceNormalization-one-group", "InstanceNormalization",
         "a = Conv(x, w1) r = Reshape(a, groups) n = InstanceNormalization(r, one, zero) sh = Shape(a) b = Reshape(n, sh) y = Conv(b, w2)",
         (), f"{EIGHT}, float[1] one, float[1] zero, int64[3] groups = {{0, 1, -1}}",
         reason="InstanceNormalization node 'n' normalises over this axis"),
    *(
        case(f"GroupNormalization-opset-{opset}", "GroupNormalization",
             "a = Conv(x, w1) b = GroupNormalization<num_groups = 4>(a, s, t) y = Conv(b, w2)", (4,),
             f"{EIGHT}, float[{size}] s, float[{size}] t", opset=opset, inputs="float[N, 3, 7, 7] x")
        for opset, size in ((18, 4), (21, 8))
    ),
    case("GroupNormalization-single-channels", "GroupNormalization",
         "a = Conv(x, w1) b = GroupNormalization<num_groups = 8>(a, s, t) y = Conv(b, w2)", (8,), f"{EIGHT}, float[8] s, float[8] t", opset=21,
         inputs="float[N, 3, 7, 7] x"),
    case("GroupNormalization-one-group", "GroupNormalization",
         "a = Conv(x, w1) b = GroupNormalization<num_groups = 1>(a, s, t) y = Conv(b, w2)", (), f"{EIGHT}, float[8] s, float[8] t", opset=21,
         reason="GroupNormalization node 'b' normalises over this axis"),
    case("LayerNormalization-over-channels", "LayerNormalization Transpose MatMul",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) n = LayerNormalization(t, s, c) h = MatMul(n, wh) r = Relu(h) "
         "k = MatMul(r, wk) b = Transpose<perm = [0, 3, 1, 2]>(k) y = Add(b, a)", (5,),  # a ConvNeXt block: the inner width is free
         "float[4, 3, 1, 1] w1, float[4] s, float[4] c, float[4, 5] wh, float[5, 4] wk", outputs="float[N, 4, P, Q] y",
         reason="LayerNormalization node 'n' normalises over this axis|graph output"),
    case("LayerNormalization-only-reason", "LayerNormalization",
         "a = MatMul(x, w1) n = LayerNormalization(a, s, c) y = MatMul(n, w2)", (), "float[5, 4] w1, float[4] s, float[4] c, float[4, 2] w2",
         inputs="float[N, L, 5] x", outputs="float[N, L, 2] y", reason="LayerNormalization node 'n' normalises over this axis"),
    case("LayerNormalization-over-space", "LayerNormalization",
         "a = Conv(x, w1) n, mean, inv = LayerNormalization<axis = 2>(a, s, c) m = Mul(n, mean) b = Add(m, inv) y = Conv(b, w2)", (4,),
         ENDS + ", float[5, 5] s, float[5, 5] c", inputs=SMALL),
    case("LayerNormalization-per-head", "LayerNormalization Reshape Gemm",  # 4 blocks of 2 share a scale
         "a = Gemm(x, w1) r = Reshape(a, split) n = LayerNormalization(r, s, c) b = Reshape(n, flat) y = Gemm(b, w2)", (4,),
         "float[5, 8] w1, float[2] s, float[2] c, float[8, 2] w2, int64[3] split = {0, 4, 2}, int64[2] flat = {0, 8}",
         inputs="float[N, 5] x", outputs=ROW),
    case("SimplifiedLayerNormalization", "SimplifiedLayerNormalization",  # the runtime has it in the default domain
         "a = MatMul(x, w1) n = SimplifiedLayerNormalization(a, s) y = MatMul(n, w2)", (), "float[5, 4] w1, float[4] s, float[4, 2] w2",
         inputs="float[N, L, 5] x", outputs="float[N, L, 2] y", reason="SimplifiedLayerNormalization node 'n' normalises over this axis"),
    case("LpNormalization-over-space", "LpNormalization", "a = Conv(x, w1) b = LpNormalization<axis = 2, p = 1>(a) y = Conv(b, w2)", (4,), ENDS),
    case("LpNormalization-over-channels", "LpNormalization", "a = Conv(x, w1) b = LpNormalization<axis = 1>(a) y = Conv(b, w2)", (), ENDS,
         reason="LpNormalization node 'b' normalises over this axis"),
    between("MeanVarianceNormalization", "MeanVarianceNormalization", "b = MeanVarianceNormalization(a)"),
    between("MeanVarianceNormalization-opset-9", "MeanVarianceNormalization", "b = MeanVarianceNormalization<axes = [2, 3]>(a)", opset=9),
    case("MeanVarianceNormalization-over-channels", "MeanVarianceNormalization",
         "a = Conv(x, w1) b = MeanVarianceNormalization<axes = [1, 2, 3]>(a) y = Conv(b, w2)", (), ENDS,
         reason="MeanVarianceNormalization node 'b' normalises over this axis"),
    case("LRN", "LRN", "a = Conv(x, w1) s = LRN<size = 3>(a) b = Conv(s, w2) y = Conv(b, w3)", (5,),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3", reason="LRN node 's' mixes neighbours along this axis"),
    between("LRN-across-space", "LRN Transpose",
            "t = Transpose<perm = [0, 2, 1, 3]>(a) l = LRN<size = 3>(t) b = Transpose<perm = [0, 2, 1, 3]>(l)"),
]  # fmt: skip
