"""Quantised networks: QuantizeLinear and DequantizeLinear around float operators, and operators on integers."""

from __future__ import annotations

from cases.base import ENDS, IMAGE, Case, case

SCALES = (
    "float s = {0.05}, float t = {0.05}, float o = {0.1}, float k = {0.02}, float[4] k4 = {0.01, 0.02, 0.015, 0.03}, "
    "float[2] k2 = {0.01, 0.02}, uint8 u = {128}, int8 z = {0}, int8[4] z4 = {0, 0, 0, 0}, int8[2] z2 = {0, 0}"
)
WEIGHTS = SCALES + ", int8[4, 3, 1, 1] w1, int8[2, 4, 1, 1] w2"
ROW = "float[N, 3] x"
ROWS = "float[N, 2] y"


def stepped(
    name: str, covers: str, body: str, weights: str = "", reason: str = "", widths: tuple[int, ...] = (4,)
) -> Case:
    """Integer convolution to `a` with 4 channels, `body` makes `b` from it, integer convolution of `b`."""
    declared = WEIGHTS + ", int32[4] bias" + (f", {weights}" if weights else "")
    text = (
        f"q = QuantizeLinear(x, s, u) a = QLinearConv(q, s, u, w1, k4, z4, t, u, bias) {body} "
        "c = QLinearConv(b, t, u, w2, k2, z2, o, u) y = DequantizeLinear(c, o, u)"
    )
    return case(name, f"QLinearConv {covers}", text, () if reason else widths, declared, reason=reason)


def weighted(name: str, second: str, widths: tuple[int, ...], weights: str, reason: str = "", opset: int = 17) -> Case:
    """Float convolution to `a` with 4 channels, then one whose weight `d` is made by `second`."""
    text = f"a = Conv(x, w1) {second} y = Conv(a, d)"
    declared = f"float[4, 3, 1, 1] w1, {weights}"
    return case(name, "DequantizeLinear", text, widths, declared, reason=reason, opset=opset)


QUANTIZED = [
    case("QDQ-per-channel", "QuantizeLinear DequantizeLinear Conv",
         "d1 = DequantizeLinear<axis = 0>(w1, k4, z4) e1 = DequantizeLinear<axis = 0>(bias, k4, i4) a = Conv(x, d1, e1) r = Relu(a) "
         "q = QuantizeLinear(r, t, u) b = DequantizeLinear(q, t, u) d2 = DequantizeLinear<axis = 0>(w2, k2, z2) y = Conv(b, d2)", (4,),
         WEIGHTS + ", int32[4] bias, int32[4] i4 = {0, 0, 0, 0}"),
    case("QDQ-per-tensor", "QuantizeLinear DequantizeLinear Conv",
         "d1 = DequantizeLinear(w1, k) e1 = DequantizeLinear(bias, k) a = Conv(x, d1, e1) "
         "q = QuantizeLinear(a, t) b = DequantizeLinear(q, t) d2 = DequantizeLinear(w2, k, z) y = Conv(b, d2)", (4,),
         WEIGHTS + ", int32[4] bias", opset=10),
    case("QDQ-activation-per-channel", "QuantizeLinear DequantizeLinear",
         "a = Conv(x, w1) q = QuantizeLinear<axis = -3>(a, k4, u4) b = DequantizeLinear<axis = 1>(q, k4, u4) y = Conv(b, w2)", (4,),
         ENDS + ", float[4] k4 = {0.01, 0.02, 0.05, 0.1}, uint8[4] u4 = {100, 0, 128, 200}"),
    case("QDQ-depthwise", "DequantizeLinear Conv",
         "a = Conv(x, w1) d = DequantizeLinear<axis = 0>(wd, k4, z4) b = Conv<group = 4>(a, d) e = DequantizeLinear<axis = 0>(w2, k2) "
         "y = Conv(b, e)", (4,), SCALES + ", float[4, 3, 1, 1] w1, int8[4, 1, 3, 3] wd, int8[2, 4, 1, 1] w2"),
    case("QDQ-ConvTranspose", "DequantizeLinear ConvTranspose",
         "d1 = DequantizeLinear<axis = 1>(w1, k4, z4) a = ConvTranspose(x, d1) d2 = DequantizeLinear<axis = 1>(w2, k2, z2) "
         "y = ConvTranspose(a, d2)", (4,), SCALES + ", int8[3, 4, 2, 2] w1, int8[4, 2, 1, 1] w2"),
    case("QDQ-Gemm", "QuantizeLinear DequantizeLinear Gemm",
         "d1 = DequantizeLinear<axis = 0>(w1, k4, z4) e1 = DequantizeLinear<axis = 0>(bias, k4) a = Gemm<transB = 1>(x, d1, e1) "
         "q = QuantizeLinear(a, t, u) b = DequantizeLinear(q, t, u) d2 = DequantizeLinear<axis = 1>(w2, k2, z2) y = Gemm(b, d2)", (4,),
         SCALES + ", int8[4, 3] w1, int8[4, 2] w2, int32[4] bias", inputs=ROW, outputs=ROWS),
    case("QDQ-MatMul", "DequantizeLinear MatMul",
         "d1 = DequantizeLinear<axis = 1>(w1, k4, z4) a = MatMul(x, d1) d2 = DequantizeLinear<axis = 0>(w2, k4, z4) y = MatMul(a, d2)",
         (4,), SCALES + ", int8[3, 4] w1, int8[4, 2] w2", inputs=ROW, outputs=ROWS),
    case("QDQ-bias-read-as-a-shape-too", "DequantizeLinear",
         "e = DequantizeLinear(bias, k) a = Conv(x, w1, e) y = Conv(a, w2) shape = Cast<to = 7>(bias) v = ConstantOfShape(shape)", (),
         ENDS + ", float k = {0.5}, int32[4] bias = {1, 2, 1, 1}", outputs="float[N, 2, P, Q] y, float[1, 2, 1, 1] v",
         reason="tied to made by DequantizeLinear node 'e'|stored tensor 'bias'"),
    weighted("QDQ-of-a-float-weight", "q = QuantizeLinear(w2, k, v) d = DequantizeLinear(q, k, v)", (4,),
             "float[2, 4, 1, 1] w2, float k = {0.02}, uint8 v = {130}"),
    weighted("QDQ-of-a-float-weight-other-zero-point", "q = QuantizeLinear(w2, k, v) d = DequantizeLinear(q, k, v2)", (),
             "float[2, 4, 1, 1] w2, float k = {0.02}, uint8 v = {130}, uint8 v2 = {131}",
             reason="Conv node 'y': its weight is quantised and read with different zero points"),
    weighted("QDQ-zero-point-of-a-weight", "d = DequantizeLinear(w2, k, v)", (), "uint8[2, 4, 1, 1] w2, float k = {0.02}, uint8 v = {130}",
             reason="Conv node 'y': its weight has a zero point other than 0, so no stored value 0 stands for zero"),
    weighted("QDQ-zero-point-of-one-channel", "d = DequantizeLinear<axis = 0>(w2, k2, v)", (),
             "int8[2, 4, 1, 1] w2, float[2] k2 = {0.02, 0.01}, int8[2] v = {0, 1}", reason="has a zero point other than 0"),
    weighted("QDQ-uint8-without-zero-point", "d = DequantizeLinear(w2, k)", (4,), "uint8[2, 4, 1, 1] w2, float k = {0.02}"),
    weighted("QDQ-blocks-of-the-channels", "d = DequantizeLinear<axis = 1, block_size = 2>(w2, pos_k)", (),
             "int8[2, 4, 1, 1] w2, float[2, 2, 1, 1] pos_k", reason="DequantizeLinear node 'd' quantises blocks of this axis", opset=21),
    case("QDQ-blocks-of-the-input", "DequantizeLinear Gemm",
         "d = DequantizeLinear<axis = 0, block_size = 2>(w1, pos_k) a = Gemm(x, d) y = Gemm(a, w2)", (3,),
         "int8[4, 3] w1, float[2, 3] pos_k, float[3, 2] w2", inputs="float[N, 4] x", outputs=ROWS, opset=21),
    weighted("QDQ-float8", "d = DequantizeLinear(w2, k)", (4,), "float8e4m3fn[2, 4, 1, 1] w2, float k = {0.5}", opset=19),
    weighted("QDQ-int16", "d = DequantizeLinear(w2, k)", (4,), "int16[2, 4, 1, 1] w2, float k = {0.5}", opset=21),
    weighted("QDQ-int4", "d = DequantizeLinear<axis = 0>(w2, k2)", (4,), "int4[2, 4, 1, 1] w2, float[2] k2 = {0.2, 0.1}", opset=21),
    case("QDQ-com.microsoft", "QuantizeLinear DequantizeLinear",
         "a = Conv(x, w1) q = com.microsoft.QuantizeLinear(a, t, v) b = com.microsoft.DequantizeLinear(q, t, v) y = Conv(b, w2)", (4,),
         ENDS + ", float t = {0.01}, uint16 v = {30000}"),
    case("weight-that-is-computed", "Conv Add", "a = Conv(x, w1) d = Add(w2, one) y = Conv(a, d)", (), ENDS + ", float one = {1}",
         reason="Conv node 'y': its weight is computed by Add node 'd'"),
    case("DynamicQuantizeLinear", "DynamicQuantizeLinear ConvInteger",
         "a = Conv(x, w1) q, r, v = DynamicQuantizeLinear(a) c = ConvInteger(q, w2, v) f = Cast<to = 1>(c) y = Mul(f, r)", (),
         "float[4, 3, 1, 1] w1, uint8[2, 4, 1, 1] w2", reason="DynamicQuantizeLinear node 'q' measures one range over all channels"),
    case("ConvInteger", "ConvInteger QuantizeLinear",
         "q = QuantizeLinear(x, s, u) a = ConvInteger(q, w1, u, v) f = Cast<to = 1>(a) n = Mul(f, k) b = QuantizeLinear(n, t, u) "
         "c = ConvInteger(b, w2, u) g = Cast<to = 1>(c) y = Mul(g, k)", (4,),
         SCALES + ", uint8[4, 3, 1, 1] w1, uint8[2, 4, 1, 1] w2, uint8 v = {100}"),  # the first layer reads the image alone
    case("ConvInteger-depthwise", "ConvInteger",
         "a = Conv(x, w1) q = QuantizeLinear(a, s, u) c = ConvInteger<group = 4>(q, wd, u) f = Cast<to = 1>(c) y = Conv(f, w2)", (4,),
         ENDS + ", uint8[4, 1, 3, 3] wd, float s = {0.05}, uint8 u = {128}"),
    case("ConvInteger-zero-point", "ConvInteger",
         "a = Conv(x, w1) q = QuantizeLinear(a, s, u) c = ConvInteger(q, w2, u, v) y = Cast<to = 1>(c)", (),
         "float[4, 3, 1, 1] w1, uint8[2, 4, 1, 1] w2, uint8 v = {120}, float s = {0.05}, uint8 u = {128}",
         reason="ConvInteger node 'c': its weight has a zero point other than 0"),
    case("MatMulInteger", "MatMulInteger QuantizeLinear",
         "q = QuantizeLinear(x, s, u) a = MatMulInteger(q, w1, u, z4) f = Cast<to = 1>(a) n = Mul(f, k) b = QuantizeLinear(n, t, u) "
         "c = MatMulInteger(b, w2, u, z2) g = Cast<to = 1>(c) y = Mul(g, k)", (4,),
         SCALES + ", int8[3, 4] w1, int8[4, 2] w2", inputs=ROW, outputs=ROWS),
    case("QLinearMatMul", "QLinearMatMul QuantizeLinear",
         "q = QuantizeLinear(x, s, u) a = QLinearMatMul(q, s, u, w1, k4, z4, t, u) c = QLinearMatMul(a, t, u, w2, k, z, o, u) "
         "y = DequantizeLinear(c, o, u)", (4,), SCALES + ", int8[3, 4] w1, int8[4, 2] w2", inputs=ROW, outputs=ROWS),
    case("QGemm", "QGemm",
         "q = QuantizeLinear(x, s, u) a = com.microsoft.QGemm<transB = 1>(q, s, u, w1, k4, z4, bias, t, u) "
         "y = com.microsoft.QGemm(a, t, u, w2, k2, z2)", (4,),
         SCALES + ", int8[4, 3] w1, int8[4, 2] w2, int32[4] bias", inputs=ROW, outputs=ROWS),
    stepped("QLinearConv", "", "b = MaxPool<kernel_shape = [2, 2]>(a)"),
    stepped("QLinearConv-grouped", "", "d = QLinearConv<group = 2, pads = [1, 1, 1, 1]>(a, t, u, wg, k, z, t, u) "
            "b = QLinearConv<group = 4>(d, t, u, wd, k, z, t, u)", "int8[4, 2, 3, 3] wg, int8[4, 1, 1, 1] wd", widths=(2, 2)),
    stepped("QLinearAdd", "QLinearAdd", "d = QLinearConv(q, s, u, w3, k4, z4, o, u) b = com.microsoft.QLinearAdd(a, t, u, d, o, u, t, u)",
            "int8[4, 3, 1, 1] w3"),
    stepped("QLinearMul", "QLinearMul QLinearSigmoid QLinearGlobalAveragePool",
            "g = com.microsoft.QLinearGlobalAveragePool(a, t, u, t, u) h = com.microsoft.QLinearSigmoid(g, t, u, k, z_u) "
            "b = com.microsoft.QLinearMul(a, t, u, h, k, z_u, t, u)", "uint8 z_u = {0}"),
    stepped("QLinearLeakyRelu", "QLinearLeakyRelu QLinearAveragePool",
            "l = com.microsoft.QLinearLeakyRelu<alpha = 0.1>(a, t, u, t, u) "
            "b = com.microsoft.QLinearAveragePool<kernel_shape = [2, 2]>(l, t, u, t, u)"),
    stepped("QLinearPool-channels-last", "QLinearAveragePool QLinearGlobalAveragePool",
            "l = Transpose<perm = [0, 2, 3, 1]>(a) p = com.microsoft.QLinearAveragePool<kernel_shape = [2, 2], channels_last = 1>(l, t, u, t, u) "
            "g = com.microsoft.QLinearGlobalAveragePool<channels_last = 1>(p, t, u, t, u) b = Transpose<perm = [0, 3, 1, 2]>(g)"),
    case("QLinearConcat", "QLinearConcat QLinearConv",
         "q = QuantizeLinear(x, s, u) a = QLinearConv(q, s, u, w1, k4, z4, t, u) d = QLinearConv(q, s, u, w3, k, z, o, u) "
         "b = com.microsoft.QLinearConcat<axis = 1>(t, u, a, t, u, d, o, u) c = QLinearConv(b, t, u, w2, k2, z2, o, u) "
         "y = DequantizeLinear(c, o, u)", (2, 4), SCALES + ", int8[4, 3, 1, 1] w1, int8[2, 3, 1, 1] w3, int8[2, 6, 1, 1] w2"),
    stepped("QLinearSoftmax", "QLinearSoftmax", "b = com.microsoft.QLinearSoftmax<axis = -1, opset = 13>(a, t, u, k, u)"),
    stepped("QLinearSoftmax-over-channels", "QLinearSoftmax", "b = com.microsoft.QLinearSoftmax<axis = 1, opset = 12>(a, t, u, k, u)",
            reason="QLinearSoftmax node 'b' normalises over this axis"),
    case("float16-network", "Conv BatchNormalization Relu",
         "a = Conv(x, w1, b1) n = BatchNormalization(a, s, t, m, pos_v) r = Relu(n) y = Conv(r, w2)", (4,),
         "float16[4, 3, 1, 1] w1, float16[4] b1, float16[4] s, float16[4] t, float16[4] m, float16[4] pos_v, float16[2, 4, 1, 1] w2",
         inputs=IMAGE.replace("float", "float16"), outputs="float16[N, 2, P, Q] y"),
]  # fmt: skip
