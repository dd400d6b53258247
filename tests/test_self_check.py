"""The check of a whole network's gradients before a run: it finds wrong ones and accuses nobody else."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import filled
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import RequestError
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import LiveTeacher
from onnx_dnscp.training.passes.batch_norm import BatchNormMode
from onnx_dnscp.training.self_check import check_gradients
from onnx_dnscp.training.view import TrainingView, build_view

pytestmark = pytest.mark.needs_training

Gradients = dict[str, NDArray[Any]]
NUM_SAMPLES = 8
# Kinks (Relu, MaxPool), batch norm and a student that equals its teacher, all at once.
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 12, 12] x) => (float[N, 3] y)
<float[8, 2, 3, 3] w0, float[8] pos_s, float[8] b0, float[8] m0, float[8] pos_v, float[16, 8, 3, 3] w1,
 float[8, 16, 3, 3] w2, float[3, 8] w3>
{
  a = Conv<pads = [1, 1, 1, 1]>(x, w0)
  n = BatchNormalization(a, pos_s, b0, m0, pos_v)
  r = Relu(n)
  p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
  c = Conv<pads = [1, 1, 1, 1]>(p, w1)
  d = Relu(c)
  e = Conv(d, w2)
  f = Relu(e)
  g = GlobalAveragePool(f)
  h = Flatten(g)
  y = Gemm<transB = 1>(h, w3)
}"""


class Wrong:
    """An engine whose gradients somebody spoils."""

    def __init__(self, engine: OrtEngine, spoil: Callable[[Gradients], object]) -> None:
        self._engine, self._spoil = engine, spoil
        self.parameters, self.trainable = engine.parameters, engine.trainable

    def gradients(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[float, Gradients]:
        loss, gradients = self._engine.gradients(feeds)
        gradients = {name: value.copy() for name, value in gradients.items()}
        self._spoil(gradients)
        return loss, gradients


def prepared(
    loss_name: str, batch_norm: BatchNormMode, *, shards: int = 1, text: str = NET
) -> tuple[TrainingView, OrtEngine, dict[str, NDArray[Any]]]:
    model = filled(text)
    rng = np.random.default_rng(0)
    batch = Batch(
        {"x": rng.standard_normal((NUM_SAMPLES, 2, 12, 12)).astype(np.float32)}, rng.integers(0, 3, NUM_SAMPLES)
    )
    part = Batch({"x": batch.inputs["x"][: NUM_SAMPLES // shards]})
    view = build_view(model, {"x": part.inputs["x"].shape}, batch_norm=batch_norm)
    loss: Loss = Distillation(LiveTeacher(model), part)
    if loss_name == "cross-entropy":
        loss = CrossEntropy((NUM_SAMPLES // shards, 3))
    loss.attach(view)
    return view, OrtEngine(view, threads=1, shards=shards), {**batch.inputs, **loss.feeds(batch)}


@pytest.mark.parametrize("loss_name", ["cross-entropy", "distillation"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
@pytest.mark.parametrize("shards", [1, 2])
def test_right_gradients_pass_and_weights_stay_bit_for_bit(
    loss_name: str, batch_norm: BatchNormMode, shards: int
) -> None:
    """Running statistics too, which every step of the engine moves; and so for several draws of directions."""
    view, engine, feeds = prepared(loss_name, batch_norm, shards=shards)
    before = {name: value.copy() for name, value in engine.parameters.items()}
    for seed in range(4):
        check_gradients(view, engine, feeds, seed=seed)
    for name, value in before.items():
        np.testing.assert_array_equal(engine.parameters[name], value, strict=True)


def _scale(factor: float, *names: str) -> Callable[[Gradients], object]:
    def spoil(gradients: Gradients) -> None:
        for name in names or gradients:
            gradients[name] *= factor

    return spoil


SPOILS: dict[str, Callable[[Gradients], object]] = {
    "everything a fifth too long": _scale(1.2),
    "the first layer's half too long": _scale(1.5, "w0"),
    "one sign": _scale(-1, "w2"),
    "kernels flipped": lambda gradients: gradients.update(w0=gradients["w0"][:, :, ::-1, ::-1].copy()),
    "the last layer has none": lambda gradients: gradients.pop("w3"),
}


@pytest.mark.parametrize("spoil", list(SPOILS))
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_wrong_gradients_are_found(spoil: str, batch_norm: BatchNormMode) -> None:
    """And the sentence names both numbers; the weights are as before all the same."""
    view, engine, feeds = prepared("cross-entropy", batch_norm)
    before = {name: value.copy() for name, value in engine.parameters.items()}
    with pytest.raises(RequestError, match=r"computed, .* measured.*--no-train"):
        check_gradients(view, Wrong(engine, SPOILS[spoil]), feeds, seed=1)
    for name, value in before.items():
        np.testing.assert_array_equal(engine.parameters[name], value)


def test_what_only_looks_wrong_once_stops_no_run() -> None:
    """Two mismatches in one draw of noise, as kinks of Relu made them on MobileNet; the next draw shows nothing."""
    view, engine, feeds = prepared("cross-entropy", "frozen")
    steps = itertools.count()
    check_gradients(view, Wrong(engine, lambda g: _scale(1.2)(g) if next(steps) < 2 else None), feeds)
    assert next(steps) > 2


@pytest.mark.parametrize("loss_name", ["cross-entropy", "distillation"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_one_tensor_that_is_half_too_long_is_nearly_always_found(loss_name: str, batch_norm: BatchNormMode) -> None:
    """Each of the six, whichever directions are drawn: with one sign for all of them, only the largest were found."""
    view, engine, feeds = prepared(loss_name, batch_norm)
    missed = []
    for seed, name in itertools.product(range(2), engine.trainable):
        try:
            check_gradients(view, Wrong(engine, _scale(1.5, name)), feeds, seed=seed)
        except RequestError:
            continue
        missed.append((seed, name))
    assert len(missed) <= 1, missed


def test_a_loss_that_nothing_moves_is_only_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Scores times 0 have gradients of 0, and differences of 0 do not tell whether that is right."""
    text = NET.replace("y = Gemm<transB = 1>(h, w3)", "k = Gemm<transB = 1>(h, w3) z = Sub(k, k) y = Mul(z, k)")
    view, engine, feeds = prepared("cross-entropy", "frozen", text=text)
    caplog.set_level(logging.WARNING, "onnx_dnscp")
    check_gradients(view, engine, feeds)
    assert "too flat" in caplog.text


def test_a_network_that_jumps_is_only_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Hard gates have a derivative that no gradient knows: differences see the jumps."""
    text = NET.replace(
        "c = Conv<pads = [1, 1, 1, 1]>(p, w1)",
        "z = Constant<value_float = 0.5>() o = Greater(p, z) q = Cast<to = 1>(o) c = Conv<pads = [1, 1, 1, 1]>(q, w1)",
    )
    view, engine, feeds = prepared("cross-entropy", "frozen", text=text)
    caplog.set_level(logging.WARNING, "onnx_dnscp")
    check_gradients(view, Wrong(engine, _scale(1.5)), feeds)
    assert "jumps" in caplog.text
