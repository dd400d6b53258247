"""Small networks for tests of training, with views, batches, losses and engines for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from models import filled
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.discovery.discover import discover_units
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.model.units import Units
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.tracing.trace import trace
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import LiveTeacher
from onnx_dnscp.training.losses.weighted import WeightedSum
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.view import LOSS, MASK_INPUT, TrainingView, build_view

BATCH = 4
# Smooth activations, so that finite differences meet no kinks; one Relu-free network per structure.
NETWORKS = {
    "residual with batch norm": """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[6, 2, 3, 3] w0, float[6] s0, float[6] b0, float[6] m0, float[6] v0,
 float[6, 6, 3, 3] w1, float[6] c1, float[6] s1, float[6] b1, float[6] m1, float[6] v1, float[3, 6] w2, float[3] c2>
{
  a = Conv<pads = [1, 1, 1, 1]>(x, w0)
  n = BatchNormalization(a, s0, b0, m0, v0)
  t = Tanh(n)
  d = Conv<pads = [1, 1, 1, 1]>(t, w1, c1)
  e = BatchNormalization(d, s1, b1, m1, v1)
  f = Add(e, t)
  g = Sigmoid(f)
  p = GlobalAveragePool(g)
  q = Flatten(p)
  y = Gemm<transB = 1>(q, w2, c2)
}""",
    "depthwise, grouped, concat, strides and auto_pad": """
<ir_version: 8, opset_import: ["" : 13]>
net (float[N, 2, 6, 6] x) => (float[N, 3] y)
<float[8, 2, 3, 3] w0, float[8, 1, 3, 3] w1, float[8, 4, 1, 1] w2, float[4, 8, 3, 3] w3, float[12, 3] w4, float[3] c4>
{
  a = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(x, w0)
  t = Tanh(a)
  d = Conv<pads = [1, 1, 1, 1], group = 8>(t, w1)
  e = Conv<group = 2>(d, w2)
  f = Sigmoid(e)
  g = Conv<auto_pad = "SAME_LOWER">(f, w3)
  j = Concat<axis = 1>(f, g)
  p = AveragePool<kernel_shape = [3, 3]>(j)
  q = Flatten(p)
  m = MatMul(q, w4)
  z = Add(m, c4)
  y = Softmax(z)
}""",
}


def network(name: str) -> tuple[onnx.ModelProto, Units]:
    """A small network with seeded weights, and its units."""
    model = onnx.parser.parse_model(NETWORKS[name])
    rng = np.random.default_rng(3)
    for declared in model.graph.value_info:
        shape = [d.dim_value for d in declared.type.tensor_type.shape.dim]
        values = rng.standard_normal(shape) * 0.4
        if declared.name[0] in "sv":
            values = 1 + 0.2 * np.abs(values)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), declared.name))
    graph = read_graph(model)
    return model, discover_units(graph, trace(graph))


def batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch({"x": rng.standard_normal((BATCH, 2, 6, 6)).astype(np.float32)}, rng.integers(0, 3, BATCH))


def engine_for(
    model: onnx.ModelProto, loss: Loss, *, units: Units | None = None, batch_norm: BatchNormMode = "train"
) -> OrtEngine:
    view = build_view(model, {"x": (BATCH, 2, 6, 6)}, units=units, batch_norm=batch_norm)
    loss.attach(view)
    return OrtEngine(view, threads=1)


def feeds(loss: Loss, samples: Batch, mask: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
    result = {**samples.inputs, **loss.feeds(samples)}
    if mask is not None:
        result[MASK_INPUT] = np.append(mask, True).astype(np.float32)
    return result


def make_loss(name: str, model: onnx.ModelProto) -> Loss:
    # The teacher differs from the student, or every gradient of the distillation would be 0.
    if name == "cross-entropy":
        return CrossEntropy((BATCH, 3))
    moved = {t.name: numpy_helper.to_array(t) * np.float32(1.3) for t in model.graph.initializer if t.name[0] == "w"}
    taught = Distillation(LiveTeacher(copy_with_weights(model, moved)), batch())
    return taught if name == "distillation" else WeightedSum([(1.0, CrossEntropy((BATCH, 3))), (0.5, taught)])


def some_mask(units: Units) -> NDArray[np.bool_]:
    mask = np.random.default_rng(5).random(units.num_units) < 0.6
    for group in units.groups:
        mask[group.first] = True
    assert not mask.all()
    return mask


def view_of(operator: str = "AveragePool<kernel_shape = [2, 2]>") -> TrainingView:
    """A convolution with an operator behind it, whose mean is the loss."""
    model = filled(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (float[N, 4, 5, 5] y) <float[4, 2, 1, 1] w> {{
          a = Conv(x, w)  y = {operator}(a) }}""")
    view = build_view(model, {"x": (4, 2, 6, 6)})
    ((tap, *_), *_) = view.taps.values()
    view.add_node("ReduceMean", [tap], LOSS, keepdims=0)
    return view
