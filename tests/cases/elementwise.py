"""Element-wise operators."""

from __future__ import annotations

from cases.base import BRANCHES, ENDS, IMAGE, SMALL, between, case, joined

UNARY_ON_SIGNED = [
    "Abs",
    "Asinh",
    "Atan",
    "Ceil",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Shrink",
]
UNARY_ON_POSITIVE = ["Log", "Sqrt", "Reciprocal", "Acosh"]
UNARY_WITHIN_ONE = ["Asin", "Acos", "Atanh"]
UNARY = [
    *(between(op, op, f"t = Tanh(a) b = {op}(t)") for op in UNARY_ON_SIGNED),
    *(between(op, op, f"s = Sigmoid(a) t = Exp(s) b = {op}(t)") for op in UNARY_ON_POSITIVE),
    *(between(op, op, f"s = Tanh(a) t = Atan(s) b = {op}(t)") for op in UNARY_WITHIN_ONE),
    between("Gelu", "Gelu", "b = Gelu(a)", opset=20),
    between("Mish", "Mish", "b = Mish(a)", opset=18),
    between("Cast", "Cast", "d = Cast<to = 11>(a) b = Cast<to = 1>(d)"),
    between("Clip", "Clip", "b = Clip(a, lo, hi)", "float lo = {-0.5}, float hi = {0.75}"),
    between("Clip-attributes", "Clip", "b = Clip<min = -0.5, max = 0.75>(a)", opset=9),
    between("Dropout", "Dropout", "b, kept = Dropout(a, ratio)", "float ratio = {0.5}"),
    between("Dropout-attribute", "Dropout", "b = Dropout<ratio = 0.5>(a)", opset=9),
    between("IsNaN", "IsNaN", "r = Sqrt(a) n = IsNaN(r) b = Cast<to = 1>(n)"),
    between("IsInf", "IsInf", "p = Relu(a) r = Reciprocal(p) n = IsInf(r) b = Cast<to = 1>(n)"),
    between("CastLike", "CastLike", "d = CastLike(a, twice) b = CastLike(d, a)", "double[5] twice"),
    between("Clip-bounds-from-both-ends", "Clip", "c = Clip(a, lo) b = Clip(c, , hi)", "float[] lo, float[] hi"),
    between(
        "ThresholdedRelu-and-Celu-attributes",
        "ThresholdedRelu Celu",
        "t = ThresholdedRelu<alpha = 0.3>(a) b = Celu<alpha = 2.0>(t)",
    ),
    between("BitwiseNot", "BitwiseNot", "i = Cast<to = 6>(a) n = BitwiseNot(i) b = Cast<to = 1>(n)", opset=18),
    between("Not", "Not", "g = Greater(a, zero) n = Not(g) b = Cast<to = 1>(n)", "float zero = {0}"),
]

BINARY = [
    *(joined(op, f"b = {op}(l, r)") for op in ("Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum", "PRelu")),
    joined("Div", "e = Exp(r) b = Div(l, e)"),
    joined("Pow", "e = Exp(l) b = Pow(e, r)"),
    joined("Mod", "e = Exp(r) b = Mod<fmod = 1>(l, e)"),
    joined("Equal", "fl = Round(l) fr = Round(r) e = Equal(fl, fr) b = Cast<to = 1>(e)"),
    *(
        joined(op, f"c = {op}(l, r) b = Cast<to = 1>(c)")
        for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    ),
    *(
        joined(op, f"p = Cast<to = 9>(l) q = Relu(r) q9 = Cast<to = 9>(q) c = {op}(p, q9) b = Cast<to = 1>(c)")
        for op in ("And", "Or", "Xor")
    ),
    *(
        joined(op, f"g = Greater(l, r) h = Less(r, l0) i = Cast<to = 12>(g) j = Cast<to = 12>(h) c = {op}{how}(i, j) b = Cast<to = 1>(c)", 18)
        for op, how in (("BitwiseAnd", ""), ("BitwiseOr", ""), ("BitwiseXor", ""), ("BitShift", '<direction = "LEFT">'))
    ),
    joined("Where", "g = Greater(l, r) b = Where(g, l, r)"),
    *(
        between(f"Add-constant-{shape.replace(', ', 'x') or 'scalar'}", "Add", "b = Add(a, c)", f"float[{shape}] c")
        for shape in ("4, 1, 1", "1, 4, 1, 1", "1", "1, 1, 1")
    ),
    between("Add-constant-scalar", "Add", "b = Add(c, a)", "float c = {0.7}"),
    between("Sub-constant-node", "Sub", "b = Sub(a, const_c)", "float[4, 1, 1] const_c"),
    between("PRelu-per-channel", "PRelu", "b = PRelu(a, slope)", "float[4, 1, 1] slope"),
    between("PRelu-one-slope", "PRelu", "b = PRelu(a, slope)", "float[1] slope"),
    between("PRelu-slope-of-rank-4", "PRelu", "b = PRelu(a, slope)", "float[1, 4, 1, 1] slope"),
    between("Max-with-constants", "Max Min", "m = Max(a, lo) b = Min(hi, m, other)", "float[4, 1, 1] lo, float[1] hi, float[1, 4, 1, 1] other"),
    case(
        "Where-constant-mask-in-space", "Where", "a = Conv(x, w1) b = Where(m, a, c) y = Conv(b, w2)", (4,),
        ENDS + ", bool[6, 6] m, float[4, 1, 1] c", inputs=SMALL,
    ),
    case(
        "Mul-per-block-constant", "Mul Reshape",  # 2 blocks of 3 channels: a factor for each block keeps it together
        "a = Conv(x, w1) s = Reshape(a, t1) m = Mul(s, c) b = Reshape(m, t2) y = Conv(b, w2)", (2,),
        "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, float[2, 1, 1, 1] c, int64[5] t1 = {0, 2, 3, 6, 6}, int64[4] t2 = {0, 6, 6, 6}",
        inputs=SMALL,
    ),
    case(
        "Mul-blocks-by-an-input", "Mul Reshape",  # an input with one factor for each of 2 blocks: equal positions of both go
        "a = Conv(x, w1) s = Reshape(a, t1) m = Mul(s, z) b = Reshape(m, t2) y = Conv(b, w2)", (3,),
        "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, int64[5] t1 = {0, 2, 3, 6, 5}, int64[4] t2 = {0, 6, 6, 5}",
        inputs="float[N, 3, 6, 5] x, float[N, 2, 1, 1, 1] z",
    ),
    between("Where-constant-mask", "Where", "b = Where(m, a, c)", "bool[4, 1, 1] m, float c = {0.3}"),
    case(
        "Add-constant-in-space", "Add", "a = Conv(x, w1) b = Add(a, c) d = Mul(b, e) y = Conv(d, w2)", (4,),
        ENDS + ", float[4, 6, 6] c, float[6, 6] e", inputs=SMALL,
    ),
    case(
        "Mul-one-channel-map", "Mul Sigmoid",
        "a = Conv(x, w1) s0 = Conv(x, ws) s = Sigmoid(s0) b = Mul(a, s) y = Conv(b, w2)", (4,),
        ENDS + ", float[1, 3, 1, 1] ws",
    ),
    case(
        "Mul-squeeze-excite", "Mul GlobalAveragePool",
        "a = Conv(x, w1) g = GlobalAveragePool(a) h = Conv(g, we) r = Relu(h) s = Conv(r, wf) t = Sigmoid(s) "
        "b = Mul(t, a) y = Conv(b, w2)", (2, 4), ENDS + ", float[2, 4, 1, 1] we, float[4, 2, 1, 1] wf",
    ),
    case(
        "Sum-three", "Sum Mean Max",
        "l = Conv(x, w1) r = Conv(x, w2) m = Conv(x, wm) s = Sum(l, r, c) t = Mean(s, m, l) b = Max(t, r, m) y = Conv(b, w3)",
        (4,), BRANCHES + ", float[4, 3, 1, 1] wm, float[4, 1, 1] c",
    ),
    case(
        "Add-graph-input", "Add", "a = Conv(x, w1) b = Add(a, z) y = Conv(b, w2)", (), ENDS,
        inputs=IMAGE + ", float[N, 4, H, W] z", reason="Add node 'b' combines it with graph input 'z'",
    ),
    case(
        "residual-chain", "Add Conv BatchNormalization",
        "a0 = Conv(x, w1) a = Relu(a0) "
        "c = Conv<pads = [1, 1, 1, 1]>(a, wc) d = BatchNormalization(c, s, t, m, pos_v) e = Relu(d) "
        "f = Conv(e, wf) g = Add(f, a) h = Relu(g) y = Conv(h, w2)", (4, 5),
        ENDS + ", float[5, 4, 3, 3] wc, float[4, 5, 1, 1] wf, float[5] s, float[5] t, float[5] m, float[5] pos_v",
    ),
]  # fmt: skip
