"""Networks in other precisions train in float32 and are saved in their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import filled, stored_arrays
from onnx_dnscp import prune
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.view import build_view

TYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def test_a_file_whose_nodes_are_not_in_order_is_sorted(tiny_model: onnx.ModelProto, tmp_path: Path) -> None:
    """ONNX Runtime's own conversion to half precision appends its casts at the end; what is saved is in order."""
    nodes = list(tiny_model.graph.node)
    shuffled = onnx.ModelProto()
    shuffled.CopyFrom(tiny_model)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(reversed(nodes))
    path = tmp_path / "shuffled.onnx"
    path.write_bytes(shuffled.SerializeToString())
    prune(path, tmp_path / "out.onnx", train=False, ratio=0.5)
    saved = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(saved, full_check=True)
    assert [node.name for node in saved.graph.node] == [node.name for node in nodes]


def network(element: str) -> onnx.ModelProto:
    """Two convolutions with batch norm and a classifier, all in one precision."""
    return filled(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net ({element}[N, 2, 8, 8] x) => ({element}[N, 3] y)
        <{element}[8, 2, 3, 3] w0, {element}[8] pos_s, {element}[8] b0, {element}[8] m0, {element}[8] pos_v,
         {element}[8, 8, 3, 3] const_w1, {element}[3, 8] w2> {{
          a = Conv<pads = [1, 1, 1, 1]>(x, w0)  n = BatchNormalization(a, pos_s, b0, m0, pos_v)  r = Relu(n)
          c = Conv<pads = [1, 1, 1, 1]>(r, const_w1)  d = Relu(c)
          g = GlobalAveragePool(d)  h = Flatten(g)  y = Gemm<transB = 1>(h, w2) }}""")


def pruned(
    model: onnx.ModelProto, folder: Path, samples: np.dtype[Any], **settings: Any
) -> tuple[Any, onnx.ModelProto]:
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((32, 2, 8, 8)).astype(samples), "labels": rng.integers(0, 3, 32)}
    np.savez(folder / "data.npz", **data)
    onnx.save(model, str(folder / "model.onnx"))
    report = prune(
        folder / "model.onnx",
        folder / "out.onnx",
        data=folder / "data.npz",
        epochs=2,
        finetune_epochs=1,
        batch_size=16,
        threads=1,
        **settings,
    )
    return report, onnx.load(str(folder / "out.onnx"))


@pytest.mark.needs_training
@pytest.mark.parametrize("loss", ["cross-entropy", "distill"])
@pytest.mark.parametrize("element", list(TYPES))
def test_a_half_network_trains_and_is_saved_as_it_was(element: str, loss: str, tmp_path: Path) -> None:
    """Half of the channels are gone, every tensor has its precision, and weights have moved."""
    model = network(element)
    report, result = pruned(model, tmp_path, np.float16 if element == "float16" else np.float32, loss=loss)
    assert report.ratio == 0.5
    assert report.loss == loss
    assert {t.data_type for t in result.graph.initializer} == {TYPES[element]}
    assert result.graph.input[0].type == model.graph.input[0].type
    before, after = stored_arrays(model), stored_arrays(result)
    assert set(after) == set(before)
    assert [after[name].shape[0] for name in ("w0", "const_w1", "m0", "pos_v")] == [4, 4, 4, 4]
    rows = before["w0"].reshape(8, -1)
    assert not all((row == rows).all(1).any() for row in after["w0"].reshape(4, -1)), "it learned"


@pytest.mark.parametrize("element", list(TYPES))
def test_a_half_network_is_repaired(element: str, resnet_path: Path, train_data_path: Path, tmp_path: Path) -> None:
    """Half the channels gone and no training: what stays is fitted as it is in float32, and digits are still read."""
    model = onnx.load(resnet_path)
    dtype = helper.tensor_dtype_to_np_dtype(TYPES[element])
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TYPES[element]
    onnx.save(model, str(tmp_path / "half.onnx"))
    with np.load(train_data_path) as arrays:
        np.savez(tmp_path / "few.npz", image=arrays["image"][:128], labels=arrays["labels"][:128])
    report = prune(tmp_path / "half.onnx", tmp_path / "out.onnx", data=tmp_path / "few.npz", train=False, threads=1)
    assert report.after.accuracy is not None
    assert report.after.accuracy > 0.9
    assert any("were fitted" in note for note in report.notes)


def test_the_tolerance_follows_the_type_that_computes(tmp_path: Path) -> None:
    """Inputs and outputs in float32 around a network in half; or weights stored in half, and float32 computes."""

    def tolerance(text: str) -> float:
        model = filled(f"""
            <ir_version: 8, opset_import: ["" : 17]>
            net (float[N, 8, 8, 8] x) => (float[N, 3, 8, 8] y) <float16[64, 8, 3, 3] w0, float16[3, 64, 1, 1] w1> {{
              {text} }}""")
        onnx.save(model, str(tmp_path / "half.onnx"))
        report = prune(tmp_path / "half.onnx", tmp_path / "out.onnx", train=False, ratio=0.3, threads=1)
        assert report.max_relative_error <= report.tolerance
        return report.tolerance

    convolutions = "a = Conv<pads = [1, 1, 1, 1]>({0}, {1})  r = Relu(a)  {2} = Conv(r, {3})"
    inside = f"h = Cast<to = 10>(x)  {convolutions.format('h', 'w0', 'b', 'w1')}  y = Cast<to = 1>(b)"
    stored = f"v0 = Cast<to = 1>(w0)  v1 = Cast<to = 1>(w1)  {convolutions.format('x', 'v0', 'y', 'v1')}"
    assert tolerance(inside) >= 1e-2
    assert tolerance(stored) < 1e-3


@pytest.mark.needs_training
def test_weights_in_half_behind_a_cast_learn(tmp_path: Path) -> None:
    """The file stores half and computes in float32."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 8, 8] x) => (float[N, 3, 8, 8] y) <float16[8, 2, 3, 3] w0, float16[3, 8, 1, 1] w1> {
          v0 = Cast<to = 1>(w0)  v1 = Cast<to = 1>(w1)
          a = Conv<pads = [1, 1, 1, 1]>(x, v0)  r = Relu(a)  y = Conv(r, v1) }""")
    report, result = pruned(model, tmp_path, np.float32, loss="distill")
    assert report.ratio == 0.5
    before, after = stored_arrays(model), stored_arrays(result)
    assert after["w1"].dtype == np.float16
    assert not np.isin(after["w1"], before["w1"]).all()


def test_the_view_of_a_half_network_is_float32_throughout() -> None:
    """Inputs, weights, statistics, and what Casts and ConstantOfShape make."""
    model = filled("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float16[N, 4] x) => (float16[N, 3] y) <double[4, 3] w> {
          s = Shape(x)  z = ConstantOfShape(s)  a = Add(x, z)
          b = Cast<to = 11>(a)  c = MatMul(b, w)  y = Cast<to = 10>(c) }""")
    half = numpy_helper.from_array(np.full(1, 0.5, np.float16))
    model.graph.node[1].attribute.append(helper.make_attribute("value", half))
    view = build_view(model, {"x": (2, 4)})
    assert view.values["w"].dtype == np.float32
    assert {i.type.tensor_type.elem_type for i in view.model.graph.input} == {TensorProto.FLOAT}
    assert TensorProto.FLOAT in {
        helper.get_attribute_value(n.attribute[0]) for n in view.model.graph.node if n.attribute
    }
    assert {t.data_type for t in view.model.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}


def test_what_exceeds_half_becomes_its_largest_number() -> None:
    """An infinite weight would make infinite outputs; rounding to the nearest half stays."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float16), "w")
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    changed = copy_with_weights(model, {"w": np.array([1e6, -1e6, 1.0004, np.inf], np.float32)})
    np.testing.assert_array_equal(
        numpy_helper.to_array(changed.graph.initializer[0]), np.array([65504, -65504, 1, np.inf], np.float16)
    )
