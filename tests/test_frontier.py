"""Where the loss is taken when gradients cannot reach the outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from models import filled, run
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.discovery.discover import discover_units
from onnx_dnscp.errors import RequestError
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Removal
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import LiveTeacher
from onnx_dnscp.training.view import MASK_INPUT, build_view

pytestmark = pytest.mark.needs_training

HEAD = '<ir_version: 8, opset_import: ["" : 17]> net (float[N, 2, 6, 6] x) => '
SHAPES = {"x": (4, 2, 6, 6)}

# name: (graph, what the loss looks at, what learns, what the note names)
CASES = {
    "plain": (
        "(float[N, 3] y) <float[3, 72] w> { f = Flatten(x)  y = Gemm<transB = 1>(f, w) }",
        {"y"},
        {"w"},
        (),
    ),
    "squashed": (
        "(float[N, 3] y) <float[3, 72] w> { f = Flatten(x)  z = Gemm<transB = 1>(f, w)  y = Sigmoid(z) }",
        {"z"},
        {"w"},
        (),
    ),
    "an index beside the scores": (
        """(int64[N] i, float[N, 3] y) <float[3, 72] w> {
          f = Flatten(x)  z = Gemm<transB = 1>(f, w)  y = Softmax(z)  i = ArgMax<axis = 1, keepdims = 0>(y) }""",
        {"z"},
        {"w"},
        (),
    ),
    "an index alone": (
        """(int64[N] i) <float[3, 72] w> {
          f = Flatten(x)  z = Gemm<transB = 1>(f, w)  y = Softmax(z)  i = ArgMax<axis = 1, keepdims = 0>(y) }""",
        {"z"},
        {"w"},
        (),
    ),
    "a step inside does not stop what goes past it": (
        """(float[N, 4, 6, 6] y) <float[4, 2, 1, 1] w> {
          a = Conv(x, w)  zero = Constant<value_float = 0.0>()  c = Greater(a, zero)  d = Cast<to = 1>(c)
          y = Mul(a, d) }""",
        {"y"},
        {"w"},
        (),
    ),
    "weights behind a long recurrence": (
        """(float[576, 1, 1, 5] y) <float[4, 2, 1, 1] w, float[1, 20, 1] wi, float[1, 20, 5] wr> {
          a = Conv(x, w)  s = Constant<value_ints = [576, 1, 1]>()  r = Reshape(a, s)
          y = LSTM<hidden_size = 5>(r, wi, wr) }""",
        {"r"},
        {"w"},
        ("LSTM node 'y'",),
    ),
    "regions of interest": (
        """(float[1, 3, 2, 2] y) <float[4, 2, 1, 1] w, float[1, 4] posbox, float[3, 4, 1, 1] u> {
          a = Conv(x, w)  r = Relu(a)  i = Constant<value_ints = [0]>()
          b = RoiAlign<output_height = 2, output_width = 2>(r, posbox, i)
          y = Conv(b, u) }""",
        {"r"},
        {"w"},
        ("RoiAlign node 'b'",),
    ),
    "boxes and scores before suppression": (
        """(float[K, 4] y) <float[4, 2, 1, 1] wb, float[1, 2, 1, 1] ws> {
          b = Conv(x, wb)  sb = Constant<value_ints = [4, 36, 4]>()  boxes = Reshape(b, sb)
          c = Conv(x, ws)  ss = Constant<value_ints = [4, 1, 36]>()  scores = Reshape(c, ss)
          k = Constant<value_ints = [5]>()
          chosen = NonMaxSuppression(boxes, scores, k)
          ends = Constant<value_ints = [3]>()  begins = Constant<value_ints = [2]>()
          axes = Constant<value_ints = [1]>()  last = Slice(chosen, begins, ends, axes)
          flat = Constant<value_ints = [144, 4]>()  rows = Reshape(boxes, flat)
          index = Squeeze(last, axes)
          y = Gather(rows, index) }""",
        {"rows", "boxes", "scores"},
        {"wb", "ws"},
        ("NonMaxSuppression node 'chosen'",),
    ),
    "the best positions": (
        """(float[N, 2, 6, 6] y) <float[4, 2, 1, 1] w> {
          a = Conv(x, w)  k = Constant<value_ints = [2]>()  v, i = TopK<axis = 1>(a, k)
          y = GatherElements<axis = 1>(a, i) }""",
        {"a"},
        {"w"},
        ("TopK node 'v'",),
    ),
    "the best values": (
        """(float[N, 2, 6, 6] v) <float[4, 2, 1, 1] w> {
          a = Conv(x, w)  k = Constant<value_ints = [2]>()  v, i = TopK<axis = 1>(a, k) }""",
        {"v"},
        {"w"},
        (),
    ),
    "a branch": (
        """(float[N, 3, 6, 6] y) <float[4, 2, 1, 1] w, float[3, 4, 1, 1] u> {
          a = Conv(x, w)  flag = Constant<value_int = 1>()  yes = Cast<to = 9>(flag)  t = ReduceMax<keepdims = 0>(x)
          zero = Constant<value_float = 0.0>()  cond = Greater(t, zero)
          y = If (cond) <
            then_branch = pos () => (float[N, 3, 6, 6] p) { p = Conv(a, u) },
            else_branch = neg () => (float[N, 3, 6, 6] n) { m = Neg(a)  n = Conv(m, u) }> }""",
        {"a"},
        {"w"},
        ("If node 'y'",),
    ),
    "one output of two": (
        """(float[N, 4, 6, 6] a, float[1, 3, 2, 2] y) <float[4, 2, 1, 1] w, float[1, 4] posbox, float[3, 4, 1, 1] u> {
          a = Conv(x, w)  i = Constant<value_ints = [0]>()
          b = RoiAlign<output_height = 2, output_width = 2>(a, posbox, i)
          y = Conv(b, u) }""",
        {"a"},
        {"w"},
        (),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_loss_is_taken_where_gradients_reach(name: str) -> None:
    """The frontier, what learns before it, the note, and that the loss falls along the gradient."""
    text, taps, learned, stops = CASES[name]
    model = filled(HEAD + text)
    view = build_view(model, SHAPES)
    assert {tap for group in view.taps.values() for tap in group} == taps
    assert set(view.trainable) == set(view.values) == learned
    assert len(view.notes) == bool(stops)
    assert all(stop in view.notes[0] for stop in stops)
    rng = np.random.default_rng(0)
    batch = Batch({"x": rng.standard_normal((4, 2, 6, 6)).astype(np.float32)})
    loss = Distillation(LiveTeacher(model), batch)
    loss.attach(view)
    engine = OrtEngine(view, threads=1)
    for weight in engine.parameters.values():
        weight += 0.1 * rng.standard_normal(weight.shape).astype(np.float32)
    feeds = {**batch.inputs, **loss.feeds(batch)}
    before, gradients = engine.gradients(feeds)
    assert set(gradients) == learned
    for weight, gradient in zip(engine.parameters.values(), gradients.values(), strict=True):
        assert np.abs(gradient).max() > 0
        weight -= 1e-3 * gradient / np.abs(gradient).max()
    assert engine.gradients(feeds)[0] < before


def test_masks_behind_the_frontier_are_left_out() -> None:
    """A consumer in a branch keeps its channels' weights as stored; the one before it is masked and learns."""
    model = filled(
        HEAD
        + """(float[N, 3, 6, 6] y) <float[4, 2, 1, 1] w, float[5, 4, 1, 1] v, float[3, 5, 1, 1] u> {
          a = Conv(x, w)  b = Conv(a, v)  t = ReduceMax<keepdims = 0>(x)
          zero = Constant<value_float = 0.0>()  cond = Greater(t, zero)
          y = If (cond) <
            then_branch = pos () => (float[N, 3, 6, 6] p) { p = Conv(b, u) },
            else_branch = neg () => (float[N, 3, 6, 6] n) { m = Neg(b)  n = Conv(m, u) }> }"""
    )
    graph = read_graph(model)
    units = discover_units(graph, trace(graph))
    assert {c.weight for c in units.consumers} == {"v", "u"}
    view = build_view(model, SHAPES, units=units)
    assert view.trainable == ["w", "v"]
    assert len(view.masks) == 1
    batch = Batch({"x": np.ones((4, 2, 6, 6), np.float32)})
    loss = Distillation(LiveTeacher(model), batch)
    loss.attach(view)
    engine = OrtEngine(view, threads=1)
    mask = np.ones(units.num_units + 1, np.float32)
    feeds = {**batch.inputs, **loss.feeds(batch), MASK_INPUT: mask}
    assert engine.gradients(feeds)[0] == pytest.approx(0, abs=1e-10)
    mask[:-1] = 0
    assert engine.gradients(feeds)[0] > 0.1


def test_a_pruned_student_is_compared_on_the_channels_it_kept() -> None:
    """The frontier tensor has lost channels; the teacher's same ones make a loss of 0."""
    model = filled(HEAD + CASES["regions of interest"][0])
    graph = read_graph(model)
    units = discover_units(graph, trace(graph))
    mask = np.ones(units.num_units, dtype=bool)
    mask[1] = False
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    for tensor in pruned.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        kept = np.delete(values, 1, axis=0 if tensor.name == "w" else 1)
        tensor.CopyFrom(onnx.numpy_helper.from_array(kept, tensor.name))
    batch = Batch({"x": np.random.default_rng(1).standard_normal((4, 2, 6, 6)).astype(np.float32)})
    view = build_view(pruned, SHAPES)
    loss = Distillation(LiveTeacher(model), batch, Removal(units, mask))
    loss.attach(view)
    assert OrtEngine(view, threads=1).gradients({**batch.inputs, **loss.feeds(batch)})[0] == pytest.approx(0, abs=1e-10)


def test_a_model_that_no_gradient_enters_is_refused() -> None:
    """Nothing before the operator without gradient learns."""
    text = """(float[1, 2, 2, 2] y) <float[1, 4] posbox> {
      i = Constant<value_ints = [0]>()  y = RoiAlign<output_height = 2, output_width = 2>(x, posbox, i) }"""
    model = filled(HEAD + text)
    with pytest.raises(RequestError, match="No weight of the model that reads prunable"):
        build_view(model, SHAPES)


def test_cross_entropy_needs_scores_that_gradients_reach() -> None:
    """Behind an operator without gradient there are none."""
    text = "(float[N, 3] y) <float[3, 72] w> { f = Flatten(x)  z = Gemm<transB = 1>(f, w)  y = Hardmax(z) }"
    view = build_view(filled(HEAD + text), SHAPES)
    with pytest.raises(RequestError, match="Hardmax node 'y'"):
        CrossEntropy((4, 3)).attach(view)


def test_the_original_agrees_with_the_cut_view() -> None:
    """The tapped tensor of the view equals the original's."""
    model = filled(HEAD + CASES["regions of interest"][0])
    batch = Batch({"x": np.random.default_rng(1).standard_normal((4, 2, 6, 6)).astype(np.float32)})
    loss = Distillation(LiveTeacher(model), batch)
    view = build_view(model, SHAPES)
    loss.attach(view)
    (target,) = loss.feeds(batch).values()
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None))
    np.testing.assert_allclose(target, run(model, dict(batch.inputs))["r"], rtol=1e-3, atol=1e-6)
