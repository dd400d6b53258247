"""What ONNX Runtime gets wrong, and that each guard against it is needed and there.

Every case trains a small network: with the guard its gradients pass the check against differences of the forward pass,
and with the guard taken out they do not, or the runtime refuses or crashes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models import filled
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.training import frontier, gradient_graph, view
from onnx_dnscp.training.abilities import Passage
from onnx_dnscp.training.differentiable import ORT_ABILITIES
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.binary_cross_entropy import BinaryCrossEntropy
from onnx_dnscp.training.passes import decompose
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.self_check import check_gradients
from onnx_dnscp.training.view import LOSS, TrainingView, build_view

pytestmark = pytest.mark.needs_training

Patch = Callable[[pytest.MonkeyPatch], None]
SHAPES = {"x": (4, 2, 8, 8)}


def nothing(*_: Any, **__: Any) -> None:
    """A pass that does nothing."""


def without_frozen_batch_norm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(view, "freeze_batch_norm", nothing)
    everything = replace(ORT_ABILITIES, passage=lambda _: Passage())
    found = frontier.find_frontier
    patch.setattr(view, "find_frontier", lambda *given, **named: found(*given, **{**named, "abilities": everything}))


def without_explicit_pads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(view, "make_pads_explicit", nothing)


def without_static_shapes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(view, "fix_input_shapes", nothing)


def without_decompositions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decompose, "find_decomposition", lambda _: None)


def without_node_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(view, "name_nodes", nothing)
    patch.setattr(gradient_graph, "name_nodes", nothing)


@dataclass(frozen=True)
class Guard:
    """One trap: what avoids it, a network that meets it, and what happens without."""

    remove: Patch
    graph: str
    symptom: str


NORM = """(float[N, 4, 8, 8] y)
  <float[4, 2, 3, 3] w, float[4] pos_scale, float[4] bias, float[4] mean, float[4] pos_var> {
  a = Conv<pads = [1, 1, 1, 1]>(x, w)  n = BatchNormalization(a, pos_scale, bias, mean, pos_var)  y = Tanh(n) }"""
GUARDS = {
    "batch norm in inference mode": Guard(without_frozen_batch_norm, NORM, "wrong"),
    "SAME padding": Guard(
        without_explicit_pads,
        """(float[N, 3, 8, 8] y) <float[4, 2, 3, 3] w0, float[3, 4, 3, 3] w1> {
          a = Conv<auto_pad = "SAME_UPPER">(x, w0)  t = Tanh(a)  y = Conv<auto_pad = "SAME_LOWER">(t, w1) }""",
        "wrong",
    ),
    "average pooling of a symbolic batch": Guard(
        without_static_shapes,
        """(float[N, 4, 7, 7] y) <float[4, 2, 1, 1] w> {
          a = Conv(x, w)  y = AveragePool<kernel_shape = [2, 2]>(a) }""",
        "crashed",
    ),
    "layer norm with one output": Guard(
        without_decompositions,
        """(float[N, 2, 8, 5] y) <float[8, 5] w, float[5] pos_scale> {
          a = MatMul(x, w)  y = LayerNormalization(a, pos_scale) }""",
        "cannot differentiate",
    ),
    "nameless nodes": Guard(
        without_node_names,
        """(float[N, 2, 8, 8] y) <float[2, 2, 1, 1] w> {
          a = Conv(x, w)  zero = Constant<value_int = 0>()  one = Constant<value_int = 1>()
          b = Gather<axis = 1>(a, zero)  c = Gather<axis = 1>(a, one)  d = Add(b, c)
          e = Tanh(a)  f = Gather<axis = 1>(e, zero)  g = Gather<axis = 1>(e, one)  h = Add(f, g)
          i = Mul(d, h)  axis = Constant<value_ints = [1]>()  k = Unsqueeze(i, axis)  y = Mul(k, a) }""",
        "node name",
    ),
}


def view_with_loss(graph: str, batch_norm: BatchNormMode) -> TrainingView:
    """The mean square of the output; only tensors named w... learn."""
    model = filled('<ir_version: 8, opset_import: ["" : 17]> net (float[N, 2, 8, 8] x) => ' + graph)
    learned = [t.name for t in model.graph.initializer if t.name.startswith("w")]
    small = build_view(model, SHAPES, batch_norm=batch_norm, learned=learned)
    ((tap, *_), *_) = small.taps.values()
    square = small.add_node("Mul", [tap, tap], "square")
    small.add_node("ReduceMean", [square], LOSS, keepdims=0)
    return small


def samples() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(SHAPES["x"]).astype(np.float32)


def train(graph: str) -> None:
    """What happens before every run."""
    small = view_with_loss(graph, "frozen")
    check_gradients(small, OrtEngine(small, threads=1), {"x": samples()})


@pytest.mark.parametrize("name", list(GUARDS))
def test_with_its_guard_a_trap_is_harmless(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The gradients agree with differences."""
    with caplog.at_level("INFO"):
        train(GUARDS[name].graph)
    assert "gradient check passed" in caplog.text


@pytest.mark.parametrize("name", list(GUARDS))
def test_without_its_guard_a_trap_springs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the guard is needed, and what the check or the child process says about it is one sentence."""
    GUARDS[name].remove(monkeypatch)
    with pytest.raises(RequestError, match=GUARDS[name].symptom):
        train(GUARDS[name].graph)


FRESH = """(float[N, 4, 8, 8] y) <float[4, 2, 3, 3] w0, float[4, 4, 3, 3] w1> {
  scale = Constant<value_floats = [1.0, 1.0, 1.0, 1.0]>()  bias = Constant<value_floats = [0.0, 0.0, 0.0, 0.0]>()
  variance = Constant<value_floats = [1.0, 1.0, 1.0, 1.0]>()  mean = Constant<value_floats = [0.0, 0.0, 0.0, 0.0]>()
  a = Conv<pads = [1, 1, 1, 1]>(x, w0)  n = BatchNormalization(a, scale, bias, mean, variance)  t = Tanh(n)
  y = Conv<pads = [1, 1, 1, 1]>(t, w1) }"""


def two_losses() -> tuple[float, float]:
    """Of the same batch and weights, one after the other; scale and bias of the batch norm do not learn."""
    fresh = view_with_loss(FRESH, "train")
    engine = OrtEngine(fresh, threads=1)
    weights = {name: value.copy() for name, value in engine.parameters.items()}
    first, _ = engine.gradients({"x": samples()})
    for name, value in weights.items():
        engine.parameters[name][...] = value
    return first, engine.gradients({"x": samples()})[0]


def test_running_statistics_never_overwrite_constants_that_equal_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime shares equal constants and updates statistics in place; fed as inputs they cannot be shared."""
    assert two_losses()[0] == two_losses()[1]
    feed = view._feed
    monkeypatch.setattr(view, "_feed", lambda model, names: feed(model, [n for n in names if n[0] == "w"]))
    monkeypatch.setattr(view, "train_batch_norm", _train_in_place)
    first, second = two_losses()
    assert first != pytest.approx(second, rel=1e-3)


def _train_in_place(model: onnx.ModelProto, _: object) -> dict[str, str]:
    """Batch norm in training mode as it is usually written, without outputs of its own for the statistics."""
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
            node.output.extend([f"{node.output[0]}/mean", f"{node.output[0]}/variance"])
    return {}


@pytest.mark.parametrize("score", [-200.0, -3.0, 0.5, 200.0])
def test_binary_cross_entropy_is_finite_for_every_score(score: float) -> None:
    """Worked in float64 for labels 0 and 1; log(sigmoid(z)) would be infinite, and its gradient no number."""
    model = filled("""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 1] x) => (float[N, 2] y) <float[1, 2] w> { z = MatMul(x, w)  y = Sigmoid(z) }""")
    small = build_view(model, {"x": (2, 1)})
    loss = BinaryCrossEntropy((2, 2))
    loss.attach(small)
    engine = OrtEngine(small, threads=1)
    engine.parameters["w"][...] = [[score, -score]]
    batch = Batch({"x": np.ones((2, 1), np.float32)}, np.array([0, 1]))
    value, gradients = engine.gradients({**batch.inputs, **loss.feeds(batch)})
    z, targets = np.array([score, -score]), np.eye(2)
    expected = np.logaddexp(0, z) - targets * z
    assert value == pytest.approx(expected.mean(), rel=1e-6)
    slope = (1 / (1 + np.exp(-z)) - targets).sum(0) / 4
    np.testing.assert_allclose(gradients["w"][0], slope, rtol=1e-5, atol=1e-7)
