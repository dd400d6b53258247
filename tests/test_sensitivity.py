"""How much groups matter: measured as defined, and groups that matter more keep more channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from budgets import budget_of
from mask_cases import chain_units, group_units

from models import inputs_at, run, stored_arrays
from onnx_dnscp import prune
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.masks.methods import METHODS, MethodSettings, choose_once
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.masks.registry import Measure
from onnx_dnscp.masks.slices import weight_axes
from onnx_dnscp.masks.statistics import Vector
from onnx_dnscp.measure.sensitivity import group_sensitivity
from onnx_dnscp.model.units import Units
from onnx_dnscp.repair.trial import Trial, walk_down
from onnx_dnscp.surgery.weights import copy_with_weights
from onnx_dnscp.training.method import Method, StepState
from onnx_dnscp.training.weights import HostParameters

DIGITS = Path(__file__).parent.parent / "models" / "digits-separable.onnx"
SAMPLES = DIGITS.with_name("digits-train.npz")


def importance_of(units: Units) -> Vector:
    """The first channel of every group goes first."""
    return np.arange(units.num_units, dtype=np.float64)


def measured(units: Units, batches: list[Batch]) -> Vector:
    """With the ratio of channels as what is saved."""
    budget = budget_of(units, "channels", 0.5)
    return group_sensitivity(units.graph.proto, units, importance_of(units), budget.ratio, batches, share=0.5)


def test_sensitivity_is_the_rise_of_the_error_over_what_is_saved() -> None:
    """Against zeros written into the weights that read the channels: a quarter and three quarters of a group."""
    units = chain_units()
    model = units.graph.proto
    feeds = inputs_at(model, 8, 8)
    expected = []
    for group in units.groups:
        errors = []
        for share in (0.25, 0.75):
            weights = {name: array.copy() for name, array in stored_arrays(model).items()}
            gone = range(group.first, group.first + int(share * group.width))
            for consumer in units.consumers:
                slices = np.flatnonzero(np.isin(consumer.stored_units, gone))
                np.moveaxis(weights[consumer.weight], consumer.axis, 0)[slices] = 0
            [there], [here] = (list(run(m, feeds).values()) for m in (model, copy_with_weights(model, weights)))
            errors.append(np.mean((here - there) ** 2) / np.var(there))
        saved = (int(0.75 * group.width) - int(0.25 * group.width)) / units.num_units
        expected.append(np.log(max(errors[1] - errors[0], errors[1] / 4) / saved))
    found = measured(units, [Batch(feeds)])
    np.testing.assert_allclose(found, np.array(expected) - np.mean(expected), rtol=1e-3)


def test_a_group_that_the_outputs_do_not_see_says_nothing() -> None:
    """Weights of 0 behind it: no damage, so it takes no side."""
    units = chain_units()
    group = max(units.groups, key=lambda g: g.width)
    readers = {c.weight for c in units.consumers if group.first in c.stored_units}
    model = copy_with_weights(units.graph.proto, {name: 0 * units.graph.stored[name] for name in readers})
    ratio = budget_of(units, "channels", 0.5).ratio
    batch = Batch(inputs_at(model, 4, 8))
    found = group_sensitivity(model, units, importance_of(units), ratio, [batch], share=0.5)
    assert found[group.id] == 0
    assert np.isfinite(found).all()


@pytest.mark.parametrize("schedule", [None, "one-shot", "iterative"])
def test_dnscp_takes_fewer_channels_from_groups_that_matter(schedule: RankedSchedule | None) -> None:
    """One deviation more for the group of eight, whatever the schedule."""
    units = chain_units()
    own = group_units(units, 8)

    def kept(offset: float) -> int:
        offsets = np.where([group.width == 8 for group in units.groups], offset, 0.0)
        settings = MethodSettings(
            units, budget_of(units, "channels", 0.5), schedule=schedule, measure=lambda importance: offsets
        )
        method = METHODS["dnscp"].make(settings)
        return int(choose_once(method, HostParameters(units.graph.stored), units.num_units)[own].sum())

    assert kept(-5.0) < kept(0.0) <= kept(5.0)
    assert kept(-5.0) < kept(5.0)


def test_a_resumed_run_keeps_the_offsets_it_began_with() -> None:
    """They come from the state; nothing is measured again."""
    units = chain_units()
    offsets = np.linspace(-1, 1, len(units.groups))

    def made(measure: Measure) -> Method:
        return METHODS["dnscp"].make(MethodSettings(units, budget_of(units, "channels", 0.5), measure=measure))

    def refuse(importance: Vector) -> Vector:
        raise AssertionError("measured again")

    first, second = made(lambda importance: offsets), made(refuse)
    weights = dict(units.graph.stored)
    mask = first.first_mask(HostParameters(weights))
    second.restore(first.state())
    step = StepState(1, 10, mask, HostParameters(weights))
    np.testing.assert_array_equal(first.after_step(step), second.after_step(step))


def test_prune_measures_where_there_is_data(tmp_path: Path) -> None:
    """Other channels go than without; without data nothing is measured, and both are the same."""

    def kept(**options: object) -> list[int]:
        report = prune(DIGITS, tmp_path / "out.onnx", ratio=0.5, train=False, repair=False, **options)
        return [group.kept for group in report.groups]

    assert kept(data=SAMPLES) != kept(data=SAMPLES, sensitivity=0)
    assert kept() == kept(sensitivity=0)


def test_the_weight_is_found_by_trial_without_training_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With training it is 0.3, and nothing is tried."""
    caplog.set_level("INFO", "onnx_dnscp")
    few = tmp_path / "few.npz"
    np.savez(few, **{name: array[:64] for name, array in np.load(SAMPLES).items()})
    once = {"data": few, "ratio": 0.5, "schedule": "one-shot", "epochs": 1, "finetune_epochs": 0}
    kept = [
        [group.kept for group in prune(DIGITS, tmp_path / f"{number}.onnx", **once, **options).groups]
        for number, options in enumerate(({}, {"sensitivity": 0.3}))
    ]
    assert kept[0] == kept[1]
    assert "smallest error" not in caplog.text
    prune(DIGITS, tmp_path / "cut.onnx", **once, train=False)
    assert "smallest error" in caplog.text


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("least", range(4))
def test_walk_down_finds_the_minimum(start: int, least: int) -> None:
    """From every start to every minimum, and no value is tried twice."""
    values = [0.0, 0.3, 0.5, 2.0]
    tried: list[float] = []

    def error(value: float) -> float:
        tried.append(value)
        return abs(values.index(value) - least)

    assert walk_down(values, start, error) == values[least]
    assert len(tried) == len(set(tried))


def test_trial_prefers_the_mask_that_can_be_repaired() -> None:
    """Nothing gone is no error; of two channels that are alike, one costs next to nothing, and others do."""
    units = chain_units()
    first = group_units(units, 8).start
    weights = {name: array.copy() for name, array in stored_arrays(units.graph.proto).items()}
    for axis in weight_axes(units):
        if axis.role == "makes" and first in axis.units:
            along = np.moveaxis(weights[axis.along.tensor], axis.along.axis, 0)
            along[axis.units == first + 1] = along[axis.units == first]
    model = copy_with_weights(units.graph.proto, weights)
    trial = Trial(model, units, [Batch(inputs_at(model, 8, 8, seed)) for seed in range(4)])

    def error(*gone: int) -> float:
        mask = np.ones(units.num_units, dtype=bool)
        mask[list(gone)] = False
        return trial.error(mask)

    assert error() < 1e-9
    assert error(first) < 0.01 * error(first + 2)
