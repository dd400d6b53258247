"""The table of operators that gradients pass: each is tried, and no operator of it goes untried."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from models import filled
from onnx_dnscp.training.differentiable import passable_operators
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.self_check import check_gradients
from onnx_dnscp.training.view import LOSS, build_view

pytestmark = pytest.mark.needs_training

# a (4, 2, 6, 6) depends on the learned weight w; y is what an operator makes of it.
UNARY = """Abs Cos Erf Exp Flatten Gelu GlobalAveragePool Identity LeakyRelu LogSoftmax Neg ReduceL2 ReduceLogSumExp
  ReduceMean ReduceSum Relu Sigmoid Sin Softmax Tanh Transpose Trilu com.microsoft.FastGelu com.microsoft.Gelu
  com.microsoft.QuickGelu"""
CASES = {
    **{op: f"y = {op}(a)" for op in UNARY.split()},
    **{op: f"y = {op}(a, x)" for op in ("Add", "Div", "Max", "Min", "Mul", "Sub")},
    "AveragePool": "y = AveragePool<kernel_shape = [2, 2], pads = [1, 0, 0, 1]>(a)",
    "BatchNormalization": "y = BatchNormalization(a, pos_s, bias, mean, pos_v)",
    "Cast": "y = Cast<to = 1>(a)",
    "Clip": "low = Constant<value_float = -0.5>() high = Constant<value_float = 0.9>() y = Clip(a, low, high)",
    "Concat": "y = Concat<axis = 1>(a, x)",
    "Conv": "y = Conv<strides = [2, 2], pads = [1, 1, 0, 0]>(a, v)",
    "Expand": "s = Constant<value_ints = [3, 4, 2, 6, 6]>() y = Expand(a, s)",
    "Gather": "i = Constant<value_ints = [1, 0, 1]>() y = Gather<axis = 2>(a, i)",
    "GatherElements": "k = ArgMax<axis = 1>(a) y = GatherElements<axis = 1>(a, k)",
    "GatherND": "i = Constant<value_ints = [1, 1, 0, 1]>() s = Constant<value_ints = [2, 2]>() j = Reshape(i, s) "
    "y = GatherND(a, j)",
    "Gemm": "f = Flatten(a) y = Gemm<transB = 1>(f, m, bias)",
    "LayerNormalization": "f = Flatten(a) y = LayerNormalization(f, pos_l, l)",
    "Log": "e = Exp(a) y = Log(e)",
    "MatMul": "f = Flatten(a) t = Transpose(m) y = MatMul(f, t)",
    "MaxPool": "y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
    "Pad": "p = Constant<value_ints = [0, 0, 1, 2, 0, 1, 0, 3]>() y = Pad(a, p)",
    "Pow": "two = Constant<value_float = 3.0>() y = Pow(a, two)",
    "Reciprocal": "e = Exp(a) y = Reciprocal(e)",
    "Reshape": "s = Constant<value_ints = [2, -1]>() y = Reshape(a, s)",
    "ScatterElements": "k = ArgMax<axis = 1>(a) u = ReduceMean<axes = [1]>(a) y = ScatterElements<axis = 1>(x, k, u)",
    "ScatterND": "i = Constant<value_ints = [3, 0]>() s = Constant<value_ints = [2, 1]>() j = Reshape(i, s) "
    "b = Constant<value_ints = [0, 1]>() u = Gather(a, b) y = ScatterND(x, j, u)",
    "Slice": "b = Constant<value_ints = [5]>() e = Constant<value_ints = [0]>() d = Constant<value_ints = [3]>() "
    "s = Constant<value_ints = [-2]>() y = Slice(a, b, e, d, s)",
    "Split": "p, y = Split<axis = 1>(a)",
    "Sqrt": "e = Exp(a) y = Sqrt(e)",
    "Squeeze": "i = Constant<value_ints = [1]>() g = Gather<axis = 1>(a, i) y = Squeeze(g, i)",
    "Tile": "r = Constant<value_ints = [1, 2, 1, 3]>() y = Tile(a, r)",
    "TopK": "k = Constant<value_ints = [2]>() y, i = TopK(a, k)",
    "Unsqueeze": "i = Constant<value_ints = [1]>() y = Unsqueeze(a, i)",
    "Where": "t = Constant<value_float = 0.2>() c = Greater(a, t) y = Where(c, a, x)",
    "com.microsoft.BiasGelu": "f = Flatten(a) y = com.microsoft.BiasGelu(f, l)",
}


def test_every_operator_of_the_table_has_a_case() -> None:
    """Whoever adds one has to try it."""
    assert {f"{domain}.{op}".lstrip(".") for domain, op in passable_operators()} == set(CASES)


@pytest.mark.parametrize("op", list(CASES))
def test_gradients_pass(op: str, caplog: pytest.LogCaptureFixture) -> None:
    """The loss is taken at the output itself, and its gradient is right."""
    caplog.set_level(logging.INFO, "onnx_dnscp")
    model = filled(f"""
        <ir_version: 8, opset_import: ["" : {20 if op == "Gelu" else 17}, "com.microsoft" : 1]>
        net (float[N, 2, 6, 6] x) => (float z)
        <float[2, 2, 1, 1] w, float[3, 2, 3, 3] v, float[2] pos_s, float[2] bias, float[2] mean, float[2] pos_v,
         float[2, 72] m, float[72] pos_l, float[72] l>
        {{ a = Conv(x, w)  {CASES[op]}  one = Constant<value_float = 1.3>()  z = Sub(y, one) }}""")
    view = build_view(model, {"x": (4, 2, 6, 6)}, learned=["w"])
    assert view.taps == {"z": ("z",)}
    assert not view.notes
    # Of cubes, because the mean of squares behind a batch norm is the same for all weights.
    cube = view.add_node("Mul", [view.add_node("Mul", ["z", "z"], "square"), "z"], "cube")
    view.add_node("ReduceMean", [cube], LOSS, keepdims=0)
    x = np.random.default_rng(0).standard_normal((4, 2, 6, 6)).astype(np.float32)
    check_gradients(view, OrtEngine(view, threads=1), {"x": x + np.float32(0.5)})
    assert "passed" in caplog.text
