"""Operators that discovery knows and no gradient passes, and why."""

from __future__ import annotations

_REASONS = {
    "its result moves in steps": (
        "And ArgMax ArgMin BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal GreaterOrEqual Hardmax IsInf IsNaN "
        "Less LessOrEqual NonMaxSuppression NonZero Not OneHot Or Unique Xor"
    ),
    "it depends on shapes alone, and is folded": "ConstantOfShape EyeLike Shape Size",
    "it draws at random": "Bernoulli Multinomial RandomNormalLike RandomUniformLike",
    "it computes with integers, or rounds to them": (
        "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear "
        "com.microsoft.DequantizeLinear com.microsoft.QGemm com.microsoft.QLinearAdd com.microsoft.QLinearAveragePool "
        "com.microsoft.QLinearConcat com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearLeakyRelu "
        "com.microsoft.QLinearMul com.microsoft.QLinearSigmoid com.microsoft.QLinearSoftmax com.microsoft.QuantizeLinear"
    ),
    "the runtime has no gradient of sequences": (
        "ConcatFromSequence SequenceAt SequenceConstruct SequenceErase SequenceInsert SplitToSequence"
    ),
    "the runtime has no gradient, and nobody has spelled it": (
        "DeformConv Det MaxRoiPool RoiAlign com.microsoft.Attention com.microsoft.MultiHeadAttention"
    ),
    "it is newer than opset 21, the last one that the runtime trains": "Attention CumProd RMSNormalization Swish",
    "it ends at opset 10; conversion makes ScatterElements of it": "Scatter",
}
WITHOUT_GRADIENT = {operator: reason for reason, operators in _REASONS.items() for operator in operators.split()}
