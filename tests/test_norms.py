"""Batch norm that a network has lost: put back without a change of what it says, trained, and folded away exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import assert_same, filled, inputs_at, run, stored_arrays
from onnx_dnscp import prune
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.model.graph import read_graph
from onnx_dnscp.repair.norms import lacks_norms, with_norms, without_norms
from onnx_dnscp.surgery.weights import copy_with_weights

FOLDED = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 3, 8, 8] x) => (float[N, 4] y)
    <float[6, 3, 3, 3] wa, float[6] ba, float[6, 1, 3, 3] wb, float[6] bb, float[8, 6, 1, 1] wc, float[8] bc,
     float[4, 8] w, float[4] b>
    {
        a = Conv<pads = [1, 1, 1, 1]>(x, wa, ba)  ra = Relu(a)
        d = Conv<pads = [1, 1, 1, 1], group = 6>(ra, wb, bb)  s = Add(d, ra)
        c = Conv(s, wc, bc)  rc = Relu(c)
        p = GlobalAveragePool(rc)  f = Flatten(p)  y = Gemm<transB = 1>(f, w, b)
    }"""


def batches(model: onnx.ModelProto, count: int = 2) -> list[Batch]:
    """Batches of 16."""
    return [Batch(inputs_at(model, 16, 8, seed)) for seed in range(count)]


def norms(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Batch norms of the graph."""
    return [node for node in model.graph.node if node.op_type == "BatchNormalization"]


def test_norms_change_nothing_and_can_be_taken_out_again() -> None:
    """Behind all three convolutions; outputs agree, and so do the weights that come back."""
    model = filled(FOLDED)
    normed = with_norms(model, batches(model))
    onnx.checker.check_model(normed, full_check=True)
    assert len(norms(normed)) == 3
    feeds = inputs_at(model, 4, 8, seed=9)
    assert_same(run(normed, feeds), run(model, feeds), tol=1e-5)
    back = without_norms(normed)
    assert [node.op_type for node in back.graph.node] == [node.op_type for node in model.graph.node]
    for name, array in stored_arrays(model).items():
        np.testing.assert_allclose(stored_arrays(back)[name], array, rtol=1e-4, atol=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_whatever_the_norms_have_learned_is_folded_exactly(seed: int) -> None:
    """Scales of either sign, any shift and any statistics."""
    model = filled(FOLDED)
    normed = with_norms(model, batches(model, 1))
    rng = np.random.default_rng(seed)
    learned = {}
    for node in norms(normed):
        scale, shift, mean, variance = (stored_arrays(normed)[name] for name in node.input[1:])
        learned |= {
            node.input[1]: (scale * rng.uniform(-2, 2, scale.shape)).astype(np.float32),
            node.input[2]: (shift + rng.standard_normal(shift.shape)).astype(np.float32),
            node.input[3]: (mean + rng.standard_normal(mean.shape)).astype(np.float32),
            node.input[4]: (variance * rng.uniform(0.5, 2, variance.shape)).astype(np.float32),
        }
    trained = copy_with_weights(normed, learned)
    feeds = inputs_at(model, 4, 8, seed=9)
    assert_same(run(without_norms(trained), feeds), run(trained, feeds), tol=1e-4)


def test_weights_behind_a_norm_have_the_size_that_training_starts_with() -> None:
    """sqrt(2 / inputs of one output), whatever the size in the file."""
    model = filled(FOLDED)
    big = copy_with_weights(model, {"wa": 100 * stored_arrays(model)["wa"]})
    found = stored_arrays(with_norms(big, batches(model)))["wa"]
    np.testing.assert_allclose(np.sqrt(np.mean(found.reshape(6, -1) ** 2, axis=1)), np.sqrt(2 / 27), rtol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "a = Conv(x, w)  y = Conv(a, v, b)",  # one has no bias, the other makes the output
        "a = Conv(x, w, b)  n = BatchNormalization(a, s, b, m, pos_v)  y = Conv(n, v, b)",
        "a = Conv(x, w, c)  n = InstanceNormalization(a, s, b)  y = Conv(n, v, b)",
        "a = Conv(x, w, b)  y = Conv(a, w, b)",  # shared
    ],
)
def test_norms_go_only_where_they_were_lost_and_can_be_folded(body: str) -> None:
    """No bias, a norm of its own, an output, a shared weight."""
    sizes = {"w": "4, 4, 1, 1", "v": "4, 4, 1, 1", "b": "4", "c": "4", "s": "4", "m": "4", "pos_v": "4"}
    used = [f"float[{size}] {n}" for n, size in sizes.items() if f" {n}," in body or f" {n})" in body]
    model = filled(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 4, 5, 5] x) => (float[N, 4, 5, 5] y) <{", ".join(used)}> {{ {body} }}"""
    )
    assert not lacks_norms(read_graph(model))


def test_a_folded_classifier_trains_with_norms_and_is_saved_without(
    separable_path: Path, train_data_path: Path, tmp_path: Path
) -> None:
    """The saved file has the operators of the original; training went another way than without norms."""
    options = {"data": train_data_path, "epochs": 1, "finetune_epochs": 1, "batch_size": 64, "threads": 1}
    reports = [
        prune(separable_path, tmp_path / f"{asked}.onnx", ratio=0.3, restore_norm=asked, **options)
        for asked in (None, False)
    ]
    operators = [node.op_type for node in onnx.load(separable_path).graph.node]
    saved = [onnx.load(tmp_path / f"{asked}.onnx") for asked in (None, False)]
    assert all([node.op_type for node in model.graph.node] == operators for model in saved)
    assert "BatchNormalization" not in operators
    assert all(report.after.accuracy > 0.9 for report in reports if report.after.accuracy)
    name = saved[0].graph.initializer[0].name
    assert not np.array_equal(stored_arrays(saved[0])[name], stored_arrays(saved[1])[name])
