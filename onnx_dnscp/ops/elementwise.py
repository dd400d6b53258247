"""Element-wise operators: what shares a position shares a fate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from onnx_dnscp.fields import IdField, align, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, Value, op_rule

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Dropout",
    "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log",
    "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BROADCASTING = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip


@op_rule(*UNARY)
def unary(op: Op) -> Flow:
    """Each position of the output depends on the same position of the first operand.

    Other operands (bounds of Clip, the ratio of Dropout) are scalars.
    """
    return Flow(outputs=[op.data.fields for _ in op.output_shapes])


@op_rule(*BROADCASTING)
def broadcasting(op: Op) -> Flow:
    """Operands are aligned at their last axes; equal positions are united."""
    flow = Flow()
    if op.opset < 7 or op.node.attributes.get("axis") is not None:
        operands = [v for v in op.inputs if v is not None]
        for ids in (f for v in operands for f in v.fields):
            flow.lock(ids, f"{op.node} broadcasts in the manner of opset 6 or older")
        return flow
    flow.outputs = [join_broadcast(flow, [v for v in op.inputs if v is not None], op)]
    return flow


def join_broadcast(flow: Flow, operands: Sequence[Value], op: Op) -> tuple[IdField, ...]:
    """Unite the operands' ids position by position and return the fields of the result.

    Where one operand varies along an axis and another has that axis in full but without ids, the position is
    fixed by the latter and the former is kept whole.
    """
    rank = len(op.output_shapes[0])
    shapes = [(1,) * (rank - len(v.shape)) + v.shape for v in operands]
    fields = [[align(f, rank) for f in v.fields] for v in operands]
    for (a, left), (b, right) in combinations(enumerate(fields), 2):
        flow.unions += [(f, g) for f in left for g in right if set(varying_axes(f)) & set(varying_axes(g))]
        _lock_uncovered(flow, left, right, shapes[b], operands[b], op)
        _lock_uncovered(flow, right, left, shapes[a], operands[a], op)
    result: list[IdField] = []
    for ids in (f for own in fields for f in own):
        if not any(varying_axes(ids) == varying_axes(seen) for seen in result):
            result.append(ids)
    return tuple(result)


def _lock_uncovered(
    flow: Flow, fields: Sequence[IdField], others: Sequence[IdField], shape: tuple[int, ...], value: Value, op: Op
) -> None:
    covered = {axis for g in others for axis in varying_axes(g)}
    for ids in fields:
        if any(shape[axis] > 1 and axis not in covered for axis in varying_axes(ids)):
            flow.lock(ids, f"{op.node} combines it with {value.reason or repr(value.name)}")
