"""What decompositions leave alone: operators that cannot be spelled, and those that no gradient reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_dnscp.training.decompositions.products import _LONGEST_SUM
from onnx_dnscp.training.decompositions.recurrent import LONGEST_SEQUENCE
from onnx_dnscp.training.passes.decompose import decompose

RECURRENT = {"x": (4, 1, 2), "w": (1, 12, 2), "r": (1, 12, 3)}
LEFT = {
    "a long sequence": ("y = LSTM<hidden_size = 3>(x, w, r)", {**RECURRENT, "x": (LONGEST_SEQUENCE + 1, 1, 2)}, {}),
    "a clipped LSTM": ("y = LSTM<hidden_size = 3, clip = 1.0>(x, w, r)", RECURRENT, {}),
    "coupled gates": ("y = LSTM<hidden_size = 3, input_forget = 1>(x, w, r)", RECURRENT, {}),
    "sequences of several lengths": (
        "y = LSTM<hidden_size = 3>(x, w, r, , l)", {**RECURRENT, "x": (4, 2, 2)}, {"l": np.array([4, 2], np.int32)},
    ),
    "computed lengths": ("y = LSTM<hidden_size = 3>(x, w, r, , l)", {**RECURRENT, "l": (1,)}, {}),
    "batch first": ("y = LSTM<hidden_size = 3, layout = 1>(x, w, r)", RECURRENT, {}),
    "a rare activation": (
        'y = LSTM<hidden_size = 3, activations = ["Affine", "Tanh", "Tanh"]>(x, w, r)', RECURRENT, {},
    ),
    "a long cumulative sum": ("y = CumSum(x, a)", {"x": (_LONGEST_SUM + 1,)}, {"a": np.array(0)}),
    "overlapping windows": ("y = MaxUnpool<kernel_shape = [2]>(x, i)", {"x": (1, 1, 2), "i": (1, 1, 2)}, {}),
    "stretched axes": ('y = Einsum<equation = "ij,ij->i">(x, w)', {"x": (2, 3), "w": (2, 1)}, {}),
    "computed places": ('y = ScatterND<reduction = "add">(x, i, w)', {"x": (3,), "i": (2, 1), "w": (2,)}, {}),
    "a computed size": ("y = Resize(x, , s)", {"x": (1, 1, 4), "s": (3,)}, {}),
    "a computed axis": ("y = CumSum(x, a)", {"x": (3,), "a": ()}, {}),
    "moved batch axes": ("y = com.microsoft.FusedMatMul<transBatchA = 1>(x, w)", {"x": (2, 3, 4), "w": (3, 4, 2)}, {}),
}  # fmt: skip


def decomposed(
    body: str, shapes: dict[str, tuple[int, ...]], stored: dict[str, Any], trainable: str = "x"
) -> list[str]:
    """Operators of a model after its decomposition."""
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> net () => (float y) {{ {body} }}'
    )
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in stored.items())
    sizes = {**shapes, **{n: v.shape for n, v in stored.items()}, "y": shapes["x"]}
    decompose(model, sizes, [trainable])
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_spelled_stays(name: str) -> None:
    """The loss is taken before it then."""
    body, shapes, stored = LEFT[name]
    assert len(decomposed(body, shapes, stored)) == 1


def test_a_spelled_operator_goes() -> None:
    """So that the tests above can fail."""
    assert "LSTM" not in decomposed("y = LSTM<hidden_size = 3>(x, w, r)", RECURRENT, {})


def test_an_operator_that_no_gradient_reaches_stays() -> None:
    """Preprocessing and integer arithmetic run as they are."""
    body = "y = CumSum(x, a) i = Cast<to = 7>(w) j = CumSum(i, a)"
    operators = decomposed(body, {"x": (3,), "w": (3,)}, {"a": np.array(0)}, trainable="w")
    assert operators == ["CumSum", "Cast", "CumSum"]
