"""Pooling and sampling."""

from __future__ import annotations

from cases.base import ENDS, between, case

WINDOWS = "float[2, 4] rois = {0, 0, 4, 4, 1, 1, 5, 3}, int64[2] images = {0, 0}"
NUMBERED_WINDOWS = "float[2, 5] rois = {0, 0, 0, 4, 4, 0, 1, 1, 5, 3}"
POOLED = "float[2, 2, P, Q] y"
ONE_IMAGE = "float[1, 3, H, W] x"

POOLING = [
    *(between(op, op, f"b = {op}<kernel_shape = [2, 2], strides = [2, 2]>(a)") for op in ("MaxPool", "AveragePool", "LpPool")),
    *(between(op, op, f"b = {op}(a)") for op in ("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")),
    case("MaxPool-1d", "MaxPool", "a = Conv(x, w1) b = MaxPool<kernel_shape = [2]>(a) y = Conv(b, w2)", (4,),
         "float[4, 3, 1] w1, float[2, 4, 1] w2", inputs="float[N, 3, L] x", outputs="float[N, 2, M] y"),
    case("MaxPool-with-indices", "MaxPool",
         "a = Conv(x, w1) p, i = MaxPool<kernel_shape = [2, 2]>(a) f = Cast<to = 1>(i) b = Add(p, f) y = Conv(b, w2)", (), ENDS,
         reason="MaxPool node 'p' numbers positions across channels"),
    case("MaxPool-on-a-sub-pixel-shuffle", "MaxPool Reshape Transpose",  # every third of the channels is one map
         "a = Conv(x, w1) r = Reshape(a, t) p = Transpose<perm = [0, 1, 4, 2, 5, 3]>(r) s = Reshape(p, u) "
         "b = MaxPool<kernel_shape = [2, 2]>(s) y = Conv(b, w2)", (3,),
         "float[12, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[6] t = {0, 3, 2, 2, 6, 6}, int64[4] u = {0, 3, 12, 12}",
         inputs="float[N, 3, 6, 6] x"),
    case("MaxUnpool", "MaxUnpool MaxPool",
         "a = Conv(x, w1) p, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a) "
         "b = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(p, i) y = Conv(b, w2)", (), ENDS,
         reason="MaxUnpool node 'b': its indices number positions across channels"),
    case("RoiAlign", "RoiAlign", "a = Conv(x, w1) b = RoiAlign<output_height = 2, output_width = 2>(a, rois, images) y = Conv(b, w2)",
         (4,), f"{ENDS}, {WINDOWS}", outputs=POOLED),
    case("RoiAlign-opset-10", "RoiAlign", "a = Conv(x, w1) b = RoiAlign(a, rois, images) y = Conv(b, w2)", (4,), f"{ENDS}, {WINDOWS}",
         outputs=POOLED, opset=10),
    case("RoiAlign-computed-windows", "RoiAlign Gemm",
         "a = Conv(x, w1) rois = Gemm(z, wr) b = RoiAlign(a, rois, images) y = Conv(b, w2)", (4,),
         f"{ENDS}, float[3, 4] wr, int64[2] images = {{0, 0}}", inputs="float[N, 3, H, W] x, float[2, 3] z", outputs=POOLED,
         reason="RoiAlign node 'b' pools where it says"),
    case("MaxRoiPool", "MaxRoiPool", "a = Conv(x, w1) b = MaxRoiPool<pooled_shape = [2, 2]>(a, rois) y = Conv(b, w2)", (4,),
         f"{ENDS}, {NUMBERED_WINDOWS}", outputs=POOLED),
    case("GridSample", "GridSample", "a = Conv(x, w1) b = GridSample(a, grid) y = Conv(b, w2)", (4,), ENDS + ", float[1, 5, 5, 2] grid",
         inputs=ONE_IMAGE),
    case("GridSample-opset-20", "GridSample", 'a = Conv(x, w1) b = GridSample<mode = "nearest">(a, grid) y = Conv(b, w2)', (4,),
         ENDS + ", float[1, 5, 5, 2] grid", inputs=ONE_IMAGE, opset=20),
    case("GridSample-contrib", "GridSample", "a = Conv(x, w1) b = com.microsoft.GridSample(a, grid) y = Conv(b, w2)", (4,),
         ENDS + ", float[1, 5, 5, 2] grid", inputs=ONE_IMAGE),
    case("GridSample-computed-grid", "GridSample Transpose",
         "a = Conv(x, w1) g = Conv(x, wg) grid = Transpose<perm = [0, 2, 3, 1]>(g) b = GridSample(a, grid) y = Conv(b, w2)", (4,),
         ENDS + ", float[2, 3, 1, 1] wg", reason="GridSample node 'b' samples where it says"),
    case("AffineGrid", "AffineGrid", "t = Gemm(z, wt) m = Reshape(t, two_three) y = AffineGrid(m, size)", (),
         "float[3, 6] wt, int64[3] two_three = {0, 2, 3}, int64[4] size = {1, 1, 5, 5}", inputs="float[1, 3] z",
         outputs="float[1, 5, 5, 2] y", opset=20, reason="AffineGrid node 'y': its matrices say where to sample"),
]  # fmt: skip
