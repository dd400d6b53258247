"""Rewritten gradient graphs compute what the graphs they are made from compute."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnx_dnscp.training import gradient_graph
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.gradient_graph import build_gradient_graph
from onnx_dnscp.training.losses.cross_entropy import LABELS, CrossEntropy
from onnx_dnscp.training.rewrites import blocked_weight_gradient
from onnx_dnscp.training.rewrites.apply import rewrite
from onnx_dnscp.training.rewrites.fusion import fuse_into_convolutions
from onnx_dnscp.training.rewrites.kernels import channel_block
from onnx_dnscp.training.rewrites.pen import BLOCKED_DOMAIN, Pen
from onnx_dnscp.training.view import TrainingView, build_view

pytestmark = pytest.mark.needs_training

needs_blocks = pytest.mark.skipif(channel_block() == 0, reason="this processor has no kernels for channel blocks")

SAMPLES = 15
IMAGE = (3, 15, 16)  # odd and even, so that strides leave a remainder on one axis; the pixels fill whole blocks
WIDTH = 32  # two blocks with AVX512, four with AVX2

# Attributes of the convolution in the middle, its output channels, its group and kernel, and what becomes of the whole
# network: the number of blocked convolutions, of plain ones and of ConvGrad nodes. The first convolution is a blocked
# one with a ConvGrad.
CONVOLUTIONS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int], tuple[int, int, int]]] = {
    "3x3": ({"pads": [1, 1, 1, 1]}, (48, 1, 3, 3), (4, 0, 1)),
    "5x3, pads that differ": ({"pads": [1, 2, 3, 0]}, (32, 1, 5, 3), (4, 0, 1)),
    "3x3 without padding": ({}, (16, 1, 3, 3), (4, 0, 1)),
    "3x1, larger than the image": ({"pads": [2, 0, 1, 0]}, (32, 1, 3, 1), (4, 0, 1)),
    "dilated": ({"pads": [2, 2, 2, 2], "dilations": [2, 2]}, (32, 1, 3, 3), (3, 0, 2)),
    "padding beyond the kernel": ({"pads": [3, 3, 3, 3]}, (32, 1, 3, 3), (2, 0, 2)),
    "strided": ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (32, 1, 3, 3), (4, 0, 1)),
    "fewer activations than weights": ({"strides": [8, 8]}, (32, 1, 3, 3), (1, 1, 2)),
    "1x1": ({}, (48, 1, 1, 1), (1, 2, 2)),
    "channels that fill no blocks": ({"pads": [1, 1, 1, 1]}, (20, 1, 3, 3), (1, 2, 2)),
    "grouped": ({"pads": [1, 1, 1, 1]}, (32, 4, 3, 3), (1, 1, 2)),
    "depthwise": ({"pads": [1, 1, 1, 1]}, (WIDTH, WIDTH, 3, 3), (4, 0, 1)),
    "depthwise 5x3": ({"pads": [2, 1, 2, 1]}, (WIDTH, WIDTH, 5, 3), (4, 0, 1)),
    "depthwise, strided": ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (WIDTH, WIDTH, 3, 3), (4, 0, 1)),
    "depthwise, strided down": ({"pads": [1, 1, 1, 1], "strides": [2, 1]}, (WIDTH, WIDTH, 3, 3), (4, 0, 1)),
    "depthwise, dilated": ({"pads": [2, 2, 2, 2], "dilations": [2, 2]}, (WIDTH, WIDTH, 3, 3), (4, 0, 1)),
    "depthwise, rest unread": ({"strides": [3, 3]}, (WIDTH, WIDTH, 3, 3), (2, 0, 2)),
}
SMOOTH = "Tanh"


def middle(
    attributes: dict[str, Any], shape: tuple[int, int, int, int], activation: str = SMOOTH
) -> tuple[TrainingView, dict[str, NDArray[Any]]]:
    """Conv (3 to WIDTH) - activation - the convolution in question - activation - mean - Gemm, and one batch."""
    outputs, group, *kernel = shape
    rng = np.random.default_rng(1)
    weights = {
        "w0": (WIDTH, IMAGE[0], 3, 3),
        "b0": (WIDTH,),
        "w1": (outputs, WIDTH // group, *kernel),
        "b1": (outputs,),
        "w2": (4, outputs),
    }
    stored = [numpy_helper.from_array((0.4 * rng.standard_normal(s)).astype(np.float32), n) for n, s in weights.items()]
    limits = [numpy_helper.from_array(np.array(v, dtype=np.float32), n) for n, v in (("low", -0.2), ("high", 0.5))]
    more = ["low", "high"] if activation == "Clip" else []
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node(activation, ["c0", *more], ["a0"]),
        helper.make_node("Conv", ["a0", "w1", "b1"], ["c1"], group=group, kernel_shape=kernel, **attributes),
        helper.make_node(activation, ["c1", *more], ["a1"]),
        helper.make_node("GlobalAveragePool", ["a1"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *IMAGE])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "net", inputs, outs, stored + (limits if more else []))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    view = build_view(model, {"x": (SAMPLES, *IMAGE)})
    CrossEntropy((SAMPLES, 4)).attach(view)
    images = rng.standard_normal((SAMPLES, *IMAGE)).astype(np.float32)
    return view, {"x": images, LABELS: rng.integers(0, 4, SAMPLES), **view.values}


def results(model: onnx.ModelProto, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def rewritten(model: onnx.ModelProto, block: int | None = None) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rewrite(copy, block=block)
    return copy


def assert_same(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    """Equal up to the order of sums of some hundred float32 terms, whose rounding is a few 1e-7 of the largest."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(value).max() > 0
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=5e-6 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("blocks", [True, False], ids=["blocks", "plain"])
@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_gradients_of_convolutions_stay(name: str, blocks: bool) -> None:
    """Of weights, biases and, through the first convolution's weights, of the input; with and without blocks."""
    attributes, shape, _ = CONVOLUTIONS[name]
    view, feeds = middle(attributes, shape)
    model = build_gradient_graph(view)
    assert_same(results(rewritten(model, None if blocks else 0), feeds), results(model, feeds))


@needs_blocks
@pytest.mark.parametrize("name", ["3x3", "5x3, pads that differ", "3x1, larger than the image", "strided", "dilated"])
def test_weight_gradients_stay_when_maps_are_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps too large for the cache are cut into parts of some rows, whose neighbours belong to other parts."""
    attributes, shape, _ = CONVOLUTIONS[name]
    view, feeds = middle(attributes, shape)
    model = build_gradient_graph(view)
    monkeypatch.setattr(blocked_weight_gradient, "_CACHED", 1)
    assert_same(results(rewritten(model), feeds), results(model, feeds))


def norms(shift: float) -> tuple[TrainingView, dict[str, NDArray[Any]]]:
    """Three convolutions with batch norm, the second in a residual block, whose results `shift` moves; one batch."""
    rng = np.random.default_rng(2)
    shapes: dict[str, tuple[int, ...]] = {"w0": (WIDTH, IMAGE[0], 3, 3), "w3": (4, WIDTH)}
    shapes |= {"w1": (WIDTH, WIDTH, 3, 3), "w2": (WIDTH, WIDTH, 3, 3)}
    stored = {name: 0.2 * rng.standard_normal(shape) for name, shape in shapes.items()}
    for n in range(3):
        stored[f"b{n}"] = shift + rng.standard_normal(WIDTH)
        for part in ("scale", "bias", "mean", "var"):
            stored[f"{part}{n}"] = rng.uniform(0.5, 1.5, WIDTH)
    graph = onnx.parser.parse_graph(f"""
net (float[N, {IMAGE[0]}, {IMAGE[1]}, {IMAGE[2]}] x) => (float[N, 4] y) {{
  c0 = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
  n0 = BatchNormalization<epsilon = 0.01, momentum = 0.7>(c0, scale0, bias0, mean0, var0)
  a0 = Relu(n0)
  c1 = Conv<pads = [1, 1, 1, 1]>(a0, w1, b1)
  n1 = BatchNormalization<epsilon = 0.01, momentum = 0.7>(c1, scale1, bias1, mean1, var1)
  s = Add(n1, a0)
  a1 = Relu(s)
  c2 = Conv<pads = [1, 1, 1, 1]>(a1, w2, b2)
  n2 = BatchNormalization<epsilon = 0.01, momentum = 0.7>(c2, scale2, bias2, mean2, var2)
  a2 = Relu(n2)
  p = GlobalAveragePool(a2)
  f = Flatten(p)
  y = Gemm<transB = 1>(f, w3)
}}""")
    graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), n) for n, v in stored.items())
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    view = build_view(model, {"x": (SAMPLES, *IMAGE)}, batch_norm="train")
    CrossEntropy((SAMPLES, 4)).attach(view)
    images = rng.standard_normal((SAMPLES, *IMAGE)).astype(np.float32)
    return view, {"x": images, LABELS: rng.integers(0, 4, SAMPLES), **view.values}


@needs_blocks
@pytest.mark.parametrize(("shift", "tolerance"), [(0.0, 5e-5), (100.0, 1e-3)])
def test_batch_norm_on_blocks_stays(shift: float, tolerance: float) -> None:
    """Values, gradients and running statistics, also of channels whose mean is far larger than their deviation.

    A convolution's result of 100 is rounded to 4e-6, and its deviation is about 1; Relu at rounded zeros adds to that.
    With a variance that is the difference of two means near 1e4, gradients would be wrong by some hundredths.
    """
    view, feeds = norms(shift)
    model = build_gradient_graph(view)
    fast = rewritten(model)
    count = Counter(node.op_type for node in fast.graph.node)
    assert count["BatchNormInternal"] == count["BatchNormalizationGrad"] == 1, "only a mean follows the last"
    found, expected = results(fast, feeds), results(model, feeds)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name not in ("b0_grad", "b1_grad", "b2_grad"):  # batch norm takes the mean off again: rounding around 0
            error = np.linalg.norm(found[name] - value) / np.linalg.norm(value)
            assert error < tolerance, (name, error)


@needs_blocks
@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_convolutions_get_the_kernels_that_fit(name: str) -> None:
    """A rewrite that no longer fits anything would go unnoticed otherwise."""
    attributes, shape, expected = CONVOLUTIONS[name]
    count = Counter(
        (n.domain, n.op_type) for n in rewritten(build_gradient_graph(middle(attributes, shape)[0])).graph.node
    )
    assert (count[BLOCKED_DOMAIN, "Conv"], count["", "Conv"], count["com.microsoft", "ConvGrad"]) == expected


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_gradients_of_activations_stay(activation: str) -> None:
    """Between convolutions, where activations stay in blocks; no value is so near a kink that rounding matters."""
    view, feeds = middle({"pads": [1, 1, 1, 1]}, (WIDTH, 1, 3, 3), activation)
    model = build_gradient_graph(view)
    fast = rewritten(model)
    assert_same(results(fast, feeds), results(model, feeds))
    assert not {"ReluGrad", "GreaterOrEqual", "LessOrEqual", "Cast"} & {node.op_type for node in fast.graph.node}


@needs_blocks
def test_activations_between_convolutions_stay_in_blocks() -> None:
    """Of two blocked convolutions with a Relu between them, the first one rectifies and nothing is reordered."""
    view, _ = middle({"pads": [1, 1, 1, 1]}, (WIDTH, 1, 3, 3), "Relu")
    nodes = rewritten(build_gradient_graph(view)).graph.node
    makers = {node.output[0]: node for node in nodes}
    second = [node for node in nodes if node.domain == BLOCKED_DOMAIN and node.op_type == "Conv"][1]
    first = makers[second.input[0]]
    assert (first.op_type, first.domain) == ("Conv", BLOCKED_DOMAIN)
    assert first.attribute[-1].s == b"Relu"


@needs_blocks
@pytest.mark.parametrize("operands", [("c", "t"), ("t", "c")])
@pytest.mark.parametrize("read_twice", [False, True])
def test_sums_are_taken_into_convolutions_that_nobody_else_reads(operands: tuple[str, str], read_twice: bool) -> None:
    """Relu(conv(x) + t) is one node, with the same bits; a convolution whose own result is wanted stays apart."""
    block = channel_block()
    rng = np.random.default_rng(4)
    shape = (2, block, 5, 4)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name in ("x", "t")}
    feeds["w"] = rng.standard_normal((block, block, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], domain=BLOCKED_DOMAIN, kernel_shape=[1, 1]),
        helper.make_node("Add", operands, ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, v.shape) for n, v in feeds.items()]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (["y", "c"] if read_twice else ["y"])
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(BLOCKED_DOMAIN, 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=opsets, ir_version=8)
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    fuse_into_convolutions(fused)
    assert [node.op_type for node in fused.graph.node] == (["Conv", "Add", "Relu"] if read_twice else ["Conv"])
    found, expected = results(fused, feeds), results(model, feeds)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)


def test_a_clipped_value_at_its_limit_has_no_gradient() -> None:
    """Inside the limits it is handed through, outside and exactly at them it is 0."""
    graph = onnx.parser.parse_graph("""
g (float[5] x, float[5] dy) => (float[5] dx) <float low = {-1.0}, float high = {6.0}> {
  a = GreaterOrEqual(x, low)
  b = LessOrEqual(x, high)
  c = And(a, b)
  m = Cast<to = 1>(c)
  dx = Mul(dy, m)
}""")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rewrite(model)
    inside = np.nextafter(np.float32(6), np.float32(0))
    feeds = {"x": np.array([-1, inside, 6, 7, -0.99999994], dtype=np.float32), "dy": np.arange(1, 6, dtype=np.float32)}
    assert results(model, feeds)["dx"].tolist() == [0, 2, 0, 0, 5]


def test_a_graph_that_the_runtime_refuses_is_replaced_by_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine trains with the plain graph where the rewritten one cannot be loaded."""

    def broken(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    view, feeds = middle({"pads": [1, 1, 1, 1]}, (WIDTH, 1, 3, 3))
    expected = OrtEngine(view, threads=1, rewrites=False).gradients(feeds)
    monkeypatch.setattr(gradient_graph, "rewrite", broken)
    loss, gradients = OrtEngine(view, threads=1).gradients(feeds)
    assert loss == expected[0]
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected[1][name])


def test_what_a_rule_writes_stands_before_the_node_that_it_leaves() -> None:
    """As blocks that may be read later; names that are taken are not given again."""
    nodes = [helper.make_node("Neg", ["x"], ["dnscp//rewritten/1"]), helper.make_node("Relu", ["x"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "net", [], [onnx.ValueInfoProto(name="y")]))

    def rule(pen: Pen, node: onnx.NodeProto) -> bool:
        pen.emit("Abs", node.input[0])
        return node.op_type == "Neg"

    Pen(model, 0).apply(rule)
    found = [(node.op_type, node.output[0]) for node in model.graph.node]
    assert found == [("Abs", "dnscp//rewritten/1_2"), ("Abs", "dnscp//rewritten/2"), ("Relu", "y")]
