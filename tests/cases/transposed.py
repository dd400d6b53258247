"""Transposed convolutions: axis 0 of the weight reads, axis 1 makes."""

from __future__ import annotations

from cases.base import ENDS, IMAGE, case

TRANSPOSED = [
    case("ConvTranspose", "ConvTranspose", "a = Conv(x, w1) b = ConvTranspose<strides = [2, 2]>(a, wt, bt) r = Relu(b) y = Conv(r, w2)",
         (4, 5), "float[4, 3, 1, 1] w1, float[4, 5, 2, 2] wt, float[5] bt, float[2, 5, 1, 1] w2"),
    case("ConvTranspose-last", "ConvTranspose", "a = Conv(x, w1) y = ConvTranspose<output_padding = [1, 1], strides = [2, 2]>(a, wt)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2, 3, 3] wt"),
    case("ConvTranspose-output-shape", "ConvTranspose",
         "a = Conv(x, w1) b = ConvTranspose<output_shape = [12, 12], strides = [2, 2]>(a, wt) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[4, 5, 3, 3] wt, float[2, 5, 1, 1] w2", inputs="float[N, 3, 6, 5] x"),
    case("ConvTranspose-1d", "ConvTranspose", "a = Conv(x, w1) b = ConvTranspose(a, wt, bt) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1] w1, float[4, 5, 3] wt, float[5] bt, float[2, 5, 1] w2", inputs="float[N, 3, L] x", outputs="float[N, 2, M] y"),
    case("ConvTranspose-grouped-equal-positions", "ConvTranspose",
         "a = Conv(x, w1) b = ConvTranspose<group = 2>(a, wt, bt) y = Conv(b, w2)", (2, 3),  # 6 in = 2 x 3, 4 out = 2 x 2
         "float[6, 3, 1, 1] w1, float[6, 2, 3, 3] wt, float[4] bt, float[2, 4, 1, 1] w2"),
    case("ConvTranspose-grouped-whole-groups", "ConvTranspose",
         "a = Conv(x, w1) b = ConvTranspose<group = 4>(a, wt, bt) y = Conv(b, w2)", (4,),  # groups of 2 in and 3 out
         "float[8, 3, 1, 1] w1, float[8, 3, 1, 1] wt, float[12] bt, float[2, 12, 1, 1] w2"),
    case("ConvTranspose-depthwise", "ConvTranspose",
         "a = Conv(x, w1) b = ConvTranspose<group = 4, strides = [2, 2]>(a, wt) y = Conv(b, w2)", (4,), ENDS + ", float[4, 1, 4, 4] wt"),
    case("ConvTranspose-depthwise-multiplier", "ConvTranspose",
         "a = Conv(x, w1) b = ConvTranspose<group = 4>(a, wt, bt) y = Conv(b, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2, 3, 3] wt, float[8] bt, float[2, 8, 1, 1] w2"),
    case("ConvTranspose-grouped-on-input", "ConvTranspose", "b = ConvTranspose<group = 2>(x, wt, bt) y = Conv(b, w2)", (3,),
         "float[4, 3, 1, 1] wt, float[6] bt, float[2, 6, 1, 1] w2", inputs="float[N, 4, H, W] x"),  # both groups share one axis
    case("ConvTranspose-depthwise-on-input", "ConvTranspose", "a = ConvTranspose<group = 3>(x, wt) y = Conv(a, w2)", (),
         "float[3, 1, 3, 3] wt, float[2, 3, 1, 1] w2"),
    case("ConvTranspose-one-channel", "ConvTranspose", "a = Conv(x, w1) b = ConvTranspose(a, wt) c = ConvTranspose(b, wu) y = Conv(c, w2)",
         (4, 5), "float[4, 3, 1, 1] w1, float[4, 1, 1, 1] wt, float[1, 5, 1, 1] wu, float[2, 5, 1, 1] w2"),
    case("ConvTranspose-weight-behind-Transpose", "ConvTranspose Transpose",
         "a = Conv(x, w1) k = Transpose<perm = [1, 0, 2, 3]>(wt) b = ConvTranspose(a, k) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4, 2, 2] wt, float[2, 5, 1, 1] w2"),
    case("ConvTranspose-tied-to-Conv", "ConvTranspose Conv",  # an autoencoder with one weight
         "a = Conv(x, w1) b = Conv(a, ws) c = ConvTranspose(b, ws) y = Conv(c, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4, 3, 3] ws, float[2, 4, 1, 1] w2"),
    case("ConvTranspose-computed-weight", "ConvTranspose",
         "a = Conv(x, w1) k = GlobalAveragePool(a) b = ConvTranspose(x, k) y = Add(b, b)", (), "float[3, 3, 1, 1] w1",
         inputs="float[3, 3, H, W] x", outputs="float[3, 3, P, Q] y", reason="weight is computed from the input"),
    case("ConvTranspose-on-input", "ConvTranspose", "a = ConvTranspose(x, wt) c = Concat<axis = 1>(a, z) y = Conv(c, w2)", (4,),
         "float[3, 4, 1, 1] wt, float[2, 7, 1, 1] w2", inputs=IMAGE + ", float[N, 3, H, W] z", reason="graph input 'z'"),
    case("ConvTranspose-U-Net", "ConvTranspose Concat MaxPool",
         "e = Conv<pads = [1, 1, 1, 1]>(x, w1) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e) m = Conv(p, wm) r = Relu(m) "
         "u = ConvTranspose<strides = [2, 2]>(r, wt, bt) c = Concat<axis = 1>(u, e) y = Conv(c, w2)", (3, 4, 6),
         "float[4, 3, 3, 3] w1, float[6, 4, 1, 1] wm, float[6, 3, 2, 2] wt, float[3] bt, float[2, 7, 1, 1] w2"),
]  # fmt: skip
