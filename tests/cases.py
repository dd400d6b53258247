"""Small models, one or more per operator rule, with the group widths worked out by hand.

Each model is ONNX text that fits on a few lines; weights are declared without values and filled with seeded ones by
`tests.models.filled`. Widths follow from reading the text: channels that an Add, a Concat or a depthwise convolution ties
together are one unit, and units with the same set of weights and axes are one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import onnx

from models import filled

IMAGE = "float[N, 3, H, W] x"  # everything dynamic but the channels
MAPS = "float[N, 2, P, Q] y"
SMALL = "float[N, 3, 6, 6] x"  # static space, dynamic batch
ROW = "float[N, 2] y"
ENDS = "float[4, 3, 1, 1] w1, float[2, 4, 1, 1] w2"  # x (3) -> a (4), b (4) -> y (2)
BRANCHES = "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[2, 4, 1, 1] w3"


@dataclass(frozen=True)
class Case:
    """One model and what discovery must find in it.

    Attributes:
        name: Test id.
        covers: Operators it was written for.
        text: The model.
        widths: Sorted widths of the prunable groups.
        reason: Regular expression that some locked reason must match; empty if nothing more than outputs is locked.
    """

    name: str
    covers: tuple[str, ...]
    text: str
    widths: tuple[int, ...]
    reason: str = ""

    def __str__(self) -> str:
        return self.name

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed model with values; tests must not edit it."""
        return filled(self.text)

    @property
    def dynamic(self) -> bool:
        """Whether the first input has a dynamic axis."""
        return any(dim.dim_param for dim in self.model.graph.input[0].type.tensor_type.shape.dim)


def case(
    name: str,
    covers: str,
    body: str,
    widths: tuple[int, ...],
    weights: str = "",
    *,
    inputs: str = IMAGE,
    outputs: str = MAPS,
    opset: int = 17,
    ir: int = 8,
    reason: str = "",
) -> Case:
    """A case from the parts of its text."""
    header = f'<ir_version: {ir}, opset_import: ["" : {opset}], metadata_props: ["author": "tests"]>'
    declared = f"<{weights}>" if weights else ""
    text = f"{header}\nnet ({inputs}) => ({outputs})\n{declared}\n{{ {body} }}"
    return Case(name, tuple(covers.split()), text, widths, reason)


def between(name: str, covers: str, body: str, weights: str = "", *, opset: int = 17, ir: int = 8) -> Case:
    """Convolution to `a` with 4 channels, `body` makes `b` with the same channels, convolution of `b`: one group of 4."""
    declared = ENDS + (f", {weights}" if weights else "")
    return case(name, covers, f"a = Conv(x, w1) {body} y = Conv(b, w2)", (4,), declared, opset=opset, ir=ir)


def joined(op: str, body: str, opset: int = 17) -> Case:
    """Two convolutions to `l` and `r`, which `body` joins position by position to `b`: one group of 4."""
    text = f"l0 = Conv(x, w1) r0 = Conv(x, w2) l = Tanh(l0) r = Tanh(r0) {body} y = Conv(b, w3)"
    return case(f"{op}-two-branches", op, text, (4,), BRANCHES, opset=opset)


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
    joined("Where", "g = Greater(l, r) b = Where(g, l, r)"),
    *(
        between(f"Add-constant-{shape.replace(', ', 'x') or 'scalar'}", "Add", "b = Add(a, c)", f"float[{shape}] c")
        for shape in ("4, 1, 1", "1, 4, 1, 1", "1", "1, 1, 1")
    ),
    between("Add-constant-scalar", "Add", "b = Add(c, a)", "float c = {0.7}"),
    between("Sub-constant-node", "Sub", "b = Sub(a, const_c)", "float[4, 1, 1] const_c"),
    between("PRelu-per-channel", "PRelu", "b = PRelu(a, slope)", "float[4, 1, 1] slope"),
    between("PRelu-one-slope", "PRelu", "b = PRelu(a, slope)", "float[1] slope"),
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

CONVOLUTIONS = [
    case("Conv-1d", "Conv", "a = Conv<pads = [1, 1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)", (5,),
         "float[5, 3, 3] w1, float[5] b1, float[2, 5, 3] w2, float[2] b2",
         inputs="float[N, 3, L] x", outputs="float[N, 2, M] y"),
    case("Conv-2d-named", "Conv",
         "[first] a = Conv<strides = [2, 2]>(x, w1, b1) r = Relu(a) [second] y = Conv<auto_pad = \"SAME_UPPER\">(r, w2)", (5,),
         "float[5, 3, 3, 3] w1, float[5] b1, float[2, 5, 3, 3] w2"),
    case("Conv-3d", "Conv", "a = Conv(x, w1) y = Conv(a, w2)", (4,),
         "float[4, 3, 1, 2, 1] w1, float[2, 4, 2, 1, 1] w2",
         inputs="float[N, 3, 2, 4, 4] x", outputs="float[N, 2, A, B, C] y"),
    case("Conv-grouped-equal-positions", "Conv", "a = Conv(x, w1) b = Conv<group = 2>(a, wg, bg) y = Conv(b, w2)", (2, 3),
         "float[6, 3, 1, 1] w1, float[4, 3, 3, 3] wg, float[4] bg, float[2, 4, 1, 1] w2"),  # 6 in = 2 x 3, 4 out = 2 x 2
    case("Conv-grouped-whole-groups", "Conv", "a = Conv(x, w1) b = Conv<group = 4>(a, wg, bg) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[8, 2, 1, 1] wg, float[8] bg, float[2, 8, 1, 1] w2"),  # groups of 2 go whole
    case("Conv-grouped-on-input", "Conv", "b = Conv<group = 2>(x, wg) y = Conv(b, w2)", (3,),
         "float[6, 2, 1, 1] wg, float[2, 6, 1, 1] w2", inputs="float[N, 4, H, W] x"),
    case("Conv-depthwise", "Conv", "a = Conv(x, w1) b = Conv<group = 4, pads = [1, 1, 1, 1]>(a, wd, bd) y = Conv(b, w2)", (4,),
         ENDS + ", float[4, 1, 3, 3] wd, float[4] bd"),
    case("Conv-depthwise-multiplier", "Conv", "a = Conv(x, w1) b = Conv<group = 4>(a, wd, bd) y = Conv(b, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[12, 1, 3, 3] wd, float[12] bd, float[2, 12, 1, 1] w2"),
    case("Conv-depthwise-on-input", "Conv", "a = Conv<group = 3>(x, wd) y = Conv(a, w2)", (),
         "float[3, 1, 3, 3] wd, float[2, 3, 1, 1] w2", reason="graph input 'x'"),
    case("Conv-depthwise-multiplier-on-input", "Conv", "a = Conv<group = 3>(x, wd) y = Conv(a, w2)", (4,),
         "float[12, 1, 3, 3] wd, float[2, 12, 1, 1] w2"),
    case("Conv-one-channel", "Conv", "a = Conv(x, w1) b = Conv(a, wb) y = Conv(b, w2)", (4,),
         "float[1, 3, 1, 1] w1, float[4, 1, 1, 1] wb, float[2, 4, 1, 1] w2"),
    case("Conv-computed-weight", "Conv", "a = Conv(x, w1) k = GlobalAveragePool(a) b = Conv(a, k) y = Mul(b, b)", (),
         "float[4, 3, 1, 1] w1", inputs="float[1, 3, H, W] x", outputs="float[1, 1, P, Q] y",
         reason="weight is computed from the input"),
    case("Conv-shared-weight", "Conv",
         "a = Conv(x, w1) b = Conv(a, ws) r = Relu(b) c = Conv(r, ws) y = Conv(c, w2)", (4,),
         ENDS + ", float[4, 4, 1, 1] ws"),  # out of ws is in of ws: one unit per channel
    case("Conv-shared-head", "Conv MaxPool",
         "a = Conv(x, w1) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) c = Conv(p, w2) ya = Conv(a, w3, b3) yc = Conv(c, w3, b3)",
         (4,), BRANCHES + ", float[2] b3", outputs="float[N, 2, P, Q] ya, float[N, 2, R, S] yc"),
    case("Conv-weights-in-Constant-nodes", "Conv", "a = Conv(x, const1, const_bias) r = Relu(a) y = Conv(r, const2)", (4,),
         "float[4, 3, 1, 1] const1, float[4] const_bias, float[2, 4, 1, 1] const2"),
    case("Conv-weights-behind-Identity-and-Transpose", "Conv Transpose Identity",
         "k1 = Identity(w1) a = Conv(x, k1) k2 = Transpose<perm = [1, 0, 2, 3]>(wt) y = Conv(a, k2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2, 1, 3] wt"),
    case("Conv-weights-behind-Cast", "Conv Cast",
         "k1 = Cast<to = 1>(w1) a = Conv(x, k1) k2 = Cast<to = 1>(w2) y = Conv(a, k2)", (4,),
         "float16[4, 3, 1, 1] w1, float16[2, 4, 1, 1] w2"),
    case("Conv-weights-behind-Unsqueeze", "Conv Unsqueeze",
         "k1 = Unsqueeze(w1, ax) a = Conv(x, k1) k2 = Unsqueeze(w2, ax) y = Conv(a, k2)", (4,),
         "float[4, 3] w1, float[2, 4] w2, int64[2] ax = {2, 3}"),
    case("Conv-weights-behind-Reshape", "Conv Reshape",
         "k1 = Reshape(w1, t1) a = Conv(x, k1) k2 = Reshape(w2, t2) y = Conv(a, k2)", (4,),
         "float[4, 3] w1, float[2, 4] w2, int64[4] t1 = {4, 3, 1, 1}, int64[4] t2 = {2, 4, 1, 1}"),
    case("Conv-bias-in-value-floats", "Conv",
         "bias = Constant<value_floats = [0.5, -1.0, 2.0, 0.25]>() a = Conv(x, w1, bias) r = Relu(a) y = Conv(r, w2)", (4,), ENDS),
    case("Conv-initializers-are-inputs", "Conv BatchNormalization",
         "a = Conv(x, w1) b = BatchNormalization(a, s, t, m, pos_v) y = Conv(b, w2)", (4,),
         ENDS + ", float[4] s, float[4] t, float[4] m, float[4] pos_v", opset=8, ir=3),
    case("two-inputs-two-outputs", "Conv Add Concat",
         "a = Conv(x, w1) b = Conv(z, w2) s = Add(a, b) c = Concat<axis = 1>(s, z) y = Conv(c, w3) q = Conv(s, w4)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 5, 1, 1] w2, float[2, 9, 1, 1] w3, float[3, 4, 1, 1] w4",
         inputs=IMAGE + ", float[N, 5, H, W] z", outputs=MAPS + ", float[N, 3, H, W] q", reason="graph input 'z'"),
    case("declared-shapes", "Conv Relu", "a = Conv(x, w1) r = Relu(a) y = Conv(r, w2)", (4,),
         ENDS + ", float[N, 4, H, W] a, float[N, 4, H, W] r"),
    case("output-from-the-middle", "Conv Relu", "a = Conv(x, w1) r = Relu(a) b = Conv(r, w2) y = Conv(b, w3)", (5,),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3", outputs=MAPS + ", float[N, 4, H, W] r",
         reason="graph output 'r'"),
    case("unsupported-CumSum", "Conv", "a = Conv(x, w1) s = CumSum(a, axis) y = Conv(s, w2)", (), ENDS + ", int64 axis = {1}",
         reason=r"CumSum node 's': it has no rule \(operator CumSum is not supported yet\)"),
    case("unsupported-LRN", "Conv", "a = Conv(x, w1) s = LRN<size = 3>(a) b = Conv(s, w2) y = Conv(b, w3)", (5,),
         "float[4, 3, 1, 1] w1, float[5, 4, 1, 1] w2, float[2, 5, 1, 1] w3", reason="LRN node 's': it has no rule"),
    case("sub-graph-reads-it", "Conv",
         "a = Conv(x, w1) s = If(flag)<then_branch = yes () => (float[N, 4, H, W] t) { t = Relu(a) }, "
         "else_branch = no () => (float[N, 4, H, W] e) { e = Neg(a) }> y = Conv(s, w2)", (), ENDS + ", bool flag = {1}",
         reason="If node 's': its sub-graphs read outer tensors"),
]  # fmt: skip

NORMALISATION_AND_POOLING = [
    between("BatchNormalization", "BatchNormalization", "b = BatchNormalization(a, s, t, m, pos_v)",
            "float[4] s, float[4] t, float[4] m, float[4] pos_v"),
    case("BatchNormalization-on-input", "BatchNormalization", "n = BatchNormalization(x, s, t, m, pos_v) a = Conv(n, w1) y = Conv(a, w2)",
         (4,), ENDS + ", float[3] s, float[3] t, float[3] m, float[3] pos_v"),
    *(between(op, op, f"b = {op}<kernel_shape = [2, 2], strides = [2, 2]>(a)") for op in ("MaxPool", "AveragePool", "LpPool")),
    case("MaxPool-with-indices", "MaxPool",
         "a = Conv(x, w1) p, i = MaxPool<kernel_shape = [2, 2]>(a) f = Cast<to = 1>(i) b = Add(p, f) y = Conv(b, w2)", (), ENDS,
         reason="MaxPool node 'p' numbers positions across channels"),
    *(between(op, op, f"b = {op}(a)") for op in ("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")),
    between("Softmax-over-space", "Softmax", "b = Softmax<axis = 3>(a)"),
    between("LogSoftmax-over-space", "LogSoftmax", "b = LogSoftmax<axis = -1>(a)"),
    between("Hardmax-over-space", "Hardmax", "b = Hardmax<axis = 2>(a)"),
    between("Softmax-opset-11-over-space", "Softmax", "b = Softmax<axis = 2>(a)", opset=11),
    *(
        case(f"{op}-over-channels", op, f"a = Conv(x, w1) b = {op}<axis = 1>(a) y = Conv(b, w2)", (), ENDS,
             reason=f"{op} node 'b' normalises over this axis")
        for op in ("Softmax", "LogSoftmax", "Hardmax")
    ),
    case("Softmax-opset-11-default-axis", "Softmax", "a = Conv(x, w1) b = Softmax(a) y = Conv(b, w2)", (), ENDS, opset=11,
         reason="normalises over this axis"),
    *(
        between(f"{op}-keepdims", op, f"t = Tanh(a) e = Exp(t) b = {op}<axes = [3]>(e)", opset=12)
        for op in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
                   "ReduceProd", "ReduceSum", "ReduceSumSquare")
    ),
    case("ReduceMean-keepdims-0", "ReduceMean Gemm", "a = Conv(x, w1) r = ReduceMean<axes = [2, 3], keepdims = 0>(a) y = Gemm(r, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", outputs=ROW),
    case("ReduceMean-operand", "ReduceMean Gemm", "a = Conv(x, w1) r = ReduceMean<keepdims = 0>(a, axes) y = Gemm(r, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2, int64[2] axes = {-1, -2}", outputs=ROW, opset=18),
    between("ReduceSum-operand", "ReduceSum", "b = ReduceSum(a, axes)", "int64[1] axes = {2}", opset=13),
    between("ReduceSum-noop", "ReduceSum", "b = ReduceSum<noop_with_empty_axes = 1>(a, none)", "int64[0] none = {}", opset=13),
    case("ReduceMean-over-channels", "ReduceMean", "a = Conv(x, w1) m = ReduceMean<axes = [1]>(a) y = Conv(m, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 1, 1, 1] w2", reason="ReduceMean node 'm' reduces this axis"),
    case("ReduceMax-over-all", "ReduceMax", "a = Conv(x, w1) m = ReduceMax<keepdims = 0>(a) y = Add(m, m)", (),
         "float[4, 3, 1, 1] w1", outputs="float y", reason="ReduceMax node 'm' reduces this axis"),
]  # fmt: skip

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

CONCAT_SPLIT_SLICE = [
    case("Concat-two-branches", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 1>(a, b) y = Conv(c, w3)", (3, 4),
         "float[4, 3, 1, 1] w1, float[3, 3, 1, 1] w2, float[2, 7, 1, 1] w3"),
    case("Concat-locked-part", "Concat", "a = Conv(x, w1) c = Concat<axis = -3>(x, a) y = Conv(c, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 7, 1, 1] w2", reason="graph input 'x'"),
    case("Concat-same-twice", "Concat", "a = Conv(x, w1) c = Concat<axis = 1>(a, a) y = Conv(c, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[2, 8, 1, 1] w2"),
    case("Concat-one-channel", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 1>(a, b) y = Conv(c, w3)", (4,),
         "float[4, 3, 1, 1] w1, float[1, 3, 1, 1] w2, float[2, 5, 1, 1] w3", reason="only channel of 'b'|made by Conv node 'b'"),
    case("Concat-in-space", "Concat", "a = Conv(x, w1) b = Conv(x, w2) c = Concat<axis = 3>(a, b) y = Conv(c, w3)", (4,), BRANCHES),
    case("Concat-dense-block", "Concat BatchNormalization",
         "a = Conv(x, w1) n = BatchNormalization(a, s, t, m, pos_v) b = Conv(n, w2) c = Concat<axis = 1>(a, b) "
         "k = BatchNormalization(c, s2, t2, m2, pos_v2) y = Conv(k, w3)", (3, 4),
         "float[4, 3, 1, 1] w1, float[3, 4, 1, 1] w2, float[2, 7, 1, 1] w3, float[4] s, float[4] t, float[4] m, float[4] pos_v, "
         "float[7] s2, float[7] t2, float[7] m2, float[7] pos_v2"),
    *(
        case(f"Split-{name}", "Split Conv",
             f"a = Conv(x, w1) l, r = Split<{attributes}>({operands}) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)",
             tuple(sorted((left, 6 - left))),
             f"float[6, 3, 1, 1] w1, float[2, {left}, 1, 1] w2, float[2, {6 - left}, 1, 1] w3" + sizes, opset=opset)
        for name, opset, attributes, operands, left, sizes in (
            ("attribute", 11, "axis = 1, split = [4, 2]", "a", 4, ""),
            ("attribute-first", 11, "split = [4, 2], axis = 1", "a", 4, ""),
            ("equal-opset-11", 11, "axis = 1", "a", 3, ""),
            ("operand", 13, "axis = -3", "a, sizes", 4, ", int64[2] sizes = {4, 2}"),
            ("equal-opset-13", 13, "axis = 1", "a", 3, ""),
            ("num-outputs", 18, "axis = 1, num_outputs = 2", "a", 3, ""),
        )
    ),
    case("Split-num-outputs-uneven", "Split",
         "a = Conv(x, w1) l, r = Split<axis = 1, num_outputs = 2>(a) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)", (2, 3),
         "float[5, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 2, 1, 1] w3", opset=18),
    case("Split-sizes-from-Shape", "Split Shape",
         "a = Conv(x, w1) s = Shape<start = 1, end = 2>(a) h = Div(s, two) sizes = Concat<axis = 0>(h, h) "
         "l, r = Split<axis = 1>(a, sizes) yl = Conv(l, w2) yr = Conv(r, w3) y = Add(yl, yr)", (3, 3),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 3, 1, 1] w3, int64[1] two = {2}"),
    case("Split-C2f", "Split Concat Add",
         "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) c = Conv(r, wc) d = Conv(c, wd) e = Add(r, d) "
         "f = Concat<axis = 1>(l, r, e) y = Conv(f, w2)", (3, 3, 5),
         "float[6, 3, 1, 1] w1, float[5, 3, 1, 1] wc, float[3, 5, 1, 1] wd, float[2, 9, 1, 1] w2, int64[2] sizes = {3, 3}"),
    case("Split-in-space", "Split", "a = Conv(x, w1) l, r = Split<axis = 2>(a) b = Sub(l, r) y = Conv(b, w2)", (4,), ENDS, inputs=SMALL),
    case("Split-then-Concat-swapped", "Split Concat MaxPool",
         "a = Conv(x, w1) l, r = Split<axis = 1>(a, sizes) p = MaxPool<kernel_shape = [1, 1]>(r) "
         "c = Concat<axis = 1>(p, l) y = Conv(c, w2)", (2, 4),  # one weight made and one read, but neither piece may vanish
         "float[6, 3, 1, 1] w1, float[2, 6, 1, 1] w2, int64[2] sizes = {4, 2}"),
    *(
        case(f"Slice-{name}", "Slice Conv Add",
             f"a = Conv(x, w1) b = Slice{slicing} c = Conv(b, w2) d = Conv(a, w3) y = Add(c, d)", widths,
             "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, float[2, 6, 1, 1] w3" + bounds, opset=opset)
        for name, opset, slicing, widths, bounds in (
            ("attributes", 9, "<starts = [1], ends = [4], axes = [1]>(a)", (3, 3), ""),
            ("attributes-no-axes", 9, "<starts = [0, 3], ends = [9223372036854775807, 6]>(a)", (3, 3), ""),
            ("operands", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {2}, int64[1] e = {5}, int64[1] axis = {1}"),
            ("negative", 13, "(a, s, e, axis, step)", (3, 3),
             ", int64[1] s = {-4}, int64[1] e = {-1}, int64[1] axis = {-3}, int64[1] step = {1}"),
            ("from-before-the-front", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {-100}, int64[1] e = {3}, int64[1] axis = {1}"),
            ("just-before-the-front", 13, "(a, s, e, axis)", (3, 3), ", int64[1] s = {-7}, int64[1] e = {3}, int64[1] axis = {1}"),
            ("to-int-max", 13, "(a, s, e, axis)", (3, 3),
             ", int64[1] s = {3}, int64[1] e = {9223372036854775807}, int64[1] axis = {1}"),
            ("with-space", 13, "(a, s, e, axis)", (3, 3),
             ", int64[3] s = {0, 0, 1}, int64[3] e = {9223372036854775807, 9223372036854775807, 4}, int64[3] axis = {2, 3, 1}"),
            ("int32", 13, "(a, s, e, axis)", (3, 3), ", int32[1] s = {3}, int32[1] e = {2147483647}, int32[1] axis = {1}"),
        )
    ),
    case("Slice-strided-channels", "Slice", "a = Conv(x, w1) b = Slice(a, s, e, axis, step) y = Conv(b, w2)", (),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] s = {0}, int64[1] e = {6}, int64[1] axis = {1}, int64[1] step = {2}",
         reason="takes every 2th position"),
    case("Slice-reversed-channels", "Slice", "a = Conv(x, w1) b = Slice(a, s, e, axis, step) y = Conv(b, w2)", (),
         ENDS + ", int64[1] s = {-1}, int64[1] e = {-100}, int64[1] axis = {1}, int64[1] step = {-1}", reason="takes every -1th"),
    between("Slice-focus", "Slice Add", "p = Slice(a, s, e, axes, step) q = Slice(a, s2, e, axes, step) b = Add(p, q)",
            "int64[2] s = {0, 0}, int64[2] s2 = {1, 1}, int64[2] e = {2147483647, 2147483647}, int64[2] axes = {2, 3}, int64[2] step = {2, 2}"),
    case("Slice-channel-half-by-float-arithmetic", "Slice Shape",  # c // 2 as older exporters spell it
         "a = Conv(x, w1) sh = Shape(a) c = Gather(sh, one) c_float = Cast<to = 1>(c) h_float = Div(c_float, two) h_floor = Floor(h_float) "
         "h0 = Cast<to = 7>(h_floor) b = Slice(a, zero, h0, one) d = Slice(a, h0, c, one) g = Sigmoid(d) m = Mul(b, g) y = Conv(m, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, float two = {2}"),
    case("Slice-channel-half-by-Shape", "Slice Shape",
         "a = Conv(x, w1) sh = Shape(a) c = Gather(sh, one) h0 = Div(c, two) b = Slice(a, zero, h0, one) d = Slice(a, h0, c, one) "
         "g = Sigmoid(d) m = Mul(b, g) y = Conv(m, w2)", (3,),
         "float[6, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}"),
]  # fmt: skip

RESHAPES = [
    case("Flatten-Gemm", "Flatten Gemm", "a = Conv(x, w1) r = Relu(a) f = Flatten(r) y = Gemm<transB = 1>(f, w2, c2)", (4,),
         "float[4, 3, 3, 3] w1, float[2, 64] w2, float[2] c2", inputs=SMALL, outputs=ROW),
    case("Flatten-axis-2", "Flatten Reshape", "a = Conv(x, w1) f = Flatten<axis = 2>(a) r = Reshape(f, t) y = Conv(r, w2)", (4,),
         ENDS + ", int64[4] t = {-1, 4, 6, 6}", inputs=SMALL),
    *(
        case(f"Reshape-{name}", "Reshape Gemm", "a = Conv(x, w1) f = Reshape(a, t) y = Gemm(f, w2)", (4,),
             f"float[4, 3, 1, 1] w1, float[144, 2] w2, int64[2] t = {target}", inputs=SMALL, outputs=ROW)
        for name, target in (("zero-and-infer", "{0, -1}"), ("explicit-count", "{0, 144}"), ("infer-batch", "{-1, 144}"))
    ),
    case("Reshape-attribute-in-Constant", "Reshape Gemm", "t = Constant<value_ints = [-1, 144]>() a = Conv(x, w1) f = Reshape(a, t) y = Gemm(f, w2)",
         (4,), "float[4, 3, 1, 1] w1, float[144, 2] w2", inputs=SMALL, outputs=ROW),
    case("Reshape-shared-target", "Reshape Gemm Add",
         "t = Constant<value = int64[2] {-1, 144}>() a = Conv(x, w1) f = Reshape(a, t) b = Conv(x, w2) g = Reshape(b, t) "
         "yf = Gemm(f, w3) yg = Gemm(g, w4) y = Add(yf, yg)", (4, 4),
         "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[144, 2] w3, float[144, 2] w4", inputs=SMALL, outputs=ROW),
    case("Reshape-shared-target-old-IR", "Reshape Gemm Add",
         "a = Conv(x, w1) f = Reshape(a, t) b = Conv(x, w2) g = Reshape(b, t) yf = Gemm(f, w3, c) yg = Gemm(g, w4, c) y = Add(yf, yg)", (4, 4),
         "float[4, 3, 1, 1] w1, float[4, 3, 1, 1] w2, float[144, 2] w3, float[144, 2] w4, float[2] c, int64[2] t = {-1, 144}",
         inputs=SMALL, outputs=ROW, opset=8, ir=3),
    case("Reshape-space", "Reshape", "a = Conv(x, w1) f = Reshape(a, t) r = Relu(f) g = Reshape(r, u) y = Conv(g, w2)", (4,),
         ENDS + ", int64[3] t = {0, 4, -1}, int64[4] u = {0, 0, 6, 6}", inputs=SMALL),
    case("Reshape-channel-shuffle", "Reshape Transpose",
         "a = Conv(x, w1) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) b = Reshape(p, u) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[5] t = {0, 2, 4, 6, 6}, int64[4] u = {-1, 8, 6, 6}", inputs=SMALL),
    case("Reshape-shufflenet", "Reshape Transpose Conv",
         "i = Conv(x, w0) a = Conv<group = 2>(i, w1) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) b = Reshape(p, u) "
         "d = Conv<group = 8, pads = [1, 1, 1, 1]>(b, wd) e = Conv<group = 2>(d, w2) y = Conv(e, w3)",
         (2, 2, 2),  # i: 4 = 2 x 2 positions; a: boxes {k, k + 4}, then read in two halves: {0, 2}, {1, 3}; e: 4 = 2 x 2
         "float[4, 3, 1, 1] w0, float[8, 2, 1, 1] w1, float[8, 1, 3, 3] wd, float[4, 4, 1, 1] w2, float[2, 4, 1, 1] w3, "
         "int64[5] t = {0, 2, 4, 6, 6}, int64[4] u = {0, -1, 6, 6}", inputs=SMALL),
    case("Reshape-shuffle-from-Shape", "Reshape Transpose Shape",
         "a = Conv(x, w1) s = Shape(a) i0 = Constant<value = int64 {0}>() n = Gather<axis = 0>(s, i0) n1 = Unsqueeze(n, zero) "
         "i1 = Constant<value = int64 {1}>() c = Gather<axis = 0>(s, i1) h0 = Div(c, two) h1 = Unsqueeze(h0, zero) "
         "i2 = Constant<value = int64 {2}>() h = Gather(s, i2) hh = Unsqueeze(h, zero) i3 = Constant<value = int64 {3}>() w = Gather(s, i3) ww = Unsqueeze(w, zero) "
         "t = Concat<axis = 0>(n1, two1, h1, hh, ww) r = Reshape(a, t) p = Transpose<perm = [0, 2, 1, 3, 4]>(r) "
         "u = Concat<axis = 0>(n1, minus, hh, ww) b = Reshape(p, u) y = Conv(b, w2)", (4,),
         "float[8, 3, 1, 1] w1, float[2, 8, 1, 1] w2, int64[1] zero = {0}, int64 two = {2}, int64[1] two1 = {2}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-in-Concat", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) "
         "t = Concat<axis = 0>(n, four, minus) f = Reshape(a, t) u = Concat<axis = 0>(n, four2, h, w) b = Reshape(f, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] four2 = {4}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-Unsqueezed", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) i0 = Constant<value_int = 0>() n0 = Gather(s, i0) n = Unsqueeze(n0, ax) c0 = Constant<value = int64 {4}>() "
         "c = Unsqueeze(c0, ax) t = Concat<axis = 0>(n, c, minus) f = Reshape(a, t) d = Relu(f) h = Constant<value_int = 4>() hh = Unsqueeze(h, ax) "
         "u = Concat<axis = 0>(n, hh, six, six) b = Reshape(d, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] ax = {0}, int64[1] minus = {-1}, int64[1] six = {6}", inputs=SMALL),
    case("Reshape-tokens-to-rows", "Reshape Transpose Gemm Shape",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) s = Shape<start = 0, end = 3>(t) r = Reshape(t, rows) g = Gemm<transB = 1>(r, wg, cg) "
         "k = Relu(g) u = Concat<axis = 0>(s, five) q = Reshape(k, u) b = Transpose<perm = [0, 3, 1, 2]>(q) y = Conv(b, w2)", (4, 5),
         "float[4, 3, 1, 1] w1, float[5, 4] wg, float[5] cg, float[2, 5, 1, 1] w2, int64[2] rows = {-1, 4}, int64[1] five = {5}"),
    case("Reshape-baked-count-shared", "Reshape Shape",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) "
         "t = Concat<axis = 0>(n, four, minus) f = Reshape(a, t) u = Concat<axis = 0>(n, four, h, w) b = Reshape(f, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] minus = {-1}"),
    case("Reshape-baked-count-in-Mul", "Reshape Shape Mul",
         "a = Conv(x, w1) s = Shape(x) n = Gather(s, zero) h = Gather(s, two) w = Gather(s, three) nc = Mul(n, four) "
         "t = Concat<axis = 0>(nc, one, h, w) f = Reshape(a, t) g = MaxPool<kernel_shape = [1, 1]>(f) "
         "u = Concat<axis = 0>(n, minus, h, w) b = Reshape(g, u) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}, int64[1] minus = {-1}"),
    case("Reshape-blur-in-the-batch", "Reshape Shape Conv",
         "a = Conv(x, w1) s = Shape(a) h = Gather(s, two) w = Gather(s, three) t = Concat<axis = 0>(minus, one, h, w) f = Reshape(a, t) "
         "g = Conv<pads = [1, 1, 1, 1]>(f, blur) b = Reshape(g, s) y = Conv(b, w2)", (4,),
         ENDS + ", float[1, 1, 3, 3] blur, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] minus = {-1}"),
    case("Reshape-count-from-Size", "Reshape Shape Size",
         "a = Conv(x, w1) s = Shape(a) n = Gather(s, zero) z0 = Size(a) z = Unsqueeze(z0, zero) c = Div(z, n) t = Concat<axis = 0>(n, c) "
         "f = Reshape(a, t) y = Gemm(f, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[144, 2] w2, int64[1] zero = {0}", inputs=SMALL, outputs=ROW),
    case("Reshape-mixes-channels-and-space", "Reshape", "a = Conv(x, w1) f = Reshape(a, t) y = Conv(f, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 9, 1, 1] w2, int64[4] t = {0, 9, 4, 4}", inputs=SMALL, reason="slides over|made by"),
    case("Transpose-NHWC-island", "Transpose MatMul Add",
         "a = Conv(x, w1) t = Transpose<perm = [0, 2, 3, 1]>(a) m0 = MatMul(t, wm) m = Add(m0, c) r = Relu(m) n = MatMul(r, wn) "
         "k = Add(n, t) b = Transpose<perm = [0, 3, 1, 2]>(k) y = Conv(b, w2)", (4, 5),
         ENDS + ", float[4, 5] wm, float[5] c, float[5, 4] wn"),
    case("Squeeze-attribute", "Squeeze Gemm GlobalMaxPool", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze<axes = [2, 3]>(g) y = Gemm(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", outputs=ROW, opset=11),
    case("Squeeze-operand", "Squeeze Gemm", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze(g, axes) y = Gemm(q, w2)", (4,),
         "float[4, 3, 1, 1] w1, float[4, 2] w2, int64[2] axes = {-1, -2}", outputs=ROW),
    case("Squeeze-unnamed-axes", "Squeeze Gemm", "a = Conv(x, w1) g = GlobalMaxPool(a) q = Squeeze(g) y = Gemm(q, w2)", (),
         "float[4, 3, 1, 1] w1, float[4, 2] w2", inputs="float[2, 3, H, W] x", outputs="float[2, 2] y", reason="name the axes"),
    case("Unsqueeze-attribute", "Unsqueeze Gemm", "g = Gemm(x, w1) u = Unsqueeze<axes = [2, 3]>(g) y = Conv(u, w2)", (4,),
         "float[3, 4] w1, float[2, 4, 1, 1] w2", inputs="float[N, 3] x", opset=11),
    case("Unsqueeze-operand", "Unsqueeze Squeeze Conv", "a = Conv(x, w1) u = Unsqueeze(a, axes) r = Relu(u) b = Squeeze(r, axes) y = Conv(b, w2)", (4,),
         ENDS + ", int64[1] axes = {1}"),
    between("Pad-space", "Pad", "b = Pad(a, pads)", "int64[8] pads = {0, 0, 1, 2, 0, 0, 1, 0}"),
    between("Pad-space-reflect", "Pad", 'b = Pad<mode = "reflect">(a, pads)', "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}"),
    between("Pad-attribute", "Pad", "b = Pad<pads = [0, 0, 1, 1, 0, 0, 1, 1]>(a)", opset=9),
    between("Pad-axes", "Pad", "b = Pad(a, pads, , axes)", "int64[4] pads = {1, 1, 2, 0}, int64[2] axes = {3, -2}", opset=18),
    *(
        case(f"Pad-channels-option-A-{name}", "Pad Slice Add Conv",
             "i = Conv(x, w1) a = Relu(i) s = Slice(a, z2, e2, space, step) " + padding +
             " c = Conv<strides = [2, 2]>(a, wc) b = Add(c, p) y = Conv(b, w2)", (4, 4),
             "float[4, 3, 1, 1] w1, float[8, 4, 1, 1] wc, float[2, 8, 1, 1] w2, int64[2] z2 = {0, 0}, int64[2] e2 = {2147483647, 2147483647}, "
             "int64[2] space = {2, 3}, int64[2] step = {2, 2}" + operands, opset=opset)
        for name, opset, padding, operands in (
            ("operand", 17, "p = Pad(s, pads)", ", int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}"),
            ("one-side", 17, "p = Pad(s, pads)", ", int64[8] pads = {0, 0, 0, 0, 0, 4, 0, 0}"),
            ("value", 17, "p = Pad(s, pads, five)", ", int64[8] pads = {0, 2, 0, 0, 0, 2, 0, 0}, float five = {5}"),
            ("axes", 18, "p = Pad(s, pads, , channel)", ", int64[2] pads = {2, 2}, int64[1] channel = {1}"),
            ("computed", 17,  # what PyTorch exports for F.pad(x, (0, 0, 0, 0, 2, 2))
             "zeros = ConstantOfShape<value = int64[1] {0}>(two) all = Concat<axis = 0>(torch, zeros) m = Reshape(all, m2) "
             "v = Slice(m, m1, far, zero, m1) t = Transpose<perm = [1, 0]>(v) flat = Reshape(t, m1) pads = Cast<to = 7>(flat) p = Pad(s, pads)",
             ", int64[6] torch = {0, 0, 0, 0, 2, 2}, int64[1] two = {2}, int64[2] m2 = {-1, 2}, int64[1] m1 = {-1}, "
             "int64[1] zero = {0}, int64[1] far = {-9223372036854775807}"),
        )
    ),
    case("Pad-channels-reflect", "Pad", 'a = Conv(x, w1) b = Pad<mode = "edge">(a, pads) y = Conv(b, w2)', (),
         "float[4, 3, 1, 1] w1, float[2, 5, 1, 1] w2, int64[8] pads = {0, 0, 0, 0, 0, 1, 0, 0}",
         reason="pads or crops this axis other than with a constant"),
    case("Pad-crops-channels", "Pad", "a = Conv(x, w1) b = Pad(a, pads) y = Conv(b, w2)", (),
         "float[4, 3, 1, 1] w1, float[2, 3, 1, 1] w2, int64[8] pads = {0, -1, 0, 0, 0, 0, 0, 0}",
         reason="pads or crops this axis other than with a constant"),
]  # fmt: skip

CASES: list[Case] = [
    *UNARY,
    *BINARY,
    *CONVOLUTIONS,
    *NORMALISATION_AND_POOLING,
    *PRODUCTS,
    *CONCAT_SPLIT_SLICE,
    *RESHAPES,
]
