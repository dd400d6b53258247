"""What an engine promises: the update is its own, sums are taken where the weights are, processes share a mean."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from mask_cases import chain_units
from numpy.typing import NDArray
from training_cases import BATCH, batch, engine_for, feeds, make_loss, network, some_mask

from models import filled
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.masks.gates import melted
from onnx_dnscp.model.units import Units
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.abilities import Abilities
from onnx_dnscp.training.differentiable import ORT_ABILITIES
from onnx_dnscp.training.engines.ort import OrtEngine
from onnx_dnscp.training.losses.cross_entropy import CrossEntropy
from onnx_dnscp.training.losses.distillation import Distillation
from onnx_dnscp.training.losses.teacher import LiveTeacher
from onnx_dnscp.training.losses.weighted import WeightedSum
from onnx_dnscp.training.optimizers import OptimizerSettings, ParameterSettings, Sgd, make_optimizer
from onnx_dnscp.training.view import MASK_INPUT, build_view
from onnx_dnscp.training.weights import HostParameters, SlicedAxis, WithStored, slice_sums

NAME = "residual with batch norm"
GROUPED = "depthwise, grouped, concat, strides and auto_pad"
needs_training = pytest.mark.needs_training


def gated_engine(units: Units, gates: NDArray[Any], loss: CrossEntropy, model: Any) -> OrtEngine:
    view = build_view(model, {"x": (BATCH, 2, 6, 6)}, units=units, batch_norm="frozen")
    view.add_gates(view.add_parameter("gates", gates))
    loss.attach(view)
    return OrtEngine(view, optimizer=OptimizerSettings(clip=0), threads=1)


@needs_training
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_moves_weights_along_the_mean_gradient(name: Any) -> None:
    """Of two batches, as the optimiser would be told by hand; what is given back is the mean loss and the norm."""
    model, _ = network(NAME)
    loss = CrossEntropy((BATCH, 3))
    by_hand = engine_for(model, loss, batch_norm="frozen")
    own = OrtEngine(_view(model, loss), optimizer=OptimizerSettings(name, clip=0), threads=1)
    samples = [feeds(loss, batch(seed)) for seed in (1, 2)]
    (first, one), (second, two) = (by_hand.gradients(given) for given in samples)
    mean = {n: (one[n] + two[n]) / 2 for n in one}
    expected = {n: value.copy() for n, value in by_hand.parameters.items()}
    make_optimizer(OptimizerSettings(name)).update(expected, mean, 0.1)
    result = own.step(iter(samples), 0.1)
    assert result.loss == pytest.approx((first + second) / 2)
    assert result.gradient_norm == pytest.approx(np.sqrt(sum((g.astype(float) ** 2).sum() for g in mean.values())))
    for n, value in own.parameters.items():
        np.testing.assert_allclose(value, expected[n], rtol=1e-5, atol=1e-6)


def _view(model: Any, loss: CrossEntropy) -> Any:
    view = build_view(model, {"x": (BATCH, 2, 6, 6)}, batch_norm="frozen")
    loss.attach(view)
    return view


@needs_training
@pytest.mark.parametrize("name", [NAME, GROUPED])
def test_derivatives_are_those_of_the_loss_by_each_units_gate(name: str) -> None:
    """Central differences of the loss by the mask's values, which the view takes for any numbers."""
    model, units = network(name)
    loss = CrossEntropy((BATCH, 3))
    engine = engine_for(model, loss, units=units, batch_norm="frozen")
    mask = np.ones(units.num_units, dtype=bool)
    given = feeds(loss, batch(), mask)
    owners = {(c.weight, c.axis): c.stored_units for c in units.consumers}
    axes = [SlicedAxis(*key, units_on.size) for key, units_on in owners.items()]
    found = np.zeros(units.num_units + 1)
    for on, sums in zip(owners.values(), engine.step([given], 0.0, axes).derivatives, strict=True):
        np.add.at(found, on, sums)
    for unit in range(units.num_units):
        sides = []
        for sign in (1, -1):
            moved = given[MASK_INPUT].copy()
            moved[unit] += sign * 1e-2
            sides.append(engine.gradients({**given, MASK_INPUT: moved})[0])
        assert found[unit] == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=0.02, abs=2e-4)


class Pair:
    """Two processes, played by threads: each waits for what the other has."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=60)
        self._values: dict[int, Mapping[str, NDArray[Any]]] = {}

    def rank(self, number: int) -> Any:
        """One of them."""
        pair = self

        class Rank:
            rank, size = number, 2

            def mean(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
                pair._values[number] = {name: np.array(value) for name, value in values.items()}
                pair._barrier.wait()
                result = {name: (pair._values[0][name] + pair._values[1][name]) / 2 for name in values}
                pair._barrier.wait()
                return result

            def broadcast(self, values: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
                return values

        return Rank()


@needs_training
def test_processes_with_half_of_a_batch_each_take_the_step_of_the_whole() -> None:
    """Weights, loss and norm are the same in both, and those of one process with all samples."""
    model, _ = network(NAME)
    halves = [batch(1), batch(2)]
    labels = [half.labels for half in halves if half.labels is not None]
    whole = Batch({"x": np.concatenate([half.inputs["x"] for half in halves])}, np.concatenate(labels))
    pair, settings = Pair(), OptimizerSettings(clip=1.0)

    def stepped(samples: Batch, size: int, ranks: Any) -> tuple[Any, dict[str, Any]]:
        loss = CrossEntropy((size, 3))
        view = build_view(model, {"x": (size, 2, 6, 6)}, batch_norm="frozen")
        loss.attach(view)
        engine = OrtEngine(view, optimizer=settings, threads=1, ranks=ranks)
        return engine.step([feeds(loss, samples)], 0.1), dict(engine.parameters)

    expected, weights = stepped(whole, 2 * BATCH, None)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda i: stepped(halves[i], BATCH, pair.rank(i)), range(2)))
    for result, own in results:
        assert result.loss == pytest.approx(expected.loss, rel=1e-5)
        assert result.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-5)
        for name, value in own.items():
            np.testing.assert_allclose(value, weights[name], rtol=1e-4, atol=1e-6)
            np.testing.assert_array_equal(value, results[0][1][name])


@needs_training
def test_gates_at_one_change_nothing_and_learn_by_their_derivative() -> None:
    """Loss and gradients of the weights are as without; a gate's gradient is the derivative by the mask."""
    model, units = network(NAME)
    loss = CrossEntropy((BATCH, 3))
    plain = engine_for(model, loss, units=units, batch_norm="frozen")
    gated = gated_engine(units, np.ones(units.num_units), loss, model)
    given = feeds(loss, batch(), some_mask(units))
    expected, gradients = plain.gradients(given)
    found, with_gates = gated.gradients(given)
    assert found == pytest.approx(expected, rel=1e-6)
    [gates] = set(with_gates) - set(gradients)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(with_gates[name], gradient, rtol=1e-4, atol=1e-6)
    for unit in np.flatnonzero(some_mask(units))[:4]:
        sides = []
        for sign in (1, -1):
            moved = np.ones(units.num_units, np.float32)
            moved[unit] += np.float32(sign * 1e-2)
            gated.parameters.write({gates: moved})
            sides.append(gated.gradients(given)[0])
        gated.parameters.write({gates: np.ones(units.num_units, np.float32)})
        assert with_gates[gates][unit] == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=0.02, abs=2e-4)


@needs_training
@pytest.mark.parametrize("name", [NAME, GROUPED])
def test_weights_take_over_gates_exactly(name: str) -> None:
    """Whatever the gates, the loss with melted weights and gates at 1 is the same."""
    model, units = network(name)
    loss = CrossEntropy((BATCH, 3))
    gates = np.random.default_rng(4).uniform(-2, 2, units.num_units).astype(np.float32)
    given = feeds(loss, batch(), some_mask(units))
    with_gates, _ = gated_engine(units, gates, loss, model).gradients(given)
    folded = copy_with_weights(model, melted(units, units.graph.stored, gates))
    without, _ = engine_for(folded, loss, units=units, batch_norm="frozen").gradients(given)
    assert without == pytest.approx(with_gates, rel=1e-5)
    unmoved, _ = engine_for(model, loss, units=units, batch_norm="frozen").gradients(given)
    assert unmoved != pytest.approx(with_gates, rel=1e-2)


def test_a_parameter_of_its_own_learns_at_its_own_rate_and_decay() -> None:
    """Twice the rate moves twice as far; a decay of its own holds for a vector, which otherwise has none."""
    settings = {"fast": ParameterSettings(rate=2.0), "decays": ParameterSettings(weight_decay=0.5)}
    optimizer = Sgd(momentum=0.0, weight_decay=0.1, settings=settings)
    weights = {name: np.ones(3, np.float32) for name in ("plain", "fast", "decays")}
    optimizer.update(weights, {name: np.ones(3, np.float32) for name in weights}, 0.1)
    np.testing.assert_allclose(weights["plain"], 0.9)
    np.testing.assert_allclose(weights["fast"], 0.8)
    np.testing.assert_allclose(weights["decays"], 1 - 0.1 * 1.5)


def test_a_view_is_arranged_for_the_engine_that_is_to_train() -> None:
    """What it can differentiate stays as it is; where it cannot, the loss is taken before."""
    model = filled("""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 2, 1, 1] w, float[4, 4, 1, 1] v> {
          a = Conv(x, w)  b = HardSwish(a)  c = Conv(b, v)  y = Relu(c) }""")

    def operators(abilities: Abilities) -> tuple[set[str], list[str]]:
        view = build_view(model, {"x": (4, 2, 6, 6)}, abilities=abilities)
        return {node.op_type for node in view.model.graph.node}, view.notes

    spelled, _ = operators(ORT_ABILITIES)
    assert "HardSwish" not in spelled
    able, notes = operators(Abilities(lambda node: ORT_ABILITIES.passage(_as_relu(node)), lambda node: False))
    assert "HardSwish" in able
    assert notes == []
    cut, notes = operators(
        Abilities(lambda n: None if n.op_type == "Relu" else ORT_ABILITIES.passage(n), lambda n: True)
    )
    assert "Relu" not in cut
    assert "Gradients cannot pass Relu node" in notes[0]


def _as_relu(node: Any) -> Any:
    if node.op_type != "HardSwish":
        return node
    copy = type(node)()
    copy.CopyFrom(node)
    copy.op_type = "Relu"
    return copy


@needs_training
def test_two_teachers_of_one_view_do_not_collide() -> None:
    """Each has targets of its own, and the loss is the sum of both, whatever their names."""
    model, _ = network(NAME)
    taught = [make_loss("distillation", model), Distillation(LiveTeacher(_other(model)), batch())]
    alone = [engine_for(model, loss, batch_norm="frozen").gradients(feeds(loss, batch(1)))[0] for loss in taught]
    both = WeightedSum([(1.0, taught[0]), (2.0, taught[1])])
    found, _ = engine_for(model, both, batch_norm="frozen").gradients(feeds(both, batch(1)))
    assert alone[0] != pytest.approx(alone[1], rel=0.01)
    assert found == pytest.approx(alone[0] + 2 * alone[1], rel=1e-5)


def _other(model: Any) -> Any:
    arrays = {t.name: np.ones(tuple(t.dims), np.float32) for t in model.graph.initializer if t.name == "w2"}
    return copy_with_weights(model, arrays)


def test_sums_over_slices_are_those_of_a_plain_loop() -> None:
    """On any axis, and on the input channels of a grouped convolution, each of which lies in its group's rows."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 4, 3)).astype(np.float32)
    for axis in range(3):
        sums = slice_sums(weight, SlicedAxis("w", axis, weight.shape[axis]))
        rows = np.moveaxis(weight, axis, 0)
        np.testing.assert_allclose(sums.magnitudes, [np.abs(row).sum() for row in rows], rtol=1e-5)
        np.testing.assert_allclose(sums.squares, [(row**2).sum() for row in rows], rtol=1e-5)
        assert sums.elements.tolist() == [rows[0].size] * len(rows)
    grouped = slice_sums(weight, SlicedAxis("w", 1, 8))
    expected = [np.abs(weight[3 * (i // 4) : 3 * (i // 4) + 3, i % 4]).sum() for i in range(8)]
    np.testing.assert_allclose(grouped.magnitudes, expected, rtol=1e-5)


def test_what_does_not_learn_is_judged_by_what_the_file_stores() -> None:
    """Learned tensors hide stored ones of the same name; sums are asked of who has the tensor."""
    units = chain_units()
    stored = units.graph.stored
    learned = HostParameters({"wb": 2 * stored["wb"]})
    weights = WithStored(learned, stored)
    np.testing.assert_array_equal(weights["wb"], 2 * stored["wb"])
    np.testing.assert_array_equal(weights["wc"], stored["wc"])
    assert set(weights) == set(stored)
    assert len(weights) == len(stored)
    axes = [SlicedAxis(c.weight, c.axis, c.stored_units.size) for c in units.consumers]
    for axis, sums in zip(axes, weights.sums(axes), strict=True):
        factor = 2 if axis.tensor == "wb" else 1
        np.testing.assert_allclose(sums.magnitudes, factor * slice_sums(stored[axis.tensor], axis).magnitudes)
