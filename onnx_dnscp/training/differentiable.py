"""What ONNX Runtime can differentiate on the CPU, and rightly: the operators a gradient may pass."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from onnx_dnscp.model.editor import attributes
from onnx_dnscp.ops.table import MICROSOFT
from onnx_dnscp.training.abilities import Abilities, Passage

_STEPS = Passage((), (0, 1, 2))  # the result moves in steps: its derivative is 0 wherever there is one
_EVERYTHING = (
    "Abs Add AveragePool Concat Conv Cos Div Erf Exp Flatten Gelu Gemm GlobalAveragePool Identity LeakyRelu Log "
    "LogSoftmax MatMul Max Min Mul Neg Pow Reciprocal Relu Sigmoid Sin Softmax Sqrt Sub Tanh Transpose"
)
_FIRST_OPERAND = (
    "Clip Expand ReduceL2 ReduceLogSumExp ReduceMean ReduceSum Reshape Slice Split Squeeze Tile Trilu Unsqueeze"
)
_IN_STEPS = (
    "And ArgMax ArgMin Equal EyeLike Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not OneHot Or Round "
    "Shape Size Xor"
)
_TABLE: Mapping[tuple[str, str], Passage] = {
    **{("", op): Passage() for op in _EVERYTHING.split()},
    **{("", op): Passage((0,)) for op in _FIRST_OPERAND.split()},
    **{("", op): Passage((0,), (1,)) for op in ("Gather", "GatherElements", "GatherND")},
    **{("", op): Passage((0, 2), (1,)) for op in ("ScatterElements", "ScatterND")},
    **{("", op): Passage((0, 1, 2), results=1) for op in ("BatchNormalization", "LayerNormalization")},
    **{("", op): Passage((0,), results=1) for op in ("MaxPool", "TopK")},
    **{("", op): _STEPS for op in _IN_STEPS.split()},
    **{(MICROSOFT, op): Passage() for op in ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")},
    ("", "Where"): Passage((1, 2), (0,)),
    ("", "Cast"): Passage((0,)),
    ("", "Pad"): Passage((0,)),
}


def passable_operators() -> tuple[tuple[str, str], ...]:
    """(domain, operator) of all that gradients pass through; attributes may still stop them, see `passage`."""
    return tuple(key for key, passage in _TABLE.items() if passage is not _STEPS)


def passage(node: onnx.NodeProto) -> Passage | None:
    """How gradients pass a node of a training view, or None where they cannot.

    Reductions and activations that are decomposed before (training/decompositions) need no entry here.
    """
    given = attributes(node)
    if node.op_type == "Cast" and given["to"] != TensorProto.FLOAT:
        return _STEPS
    if node.op_type == "Pad" and given.get("mode", "constant") != "constant":
        return None
    if given.get("reduction", "none") != "none":
        return None  # for ScatterElements and ScatterND the runtime takes no notice of it
    if node.op_type == "BatchNormalization" and not given.get("training_mode"):
        return None  # the runtime's gradient of inference mode is wrong
    return _TABLE.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))


def jumps(model: onnx.ModelProto) -> bool:
    """Whether truth values or indices become floats somewhere, so that the result may jump where its gradient is 0."""
    producer = {name: node for node in model.graph.node for name in node.output}
    sources = (producer.get(node.input[0]) for node in model.graph.node if node.op_type == "Cast")
    return any(source is not None and passage(source) is _STEPS for source in sources)


ORT_ABILITIES = Abilities(passage, decomposed=lambda node: True)
"""Of ONNX Runtime 1.19: every rule in `decompositions/` is there because it has no right gradient."""
