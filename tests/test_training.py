"""The training view and the engine: gradients, straight-through masks, losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from training_cases import BATCH, NETWORKS, batch, engine_for, feeds, make_loss, network, some_mask

from models import filled
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import DataError, RequestError
from onnx_dnscp.model.runtime import Session
from onnx_dnscp.model.units import Units
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.gradient_graph import build_gradient_graph
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import LiveTeacher
from onnx_dnscp.training.optimizers import Sgd
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.self_check import check_gradients
from onnx_dnscp.training.view import build_view

pytestmark = pytest.mark.needs_training


def masked_weights(units: Units, weights: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """W * T of every consumer, by plain numpy."""
    result = {name: value.copy() for name, value in weights.items()}
    for consumer in units.consumers:
        result[consumer.weight] = result[consumer.weight] * np.append(mask, True)[consumer.operand_units]
    return result


@pytest.mark.parametrize("loss_name", ["cross-entropy", "distillation", "both"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_match_central_differences(name: str, batch_norm: BatchNormMode, loss_name: str) -> None:
    """Directional derivatives of the loss at the masked weights, over all weights at once.

    The loss is float32, so a difference of 2 * step * |slope| carries about 1e-7 / (2 * step) of rounding and
    step**2 of curvature; step 1e-2 balances the two well below the tolerance of 2 %.
    """
    model, units = network(name)
    loss = make_loss(loss_name, model)
    mask = some_mask(units)
    masked = engine_for(model, loss, units=units, batch_norm=batch_norm)
    _, gradients = masked.gradients(feeds(loss, batch(), mask))
    plain = engine_for(model, loss, batch_norm=batch_norm)
    start = masked_weights(units, {n: plain.parameters[n].copy() for n in plain.trainable}, mask)
    assert set(gradients) == set(start)
    rng = np.random.default_rng(11)
    for _ in range(3):
        direction = {n: rng.standard_normal(v.shape).astype(np.float32) for n, v in start.items()}
        norm = np.sqrt(sum(float(np.vdot(d, d)) for d in direction.values()))
        losses = []
        for sign in (1, -1):
            for n, value in start.items():
                plain.parameters[n][...] = value + sign * 1e-2 / norm * direction[n]
            losses.append(plain.gradients(feeds(loss, batch()))[0])
        measured = (losses[0] - losses[1]) / 2e-2
        computed = sum(float(np.vdot(gradients[n], direction[n])) for n in start) / norm
        scale = np.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values())) / np.sqrt(len(direction))
        assert measured == pytest.approx(computed, rel=2e-2, abs=2e-3 * scale)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_gradient_of_a_masked_weight_is_that_of_the_product(name: str) -> None:
    """Straight-through: dL/d(W*T) of the masked graph equals dL/dW of an unmasked graph that stores W*T."""
    model, units = network(name)
    loss = make_loss("cross-entropy", model)
    mask = some_mask(units)
    masked = engine_for(model, loss, units=units)
    loss_value, gradients = masked.gradients(feeds(loss, batch(), mask))
    plain = engine_for(model, loss)
    for n, value in masked_weights(units, {n: plain.parameters[n] for n in plain.trainable}, mask).items():
        plain.parameters[n][...] = value
    expected_loss, expected = plain.gradients(feeds(loss, batch()))
    assert loss_value == pytest.approx(expected_loss, rel=1e-6)
    for n, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[n], rtol=1e-4, atol=1e-6)
    consumer = next(c for c in units.consumers if not mask[c.stored_units].all())
    asleep = gradients[consumer.weight].take(np.flatnonzero(~mask[consumer.stored_units]), axis=consumer.axis)
    assert np.abs(asleep).max() > 1e-5, "a silenced channel must get a signal, or it can never come back"


def test_a_silenced_channel_learns_and_the_output_does_not_see_it() -> None:
    """Its weights move at every step; setting them to 99 leaves the loss bit-identical."""
    model, units = network("residual with batch norm")
    loss = make_loss("cross-entropy", model)
    mask = np.ones(units.num_units, dtype=bool)
    consumer = units.consumers[0]
    mask[consumer.stored_units[2]] = False
    engine = engine_for(model, loss, units=units, batch_norm="frozen")
    asleep = np.moveaxis(engine.parameters[consumer.weight], consumer.axis, 0)[2]
    optimizer = Sgd(momentum=0.0, weight_decay=0.0)  # no state: whatever moves was moved by this step's gradient
    for step in range(3):
        before = asleep.copy()
        _, gradients = engine.gradients(feeds(loss, batch(step), mask))
        optimizer.update(engine.parameters, gradients, 0.1)
        assert np.abs(asleep - before).max() > 1e-6
    first, _ = engine.gradients(feeds(loss, batch(), mask))
    asleep[...] = 99
    second, _ = engine.gradients(feeds(loss, batch(), mask))
    assert first == second


def test_waking_a_channel_brings_its_weights_back() -> None:
    """With the mask on again the loss is that of the network that was never masked."""
    model, units = network("residual with batch norm")
    loss = make_loss("cross-entropy", model)
    engine = engine_for(model, loss, units=units, batch_norm="frozen")
    awake = np.ones(units.num_units, dtype=bool)
    whole, _ = engine.gradients(feeds(loss, batch(), awake))
    silenced, _ = engine.gradients(feeds(loss, batch(), some_mask(units)))
    again, _ = engine.gradients(feeds(loss, batch(), awake))
    assert whole == again
    assert whole != silenced


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_training_lowers_the_loss(batch_norm: BatchNormMode) -> None:
    """Twenty steps on one batch, masked, by self-distillation from another network."""
    model, units = network("residual with batch norm")
    loss = make_loss("distillation", model)
    engine = engine_for(model, loss, units=units, batch_norm=batch_norm)
    optimizer = Sgd()
    losses = []
    for _ in range(20):
        value, gradients = engine.gradients(feeds(loss, batch(), some_mask(units)))
        optimizer.update(engine.parameters, gradients, 0.02)
        losses.append(value)
    assert losses[-1] < 0.5 * losses[0]


def test_running_statistics_follow_the_batch() -> None:
    """momentum * old + (1 - momentum) * mean of the batch, with the biased variance."""
    model, _ = network("residual with batch norm")
    loss = make_loss("cross-entropy", model)
    engine = engine_for(model, loss)
    old_mean, old_var = engine.parameters["m0"].copy(), engine.parameters["v0"].copy()
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.ValueInfoProto(name="a"))
    activations = Session(probe).run(batch().inputs, ["a"])["a"]
    engine.gradients(feeds(loss, batch()))
    mean, variance = activations.mean(axis=(0, 2, 3)), activations.var(axis=(0, 2, 3))
    np.testing.assert_allclose(engine.parameters["m0"], 0.9 * old_mean + 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(engine.parameters["v0"], 0.9 * old_var + 0.1 * variance, rtol=1e-4, atol=1e-6)


def test_fresh_batch_norm_statistics_that_equal_its_scale_train_right() -> None:
    """Ones and zeros everywhere: the runtime shares equal constants, which must not reach the statistics."""
    model, _ = network("residual with batch norm")
    fresh = {f"{kind}{i}": np.full(6, float(kind in "sv"), dtype=np.float32) for kind in "sbmv" for i in (0, 1)}
    loss = make_loss("cross-entropy", model)
    engine = engine_for(copy_with_weights(model, fresh), loss)
    first, gradients = engine.gradients(feeds(loss, batch()))
    second, again = engine.gradients(feeds(loss, batch()))
    assert first == second  # statistics moved, but training-mode batch norm does not read them
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, again[name])


@pytest.mark.parametrize("shared", ["one tensor", "Identity"])
def test_statistics_that_are_no_layers_own_stay(shared: str) -> None:
    """Exporters store equal tensors once; one tensor cannot follow two layers, so these keep what they have."""
    second = {"one tensor": "m", "Identity": "k"}[shared]
    model = filled(f"""
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 6, 6] x) => (float[N, 2, 2, 2] y)
<float[2, 2, 3, 3] w0, float[2] s = {{1, 1}}, float[2] b, float[2] m, float[2] v = {{1, 2}}, float[2] u = {{3, 1}},
 float[2, 2, 3, 3] w1>
{{
  a = Conv(x, w0)
  n = BatchNormalization(a, s, b, m, v)
  t = Tanh(n)
  c = Conv(t, w1)
  k = Identity(m)
  y = BatchNormalization(c, s, b, {second}, u)
}}""")
    loss = make_loss("distillation", model)
    engine = engine_for(model, loss)
    before = {name: value.copy() for name, value in engine.parameters.items()}
    engine.gradients(feeds(loss, batch()))
    moved = {name for name in before if (engine.parameters[name] != before[name]).any()}
    assert moved == (set() if shared == "one tensor" else {"m", "v"})


def test_biases_learn_and_constants_of_formulas_do_not() -> None:
    """Both are added to what a convolution gives; a slope of rank 0 learns too, and is checked like others."""
    model = filled("""
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] y)
<float[4, 2, 1, 1] w0, float[4, 1, 1] bias, float[3, 4, 1, 1] w1, float three = {3}, float zero = {0}, float six = {6},
 float slope>
{
  a = Conv(x, w0)
  b = Add(a, bias)
  p = PRelu(b, slope)
  c = Conv(p, w1)
  d = Add(c, three)
  y = Clip(d, zero, six)
}""")
    view = build_view(model, {"x": (BATCH, 2, 6, 6)})
    assert set(view.trainable) == {"w0", "bias", "w1", "slope"}
    loss = make_loss("distillation", model)
    loss.attach(view)
    check_gradients(view, OrtEngine(view, threads=1), feeds(loss, batch()), seed=0)


BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, H, 6] x) => (float[N, 3, H, 6] y)
<float[4, 2, 1, 1] w0, float[3, 4, 1, 1] w1, int64 two = {2}, int64 limit = {5}>
{
  a = Conv(x, w0)
  s = Shape(x)
  h = Gather(s, two)
  tall = Greater(h, limit)
  b = If(tall) <then_branch = yes () => (float[N, 4, H, 6] t) { r = Tanh(a)  t = Mul(r, r) },
    else_branch = no () => (float[N, 4, H, 6] e) { r = Neg(a)  e = Identity(r) }>
  y = Conv(b, w1)
}"""


@pytest.mark.parametrize("height", [4, 6])
def test_an_if_that_sizes_decide_does_not_end_the_gradient(height: int) -> None:
    model = filled(BRANCHES)
    rng = np.random.default_rng(0)
    x = {"x": rng.standard_normal((BATCH, 2, height, 6)).astype(np.float32)}
    view = build_view(model, {"x": (BATCH, 2, height, 6)})
    assert set(view.trainable) == {"w0", "w1"}
    assert not view.notes
    forward = onnx.ModelProto()
    forward.CopyFrom(view.model)
    forward.graph.output.append(onnx.ValueInfoProto(name="y"))
    actual = Session(forward, optimize=False).run({**x, **view.values})["y"]
    np.testing.assert_allclose(actual, Session(model, optimize=False).run(x)["y"], atol=1e-6)


def test_the_view_computes_the_masked_model_when_batch_norm_is_frozen() -> None:
    """Cross-entropy of the view equals a plain numpy computation on the masked model's logits."""
    model, units = network("depthwise, grouped, concat, strides and auto_pad")
    mask = some_mask(units)
    loss = make_loss("cross-entropy", model)
    value, _ = engine_for(model, loss, units=units).gradients(feeds(loss, batch(), mask))
    outputs = Session(mask_model(model, units, mask)).run(batch().inputs)
    labels = batch().labels
    assert labels is not None
    expected = -np.log(outputs["y"][np.arange(BATCH), labels]).mean()
    assert value == pytest.approx(float(expected), rel=1e-5)


def test_building_a_view_leaves_the_model_alone() -> None:
    """The original's bytes are the same before and after."""
    model, units = network("depthwise, grouped, concat, strides and auto_pad")
    before = model.SerializeToString(deterministic=True)
    engine_for(model, make_loss("cross-entropy", model), units=units)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_statistics_that_the_file_takes_from_a_learned_tensor_stay(mode: BatchNormMode) -> None:
    """Exporters write the variance of a fresh network as Identity(scale); it stays when the scale moves."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 2, 1, 1] w, float[4] pos_s, float[4] b> {
          v = Identity(pos_s)  m = Identity(b)  a = Conv(x, w)  y = BatchNormalization(a, pos_s, b, m, v) }""")
    view = build_view(model, {"x": (BATCH, 2, 6, 6)}, batch_norm=mode)
    assert not view.statistics
    view.model.graph.output.append(onnx.ValueInfoProto(name="y"))
    doubled = {name: 2 * value if name == "pos_s" else value for name, value in view.values.items()}
    found = Session(view.model).run({**batch().inputs, **doubled}, ["y"])["y"]
    original, bias = Session(model).run(batch().inputs)["y"], view.values["b"][:, None, None]
    np.testing.assert_allclose(found - bias, 2 * (original - bias), rtol=1e-4, atol=1e-5)


def test_an_operator_without_gradient_before_all_weights_is_refused_in_one_sentence() -> None:
    """The message names the way out."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (int64[2, K] y) { a = Relu(x)  y = NonZero(a) }""")
    with pytest.raises(RequestError, match="--no-train"):
        build_view(model, {"x": (BATCH, 2, 6, 6)})


def test_cross_entropy_without_labels_is_refused() -> None:
    """A batch without labels cannot feed it."""
    with pytest.raises(DataError, match="labels"):
        CrossEntropy((BATCH, 3)).feeds(Batch(batch().inputs))


def test_the_gradient_graph_has_no_slow_relu_gradient() -> None:
    """ReluGrad is replaced, and the result is bit-exact against numpy's step function."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (float[N, 3] y)
        <float[4, 2, 1, 1] w, float[3, 4] v> {
          a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB = 1>(f, v) }""")
    rng = np.random.default_rng(0)
    for name, shape in (("w", (4, 2, 1, 1)), ("v", (3, 4))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    loss = CrossEntropy((BATCH, 3))
    view = build_view(model, {"x": (BATCH, 2, 6, 6)})
    loss.attach(view)
    assert "ReluGrad" not in {node.op_type for node in build_gradient_graph(view).graph.node}
    _, gradients = OrtEngine(view, threads=1).gradients(feeds(loss, batch()))
    w, v = (numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer)
    x, labels = batch().inputs["x"].astype(np.float64), batch().labels
    a = np.einsum("oi,nihw->nohw", w[:, :, 0, 0], x)
    logits = np.maximum(a, 0).mean((2, 3)) @ v.T
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    d_logits = (softmax - np.eye(3)[labels]) / BATCH
    d_a = (d_logits @ v)[:, :, None, None] / 36 * (a > 0)
    np.testing.assert_allclose(gradients["w"][:, :, 0, 0], np.einsum("nohw,nihw->oi", d_a, x), rtol=1e-4, atol=1e-6)


def test_a_weighted_sum_of_losses_is_their_weighted_sum() -> None:
    model, _ = network(next(iter(NETWORKS)))
    results = {}
    for name in ("cross-entropy", "distillation", "both"):
        loss = make_loss(name, model)
        results[name] = engine_for(model, loss).gradients(feeds(loss, batch()))
    loss, gradients = results["both"]
    labels, taught = results["cross-entropy"], results["distillation"]
    assert loss == pytest.approx(labels[0] + 0.5 * taught[0], rel=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, labels[1][name] + 0.5 * taught[1][name], rtol=1e-3, atol=1e-6)


def test_hints_add_the_mean_distance_of_tensors_inside() -> None:
    """0.7 times the mean over both of squared difference over the teacher's variance; unknown names do nothing."""
    name = list(NETWORKS)[-1]
    model, _ = network(name)
    moved = {t.name: numpy_helper.to_array(t) * np.float32(1.3) for t in model.graph.initializer if t.name[0] == "w"}
    teacher = copy_with_weights(model, moved)
    samples = batch()
    losses = []
    for hints in ([], ["t", "f", "nowhere"]):
        loss = Distillation(LiveTeacher(teacher), samples, hints=hints, hint_weight=0.7)
        losses.append(engine_for(model, loss).gradients(feeds(loss, samples))[0])
    inner = [Session(m, more_outputs=["t", "f"]).run(samples.inputs, ["t", "f"]) for m in (model, teacher)]
    distances = [np.mean((inner[0][n] - inner[1][n]) ** 2) / np.var(inner[1][n]) for n in ("t", "f")]
    assert losses[1] - losses[0] == pytest.approx(0.7 * np.mean(distances), rel=1e-4)
