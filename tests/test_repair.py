"""Repair after surgery without training: exact where it can be, never worse where it is measured, and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Arrays, assert_same, filled, inputs_at, load, run, stored_arrays
from onnx_dnscp import evaluate, prune
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.measure.verify import verify
from onnx_dnscp.model.units import Units
from onnx_dnscp.repair.batch_norm import estimate_statistics
from onnx_dnscp.repair.least_squares import Normal
from onnx_dnscp.repair.observe import observe
from onnx_dnscp.repair.repair import Repairs, repair
from onnx_dnscp.repair.samples import natural_noise, repair_batches
from onnx_dnscp.repair.sites import find_sites
from onnx_dnscp.repair.windows import Windows
from onnx_dnscp.surgery.apply import apply_cuts
from onnx_dnscp.surgery.cuts import plan_cuts
from onnx_dnscp.surgery.masked import mask_model
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.tracing.trace import trace

COMPENSATE = Repairs(compensate=True, least_squares=False)
FIT = Repairs(compensate=True, least_squares=True)

CONSUMERS = {  # each reads six channels that are made in front of it, three of which are removed
    "a convolution with a bias": "y = Conv(r, w, b)",
    "a convolution in front of batch norm": "c = Conv(r, w)  y = BatchNormalization(c, pos_s, b, m, pos_v)",
    "a fully connected layer": "p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<transB = 1>(f, w2, b)",
    "a fully connected layer, halved bias": "p = GlobalAveragePool(r)  f = Flatten(p)  y = Gemm<beta = 0.5>(f, w3, b)",
    "a product with a bias apart": "p = GlobalAveragePool(r)  f = Flatten(p)  g = MatMul(f, w3)  y = Add(g, b)",
}


def network(consumer: str) -> tuple[onnx.ModelProto, Units]:
    """A convolution with six outputs, ReLU, and a consumer of those."""
    names = {"w": "4, 6, 1, 1", "w2": "4, 6", "w3": "6, 4", "b": "4", "m": "4", "pos_s": "4", "pos_v": "4"}
    used = [f"float[{size}] {n}" for n, size in names.items() if f" {n}," in consumer or f" {n})" in consumer]
    rank = "N, 4, 5, 5" if "Pool" not in consumer else "N, 4"
    model = filled(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 3, 5, 5] x) => (float[{rank}] y)
        <float[6, 3, 3, 3] wa, float[6] ba, {", ".join(used)}>
        {{ a = Conv<pads = [1, 1, 1, 1]>(x, wa, ba)  r = Relu(a)  {consumer} }}"""
    )
    return model, discover(load(model))


def batches_for(model: onnx.ModelProto, count: int = 2, size: int = 16) -> list[Batch]:
    """Seeded inputs."""
    return [Batch(inputs_at(model, size, 5, seed)) for seed in range(count)]


def cut(model: onnx.ModelProto, units: Units, mask: np.ndarray, new: Arrays) -> onnx.ModelProto:
    """The pruned model with repaired weights, verified against its masked twin."""
    repaired = copy_with_weights(model, new)
    pruned = apply_cuts(repaired, units, plan_cuts(units, mask))
    verify(pruned, mask_model(repaired, units, mask), batches_for(model))
    return pruned


@pytest.mark.parametrize("consumer", CONSUMERS.values(), ids=CONSUMERS.keys())
def test_compensation_is_exact_where_removed_channels_are_constant(consumer: str) -> None:
    """Channels that only their bias feeds are the same everywhere; a shift replaces them, and nothing else does."""
    model, _ = network(consumer)
    weights = {name: array.copy() for name, array in stored_arrays(model).items()}
    weights["wa"][:3] = 0
    weights["ba"][:3] = [1.0, 2.0, 3.0]
    model = copy_with_weights(model, weights)
    units = discover(load(model))
    mask = np.arange(units.num_units) >= 3
    new = repair(model, units, mask, batches_for(model), COMPENSATE)
    feeds = inputs_at(model, 8, 5, seed=99)
    assert_same(run(cut(model, units, mask, new), feeds), run(model, feeds), tol=1e-5)
    with pytest.raises(AssertionError):
        assert_same(run(cut(model, units, mask, {}), feeds), run(model, feeds), tol=1e-2)


@pytest.mark.parametrize("consumer", CONSUMERS.values(), ids=CONSUMERS.keys())
def test_compensation_restores_the_mean_of_every_output(consumer: str) -> None:
    """Over the samples it looked at, whatever the removed channels held."""
    model, units = network(consumer)
    mask = np.arange(units.num_units) >= 3
    batches = batches_for(model)
    pruned = cut(model, units, mask, repair(model, units, mask, batches, COMPENSATE))
    means = [
        np.mean([np.moveaxis(run(m, dict(b.inputs))["y"], 1, -1).reshape(-1, 4) for b in batches], axis=(0, 1))
        for m in (pruned, model)
    ]
    np.testing.assert_allclose(*means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("consumer", CONSUMERS.values(), ids=CONSUMERS.keys())
def test_least_squares_is_exact_where_others_can_stand_in(consumer: str) -> None:
    """Removed channels that equal others lose nothing but what the ridge holds back."""
    model, _ = network(consumer)
    weights = {name: array.copy() for name, array in stored_arrays(model).items()}
    for name in ("wa", "ba"):
        weights[name][:3] = weights[name][3:]
    model = copy_with_weights(model, weights)
    units = discover(load(model))
    mask = np.arange(units.num_units) >= 3
    batches, feeds = batches_for(model, 4), inputs_at(model, 8, 5, seed=99)
    whole = run(model, feeds)["y"]
    errors = [
        float(np.abs(run(cut(model, units, mask, new), feeds)["y"] - whole).mean() / np.abs(whole).mean())
        for new in ({}, repair(model, units, mask, batches, FIT))
    ]
    assert errors[1] < 0.06 < errors[0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), shifts=st.booleans(), rows=st.integers(1, 60), groups=st.integers(1, 3))
def test_least_squares_never_increases_the_error_on_its_rows(seed: int, shifts: bool, rows: int, groups: int) -> None:
    """Also with fewer rows than features, groups that keep different features, and features that never vary."""
    rng = np.random.default_rng(seed)
    features, outputs = rng.standard_normal((groups, rows, 6)) * 3 + 1, rng.standard_normal((groups, rows, 4))
    features[..., 1] = 2.0
    keeps = rng.random((groups, 6)) < 0.6
    weight = rng.standard_normal((groups, 4, 6)) * keeps[:, None]
    bias = rng.standard_normal((groups, 4))
    normal = Normal(weight, keeps, bias, shifts=shifts)
    for part in (slice(0, rows // 2), slice(rows // 2, rows)):
        normal.add(features[:, part], outputs[:, part])
    solved = normal.solve()
    assert (solved[~np.broadcast_to(keeps[:, None], solved.shape)] == 0).all()
    errors = []
    for candidate in (weight, solved):
        rest = outputs - bias[:, None] - features @ candidate.swapaxes(1, 2)
        errors.append(float(((rest - rest.mean(axis=1, keepdims=True) * shifts) ** 2).sum()))
    assert errors[1] <= errors[0] * (1 + 1e-9)


def test_least_squares_matches_the_textbook() -> None:
    """With a vanishing ridge it is numpy's solution with a column of ones for the shift."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1, 50, 3)), rng.standard_normal((1, 50, 2))
    normal = Normal(np.zeros((1, 2, 3)), np.ones((1, 3), dtype=bool), np.zeros((1, 2)), shifts=True)
    normal.add(x, y)
    expected = np.linalg.lstsq(np.c_[x[0], np.ones(50)], y[0], rcond=None)[0]
    np.testing.assert_allclose(normal.solve(ridge=1e-12)[0], expected[:3].T, atol=1e-8)
    mean, deviation = normal.predicted(normal.solve(ridge=1e-12))
    np.testing.assert_allclose(mean[0], (x[0] @ expected[:3]).mean(axis=0), atol=1e-8)
    np.testing.assert_allclose(deviation[0], (x[0] @ expected[:3]).std(axis=0), atol=1e-8)


WINDOWS = [
    ("float[N, 4, 7, 6] x", "float[6, 4, 3, 3] w", ""),
    ("float[N, 4, 7, 6] x", "float[6, 2, 3, 2] w", "<group = 2, pads = [1, 0, 2, 1], strides = [2, 1]>"),
    ("float[N, 4, 9, 9] x", "float[4, 1, 3, 3] w", "<group = 4, dilations = [2, 3], pads = [2, 3, 2, 3]>"),
    ("float[N, 4, 7, 6] x", "float[6, 4, 3, 2] w", '<auto_pad = "SAME_UPPER", strides = [2, 2]>'),
    ("float[N, 4, 7, 6] x", "float[6, 4, 2, 2] w", '<auto_pad = "SAME_LOWER">'),
    ("float[N, 4, 7, 6] x", "float[6, 4, 2, 2] w", '<auto_pad = "VALID">'),
    ("float[N, 4, 11] x", "float[6, 4, 3] w", "<pads = [1, 1], strides = [3]>"),
    ("float[N, 4, 5, 4, 6] x", "float[6, 4, 3, 2, 1] w", "<pads = [1, 0, 0, 1, 0, 0]>"),
]


@pytest.mark.parametrize(("x", "w", "attributes"), WINDOWS, ids=[str(w[1:]) for w in WINDOWS])
def test_windows_are_what_a_convolution_sees(x: str, w: str, attributes: str) -> None:
    """Features times weight are the runtime's outputs, at all positions and at a drawn part of them."""
    dims = ", ".join(["float[N, 6"] + ["?"] * (x.count(",") - 1)) + "]"
    model = filled(
        f"""<ir_version: 8, opset_import: ["" : 17]> net ({x}) => ({dims.replace("?", "K")} y) <{w}>
        {{ y = Conv{attributes}(x, w) }}"""
    )
    feeds = inputs_at(model, 3, 1)
    y = run(model, feeds)["y"]
    node = discover(load(model)).graph.nodes[-1]
    weight = stored_arrays(model)["w"]
    windows = Windows.of(node, feeds["x"].shape, weight.shape)
    for limit in (10_000, 7):
        features, outputs = windows.samples(feeds["x"], y, limit, np.random.default_rng(0))
        assert features.shape[1] == min(limit, y.size // 6 if len(weight) == 6 else y.size // 4)
        matrices = weight.reshape(windows.group, len(weight) // windows.group, -1)
        np.testing.assert_allclose(features @ matrices.swapaxes(1, 2), outputs, rtol=1e-4, atol=1e-4)


RESIDUAL = """<ir_version: 8, opset_import: ["" : 17]>
residual (float[N, 3, 6, 6] x) => (float[N, 5] y)
<float[8, 3, 3, 3] wa, float[8] ba, float[8, 8, 3, 3] wb, float[8] pos_s, float[8] bb, float[8] m, float[8] pos_v,
 float[8, 8, 1, 1] wc, float[8] bc, float[5, 8] wd, float[5] bd>
{
  a = Conv<pads = [1, 1, 1, 1]>(x, wa, ba)  r = Relu(a)
  b = Conv<pads = [1, 1, 1, 1]>(r, wb)  n = BatchNormalization(b, pos_s, bb, m, pos_v)
  c = Conv(r, wc, bc)  s = Add(n, c)  t = Relu(s)
  p = GlobalAveragePool(t)  f = Flatten(p)  y = Gemm<transB = 1>(f, wd, bd)
}"""


def test_errors_fall_behind_every_repair_of_a_residual_network() -> None:
    """Unseen inputs: least squares beats compensation, and that doing nothing; tensors keep their shapes."""
    model = filled(RESIDUAL)
    units = discover(load(model))
    mask = np.random.default_rng(0).permutation(units.num_units) >= units.num_units // 3
    feeds = inputs_at(model, 64, 6, seed=99)
    batches = [Batch(inputs_at(model, 32, 6, seed)) for seed in range(4)]
    errors = []
    for repairs in (None, COMPENSATE, FIT):
        new = {} if repairs is None else repair(model, units, mask, batches, repairs)
        pruned = cut(model, units, mask, new)
        errors.append(float(np.square(run(pruned, feeds)["y"] - run(model, feeds)["y"]).mean()))
        assert {n: a.shape for n, a in stored_arrays(pruned).items()} == {
            n: a.shape for n, a in stored_arrays(apply_cuts(model, units, plan_cuts(units, mask))).items()
        }
    assert errors[2] < errors[1] < errors[0]


def test_only_later_shortcuts_are_made_up_for() -> None:
    """Of the two branches of a sum, the second to be repaired takes over the error of the first; both see r."""
    units = discover(load(filled(RESIDUAL)))
    sites = {site.weight: site for site in find_sites(units, np.ones(units.num_units, dtype=bool))}
    assert [site.level for site in sites.values()] == [0, 1, 1, 2]
    assert all(site.residual is None for site in sites.values())  # both at once: neither waits for the other
    text = RESIDUAL.replace("c = Conv(r, wc, bc)  s = Add(n, c)", "c = Conv(n, wc, bc)  s = Add(r, c)")
    units = discover(load(filled(text)))
    sites = {site.weight: site for site in find_sites(units, np.ones(units.num_units, dtype=bool))}
    residual = sites["wc"].residual
    assert residual is not None
    assert residual.tensor == "r"


UNTOUCHED = {  # stored tensor and how two nodes read it
    "w": "b = Conv(r, w, v)  y = Conv(b, w)",
    "v": "b = Conv(r, w, v)  y = Add(b, v)",
}


def test_what_cannot_be_repaired_alone_is_left_alone() -> None:
    """A weight or bias that two nodes read keeps its value."""
    for name, body in UNTOUCHED.items():
        model = filled(
            f"""<ir_version: 8, opset_import: ["" : 17]>
            net (float[N, 3, 5, 5] x) => (float[N, 5, 5, 5] y)
            <float[5, 3, 3, 3] wa, float[5, 5, 1, 1] w, float[5] v>
            {{ a = Conv<pads = [1, 1, 1, 1]>(x, wa)  r = Relu(a)  {body} }}"""
        )
        units = discover(load(model))
        mask = np.ones(units.num_units, dtype=bool)
        new = repair(model, units, mask, batches_for(model), FIT)
        assert name not in new
        assert "wa" in new


def test_batch_norm_is_estimated_layer_by_layer() -> None:
    """Mean and variance over all samples of what each layer sees, the second one behind the new first one."""
    model = filled(
        """<ir_version: 8, opset_import: ["" : 18]>
        net (float[N, 3, 5, 5] x) => (float[N, 4, 5, 5] y)
        <float[4, 3, 1, 1] w, float[4] pos_s, float[4] b, float[4] m, float[4] pos_v, float[4] m2, float[4] pos_v2>
        { a = Conv(x, w)  n = BatchNormalization(a, pos_s, b, m, pos_v)  r = Relu(n)
          y = BatchNormalization(r, pos_s, b, m2, pos_v2) }"""
    )
    units = discover(load(model))
    ranks = {name: len(shape) for name, shape in trace(units.graph).shapes.items()}
    whole = inputs_at(model, 32, 5)
    found = estimate_statistics(model, units.graph, [Batch(whole)], ranks)
    for _ in range(2):  # what each norm sees follows the new statistics of the one before
        seen = next(observe(copy_with_weights(model, found), ["a", "r"], [Batch(whole)]))
        for tensor, names in (("a", ("m", "pos_v")), ("r", ("m2", "pos_v2"))):
            np.testing.assert_allclose(found[names[0]], seen[tensor].mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[names[1]], seen[tensor].var(axis=(0, 2, 3)), rtol=1e-4)
    halves = [Batch({"x": part}) for part in np.split(whole["x"], 2)]
    split = estimate_statistics(model, units.graph, halves, ranks)
    np.testing.assert_allclose(split["m"], found["m"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(split["pos_v"], found["pos_v"], rtol=1e-4)


@pytest.mark.no_cover
@pytest.mark.parametrize("network_path", ["resnet_path", "separable_path"])
def test_prune_repairs_with_unlabelled_samples(
    network_path: str, request: pytest.FixtureRequest, train_data_path: Path, test_data_path: Path, tmp_path: Path
) -> None:
    """Half the channels gone and no training: from guessing to nearly all digits right, with the same plan."""
    path = request.getfixturevalue(network_path)
    with np.load(train_data_path) as arrays:
        np.savez(tmp_path / "unlabelled.npz", image=arrays["image"][:256])
    accuracy, plans = [], []
    for choice in (False, None):
        out, plan = tmp_path / f"{choice}.onnx", tmp_path / f"{choice}.json"
        report = prune(path, out, data=tmp_path / "unlabelled.npz", train=False, repair=choice, plan_out=plan)
        accuracy.append(evaluate(out, test_data_path).accuracy)
        plans.append(plan.read_bytes())
        assert any("fitted to the original's activations on 256 samples" in n for n in report.notes) == (choice is None)
    assert plans[0] == plans[1]
    assert accuracy[0] < 0.5
    assert accuracy[1] > 0.9


@pytest.mark.no_cover
@pytest.mark.parametrize("schedule", ["one-shot", None])
def test_training_begins_with_the_mask_that_was_repaired_for(
    schedule: Literal["one-shot"] | None, separable_path: Path, train_data_path: Path, tmp_path: Path
) -> None:
    """Repaired weights would rank otherwise. At a rate of nearly 0 nothing but the repair can keep the accuracy."""
    plans, accuracy = [], []
    with np.load(train_data_path) as arrays:
        np.savez(tmp_path / "few.npz", image=arrays["image"][:256], labels=arrays["labels"][:256])
    for name, train, repaired in (("untrained", False, None), ("trained", True, None), ("unrepaired", True, False)):
        plan = tmp_path / f"{name}.json"
        report = prune(
            separable_path, tmp_path / f"{name}.onnx", ratio=0.5, data=tmp_path / "few.npz", plan_out=plan, epochs=1,
            finetune_epochs=0, learning_rate=1e-6, batch_norm="frozen", schedule=schedule, train=train, repair=repaired,
            sensitivity=0.3,
        )  # fmt: skip
        plans.append(plan.read_bytes())
        assert report.after.accuracy is not None
        accuracy.append(report.after.accuracy)
    assert plans[0] == plans[1] == plans[2]
    assert min(accuracy[:2]) > 0.9 > 0.5 > accuracy[2]


@pytest.mark.no_cover
def test_without_data_repair_is_asked_for(resnet_path: Path, test_data_path: Path, tmp_path: Path) -> None:
    """By default every weight that stays is the original's; made-up inputs help where they are wanted."""
    accuracy = []
    for choice in (None, True):
        out = tmp_path / f"{choice}.onnx"
        report = prune(resnet_path, out, train=False, ratio=0.3, repair=choice)
        accuracy.append(evaluate(out, test_data_path).accuracy)
        assert any("made-up inputs" in note for note in report.notes) == (choice is True)
    assert accuracy[1] > accuracy[0] + 0.4


def test_made_up_images_look_like_photographs() -> None:
    """Neighbours are alike, channels too; mean 0 and deviation 1, also in NHWC and for one axis."""
    rng = np.random.default_rng(0)
    for shape, space in (((8, 3, 32, 32), (2, 3)), ((8, 32, 32, 3), (1, 2)), ((8, 2, 64), (2,))):
        noise = natural_noise(shape, rng)
        assert noise.shape == shape
        assert noise.std() == pytest.approx(1)
        for axis in space:
            assert np.square(np.diff(noise, axis=axis)).mean() < 1.0  # 2 for white noise
    power = np.square(np.abs(np.fft.fft(natural_noise((512, 1, 64), rng), axis=2))).mean(axis=(0, 1))
    assert power[2] / power[16] == pytest.approx(64, rel=0.2)  # (16 / 2) squared


def test_batches_are_few_seeded_and_of_the_size_that_the_model_is_fixed_to() -> None:
    """512 samples of a small input; a model with a fixed batch gets that."""
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[{}, 3, 8, 8] x) => (float[{}, 2, 8, 8] y)
    <float[4, 3, 1, 1] w, float[2, 4, 1, 1] v> {{ a = Conv(x, w)  y = Conv(a, v) }}"""
    sizes: dict[str, Sequence[int]] = {"N": [128] * 4, "5": [5] * 102}
    for batch, expected in sizes.items():
        units = discover(load(filled(text.format(batch, batch))))
        shapes = units.trace.shapes_of(units.graph.inputs)
        first, again = (repair_batches(units.graph, shapes, None, 0) for _ in range(2))
        assert [b.size for b in first] == expected
        assert all((a.inputs["x"] == b.inputs["x"]).all() for a, b in zip(first, again, strict=True))
