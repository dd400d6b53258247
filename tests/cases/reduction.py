"""Normalisations, pooling and reductions."""

from __future__ import annotations

from cases.base import ENDS, ROW, between, case

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
