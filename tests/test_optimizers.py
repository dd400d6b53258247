"""Optimisers, clipping, accumulation and the learning rate, against plain float64 references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from training_cases import BATCH, batch, engine_for, network

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.errors import DivergenceError, RequestError
from onnx_dnscp.training.checkpoint import PhaseState
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.loop import Phase, fine_tune
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.optimizers import Optimizer, OptimizerSettings, clip_gradients, make_optimizer
from onnx_dnscp.training.progress import Progress
from onnx_dnscp.training.schedule import Schedule, make_places, make_schedule
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.view import build_view

Array = NDArray[Any]

STEPS = 12
# A scalar, a bias, a matrix, a kernel, and one tensor that is larger than the chunks in which updates are made.
SHAPES: dict[str, tuple[int, ...]] = {"s": (), "b": (5,), "m": (3, 4), "k": (4, 2, 3, 3), "large": (70, 1000)}
RATES = [0.01 * (1 + step) for step in range(STEPS)]


def tensors(seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def sgd(weight: Array, gradients: list[Array], *, momentum: float, decay: float) -> Array:
    """The formula of the class, in float64."""
    velocity = np.zeros(weight.shape)
    for rate, gradient in zip(RATES, gradients, strict=True):
        velocity = momentum * velocity + (gradient + decay * weight)
        weight = weight - rate * velocity
    return weight


def adamw(weight: Array, gradients: list[Array], *, momentum: float, decay: float) -> Array:
    """Loshchilov and Hutter 2019, algorithm 2, in float64."""
    m, v = np.zeros(weight.shape), np.zeros(weight.shape)
    for step, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True), start=1):
        m, v = momentum * m + (1 - momentum) * gradient, 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - momentum**step), v / (1 - 0.999**step)
        weight = weight - rate * (m_hat / (np.sqrt(v_hat) + 1e-8) + decay * weight)
    return weight


REFERENCES: dict[str, Callable[..., Array]] = {"sgd": sgd, "adamw": adamw}
USUAL_DECAY = {"sgd": 1e-4, "adamw": 1e-2}


@pytest.mark.parametrize("decay", [None, 0.0, 0.02])
@pytest.mark.parametrize("momentum", [0.9, 0.0, 0.7])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_updates_match_a_float64_reference(name: Any, momentum: float, decay: float | None) -> None:
    """Twelve steps with a changing rate; tensors of one axis do not decay.

    float32 rounds each of some 100 operations by up to 6e-8 of values that reach 10.
    """
    weights, start = tensors(0), tensors(0)
    optimizer = make_optimizer(OptimizerSettings(name, momentum, decay))
    steps = [tensors(1 + step) for step in range(STEPS)]
    before = [gradient["large"].copy() for gradient in steps]
    for rate, gradients in zip(RATES, steps, strict=True):
        optimizer.update(weights, gradients, rate)
    wanted = USUAL_DECAY[name] if decay is None else decay
    for tensor, first in start.items():
        own = [gradients[tensor].astype(np.float64) for gradients in steps]
        expected = REFERENCES[name](
            first.astype(np.float64), own, momentum=momentum, decay=wanted if first.ndim > 1 else 0.0
        )
        np.testing.assert_allclose(weights[tensor], expected, rtol=2e-6, atol=5e-6, err_msg=tensor)
    for kept, gradients in zip(before, steps, strict=True):
        np.testing.assert_array_equal(gradients["large"], kept, err_msg="gradients are not modified")


def test_sgd_matches_numbers_worked_by_hand() -> None:
    """W 1, g 0.5, momentum 0.9, decay 0.1, rate 0.1: v 0.6 then 1.134; W 0.94 then 0.8266. Biases do not decay."""
    weights = {"w": np.ones((1, 1), np.float32), "b": np.ones(1, np.float32)}
    gradients = {"w": np.full((1, 1), 0.5, np.float32), "b": np.full(1, 0.5, np.float32)}
    optimizer = make_optimizer(OptimizerSettings("sgd", 0.9, 0.1))
    optimizer.update(weights, gradients, 0.1)
    np.testing.assert_allclose([weights["w"].item(), weights["b"].item()], [0.94, 0.95], rtol=1e-6)
    optimizer.update(weights, gradients, 0.1)
    np.testing.assert_allclose([weights["w"].item(), weights["b"].item()], [0.8266, 0.855], rtol=1e-6)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_a_copied_state_goes_on_bit_by_bit(name: Any) -> None:
    """Five steps, the state into a new optimiser, five more: as if it had been one."""

    def run(optimizers: Iterator[Optimizer]) -> dict[str, Array]:
        weights = tensors(0)
        for step in range(10):
            next(optimizers).update(weights, tensors(1 + step), 0.01)
        return weights

    def handed_over() -> Iterator[Optimizer]:
        first, second = make_optimizer(OptimizerSettings(name)), make_optimizer(OptimizerSettings(name))
        yield from [first] * 5
        second.state.update({key: value.copy() for key, value in first.state.items()})
        first.update(tensors(8), tensors(9), 1.0)  # what happens to the first no longer matters
        yield from [second] * 5

    expected = run(cycle([make_optimizer(OptimizerSettings(name))]))
    for tensor, value in run(handed_over()).items():
        np.testing.assert_array_equal(value, expected[tensor])


def test_gradients_are_clipped_by_their_common_norm() -> None:
    """3 and 4 have the norm 5; at a limit of 1 they become 0.6 and 0.8, at 10 or 0 they stay."""
    gradients = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    for limit in (10, 0):
        assert clip_gradients(gradients, limit) == pytest.approx(5)
        assert gradients["a"].item() == 3
    clip_gradients(gradients, 1)
    np.testing.assert_allclose([gradients["a"].item(), gradients["b"].item()], [0.6, 0.8])


def test_clipping_matches_a_float64_reference() -> None:
    """The norm of 70,000 float32 values is right to 1e-6, and each becomes its share of the limit."""
    gradients, start = tensors(3), tensors(3)
    norm = np.sqrt(sum(np.square(value.astype(np.float64)).sum() for value in start.values()))
    assert clip_gradients(gradients, 5.0) == pytest.approx(norm, rel=1e-6)
    for tensor, value in start.items():
        np.testing.assert_allclose(gradients[tensor], value * (5.0 / norm), rtol=1e-6)


def test_gradients_that_are_not_finite_are_left_alone() -> None:
    """Scaling by infinity or NaN would only hide what happened."""
    gradients = {"a": np.array([np.inf]), "b": np.array([2.0])}
    assert clip_gradients(gradients, 1.0) == np.inf
    assert gradients["b"].item() == 2.0


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    """Four steps up, the full rate, half of it half way down, nearly none at the end."""
    schedule = Schedule(0.2, 104, 4)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])
    assert schedule(54) == pytest.approx(0.1)
    assert 0 < schedule(103) < 1e-3
    for step in range(104):
        half_cosine = 0.1 * (1 + np.cos(np.pi * (step - 4) / 100))
        assert schedule(step) == pytest.approx(0.2 * (step + 1) / 4 if step < 4 else half_cosine)
    assert Schedule(0.2, 10)(0) == 0.2


def test_a_warm_up_is_a_number_of_steps_or_a_share() -> None:
    [phase] = make_places([200])
    assert make_schedule(0.1, phase, 7).warmup == 7
    assert make_schedule(0.1, phase, 0.05).warmup == 10
    assert make_schedule(0.1, make_places([0])[0], 7).num_steps == 0, "what does not happen needs no warm-up"
    with pytest.raises(RequestError, match=r"--warmup 500 takes 500 steps, and a training phase has only 40"):
        make_schedule(0.1, make_places([40])[0], 500)


def trained(batches: list[Batch], size: int, *, accumulate: int, clip: float = 0.0) -> tuple[Any, list[Progress]]:
    """Weights after training on the batches once, with batch norm frozen."""
    model, _ = network("residual with batch norm")
    view = build_view(model, {"x": (size, 2, 6, 6)}, batch_norm="frozen")
    loss = CrossEntropy((size, 3))
    loss.attach(view)
    engine = OrtEngine(view, optimizer=OptimizerSettings(clip=clip), threads=1)
    schedule = Schedule(0.1, len(batches) // accumulate)
    phase = Phase(StageId(1, "fine-tune"), engine, loss, lambda start: iter(batches[start:]), schedule, accumulate)
    seen: list[Progress] = []
    fine_tune(phase, phase.begin(), 0.0, 0, lambda state, progress: seen.append(progress))
    return engine.parameters, seen


@pytest.mark.needs_training
def test_accumulated_batches_equal_one_large_one() -> None:
    """Three steps of four small batches each are three steps of one batch four times the size, but for rounding."""
    small = [batch(seed) for seed in range(12)]
    large = [joined(small[start : start + 4]) for start in range(0, 12, 4)]
    weights, steps = trained(small, BATCH, accumulate=4)
    expected, expected_steps = trained(large, 4 * BATCH, accumulate=1)
    assert [s.loss for s in steps] == pytest.approx([s.loss for s in expected_steps], rel=1e-5)
    assert len(steps) == 3
    for name, value in weights.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.needs_training
def test_a_step_is_clipped_after_accumulation() -> None:
    """The norm that is reported, and limited, is that of the mean gradient."""
    small = [batch(seed) for seed in range(4)]
    _, [free] = trained(small, BATCH, accumulate=4)
    weights, [clipped] = trained(small, BATCH, accumulate=4, clip=free.gradient_norm / 2)
    untouched, _ = trained([], BATCH, accumulate=1)
    assert clipped.gradient_norm == free.gradient_norm
    moved = np.sqrt(sum(np.square(v - untouched[n], dtype=np.float64).sum() for n, v in weights.items()))
    assert moved == pytest.approx(0.1 * free.gradient_norm / 2, rel=1e-2), "a first step is rate times gradient"


@pytest.mark.needs_training
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_before_the_weights_move(accumulate: int) -> None:
    """The weights after the step before are still there, finite."""
    batches = [batch(seed) for seed in range(6)]
    batches[5].inputs["x"][0, 0, 0, 0] = np.nan  # type: ignore[index]
    kept: list[PhaseState] = []
    model, _ = network("residual with batch norm")
    loss = CrossEntropy((BATCH, 3))
    engine = engine_for(model, loss, batch_norm="frozen")
    schedule = Schedule(0.1, 6 // accumulate)
    phase = Phase(StageId(1, "fine-tune"), engine, loss, lambda start: iter(batches), schedule, accumulate)
    state = phase.begin()
    with pytest.raises(DivergenceError, match=rf"the loss became nan at step {6 // accumulate} of the fine-tune phase"):
        fine_tune(phase, state, 0.0, 0, lambda state, progress: kept.append(state))
    assert len(kept) == state.step == 6 // accumulate - 1
    assert not state.whole, "running statistics may have seen the bad batch"
    assert all(np.isfinite(value).all() for value in engine.parameters.values())


def joined(batches: list[Batch]) -> Batch:
    labels = [b.labels for b in batches if b.labels is not None]
    return Batch({"x": np.concatenate([b.inputs["x"] for b in batches])}, np.concatenate(labels))
