"""Element-wise operators: what shares a position shares a fate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations

from onnx_dnscp.model.fields import IdField, align, collapse, varying_axes
from onnx_dnscp.ops.registry import Flow, Op, Value, op_rule

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Clip",
    "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf",
    "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BROADCASTING = (
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip


@op_rule(*UNARY)
def unary(op: Op) -> Flow:
    """Each position of the output depends on the same position of the first operand.

    Other operands (bounds of Clip, the ratio of Dropout) are scalars, or give CastLike a type and nothing else.
    """
    return Flow(outputs=[op.data.fields for _ in op.output_shapes])


@op_rule(*BROADCASTING)
def broadcasting(op: Op) -> Flow:
    """Operands are aligned at their last axes; equal positions are united."""
    flow = Flow()
    operands = [v for v in op.inputs if v is not None]
    if op.opset < 7 or op.node.attributes.get("axis") is not None:
        for ids in (f for v in operands for f in v.fields):
            flow.lock(ids, f"{op.node} broadcasts in the manner of opset 6 or older")
        return flow
    flow.outputs = [join_broadcast(flow, operands, op)]
    return flow


def join_broadcast(flow: Flow, operands: Sequence[Value], op: Op) -> tuple[IdField, ...]:
    """Unite the operands' ids position by position and return the fields of the result.

    Where one operand has an axis in full but without ids, every position of that axis stays: a field of another
    operand that varies along it goes only as whole blocks over that axis, or not at all.
    """
    rank = len(op.output_shapes[0])
    fields = [[align(f, rank) for f in v.fields] for v in operands]
    owned = zip(operands, fields, strict=True)
    keeping = {axis: value for value, own in owned for axis in _axes_without_ids(value.shape, own, rank)}
    joined: dict[tuple[int, ...], IdField] = {}  # varying axes: the first of the fields that vary so
    for ids in chain.from_iterable(fields):
        kept_by = [keeping[axis] for axis in varying_axes(ids) if axis in keeping]
        why = " and ".join(dict.fromkeys(v.reason or repr(v.name) for v in kept_by))
        for block in flow.whole_blocks([ids], keeping, f"{op.node} combines it with {why}"):
            passed = collapse(block, keeping)
            first = joined.setdefault(varying_axes(passed), passed)
            if first is not passed:
                flow.unions.append((first, passed))
    pairs = combinations(joined.values(), 2)
    flow.unions += [(f, g) for f, g in pairs if set(varying_axes(f)) & set(varying_axes(g))]
    return tuple(joined.values())


def _axes_without_ids(shape: tuple[int, ...], fields: Sequence[IdField], rank: int) -> list[int]:
    """Axes, of `rank` aligned at the last ones, that an operand of some shape has in full but without ids."""
    sizes = (1,) * (rank - len(shape)) + shape
    return [axis for axis, size in enumerate(sizes) if size > 1 and all(f.shape[axis] == 1 for f in fields)]
