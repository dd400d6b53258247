"""Pruning methods beside DNS-CP: what each looks at, when its masks move, and that all end at the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from budgets import budget_of
from mask_cases import chain_units, group_units, settings_for

from onnx_dnscp import RequestError, prune
from onnx_dnscp.cli.main import run as command
from onnx_dnscp.masks.fpgm import GeometricMedian, distance_sums
from onnx_dnscp.masks.magnitude import Magnitude
from onnx_dnscp.masks.methods import METHODS, MethodSettings, choose_once
from onnx_dnscp.masks.ranked import RankedSchedule
from onnx_dnscp.masks.taylor import Taylor
from onnx_dnscp.training.method import StepState
from onnx_dnscp.training.weights import HostParameters

RANKED = [name for name in METHODS if name != "dnscp"]
WITHOUT_TRAINING = [name for name, entry in METHODS.items() if not entry.needs_labels]


@pytest.mark.parametrize("order", [1, 2])
def test_magnitude_matches_a_plain_loop(order: int) -> None:
    """Norm over its mean in each tensor that makes or reads the channel, averaged over the tensors."""
    units = chain_units()
    weights = units.graph.stored
    found = Magnitude(units, order).scores(HostParameters(weights))
    views = [weights["wa"], weights["wb"].swapaxes(0, 1), weights["wc"].swapaxes(0, 1)]  # of the group of eight
    expected = np.zeros(8)
    for view in views:
        norms = np.array([(np.abs(channel) ** order).sum() ** (1 / order) for channel in view])
        expected += norms / norms.mean() / len(views)
    np.testing.assert_allclose(found[group_units(units, 8)], expected, rtol=1e-5)


def test_distances_to_the_others_match_numbers_worked_by_hand() -> None:
    """Points 0, 3 and 4 + 3i: distances 3 and 5, 3 and sqrt(10), 5 and sqrt(10)."""
    found = distance_sums(np.array([[0.0, 0.0], [3.0, 0.0], [4.0, 3.0]]))
    np.testing.assert_allclose(found, [8, 3 + 10**0.5, 5 + 10**0.5])


def test_fpgm_gives_up_a_channel_that_others_can_replace() -> None:
    """A channel with large weights at the median goes before small ones far from it; magnitude says the opposite."""
    units = chain_units()
    weights = {name: array.copy() for name, array in units.graph.stored.items()}
    first = group_units(units, 8)
    for view in (weights["wa"], weights["wb"].swapaxes(0, 1), weights["wc"].swapaxes(0, 1)):
        view += 5.0  # all channels are large and near each other
        view[0] = view[1:].mean(axis=0)
        view[7] = 0.0  # small, and far from all
    assert GeometricMedian(units).scores(HostParameters(weights))[first].argmin() == 0
    assert Magnitude(units, 2).scores(HostParameters(weights))[first].argmin() == 7


def test_taylor_averages_the_squared_derivatives_by_the_mask() -> None:
    """A plain mean over the first steps; what the engine has to give is `derivatives`."""
    units = chain_units()
    rng = np.random.default_rng(1)
    weights = HostParameters(units.graph.stored)
    mask = np.ones(units.num_units, dtype=bool)
    criterion = Taylor(units)
    seen = rng.standard_normal((3, units.num_units))
    for step, derivatives in enumerate(seen, 1):
        criterion.observe(StepState(step, 3, mask, weights, derivatives))
    np.testing.assert_allclose(criterion.scores(weights), (seen**2).mean(axis=0))
    assert METHODS["taylor"].make(settings_for(units, 0.5)).needs == {"derivatives"}


def test_taylor_without_gradients_says_what_it_needs() -> None:
    """Nothing has been seen, so nothing can be ranked."""
    units = chain_units()
    taylor = METHODS["taylor"].make(settings_for(units, 0.5))
    with pytest.raises(RequestError, match="ranks channels by training gradients"):
        choose_once(taylor, HostParameters(units.graph.stored), units.num_units)


def test_random_choices_follow_the_seed() -> None:
    """The same seed gives the same mask, another one another."""
    units = chain_units()
    first, again, other = (
        choose_once(
            METHODS["random"].make(settings_for(units, 0.5, seed=s)),
            HostParameters(units.graph.stored),
            units.num_units,
        )
        for s in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", WITHOUT_TRAINING)
def test_every_method_meets_the_target_at_once(name: str) -> None:
    """To within one unit, and without emptying a group."""
    units = chain_units()
    mask = choose_once(
        METHODS[name].make(settings_for(units, 0.5)), HostParameters(units.graph.stored), units.num_units
    )
    assert (~mask).sum() == 10  # the smallest count that is at least half of 19
    assert all(mask[group.slice].any() for group in units.groups)


@pytest.mark.parametrize("name", RANKED)
@pytest.mark.parametrize("schedule", ["one-shot", "iterative"])
def test_ranked_masks_only_fall_and_end_at_the_target(name: str, schedule: RankedSchedule) -> None:
    """One-shot masks move once; iterative ones in several steps, while weights change. Nothing comes back."""
    units = chain_units()
    rng = np.random.default_rng(3)
    chosen = METHODS[name].make(settings_for(units, 0.5, schedule))
    weights = {n: array.copy() for n, array in units.graph.stored.items()}
    mask = chosen.first_mask(HostParameters(weights))
    moves = int(not mask.all())
    for step in range(1, 41):
        for array in weights.values():
            array *= rng.uniform(0.5, 2.0, array.shape).astype(np.float32)
        state = StepState(step, 40, mask, HostParameters(weights), rng.standard_normal(units.num_units))
        following = chosen.after_step(state) if step < 40 else chosen.finish(HostParameters(weights), mask)
        assert not (following & ~mask).any()
        moves += int((following != mask).any())
        mask = following
    assert (~mask).sum() == 10
    assert moves == 1 if schedule == "one-shot" else moves >= 4


def test_a_choice_made_at_the_start_stays_with_aligned_counts() -> None:
    """However the weights change: ranking anew would round the groups' counts in another way."""
    units = chain_units()
    rng = np.random.default_rng(0)
    for ratio in (0.1, 0.2, 0.3, 0.4, 0.5):
        budget = budget_of(units, "channels", ratio, align=2)
        chosen = METHODS["magnitude-l2"].make(MethodSettings(units, budget))
        mask = chosen.first_mask(HostParameters(units.graph.stored))
        for _ in range(10):
            weights = {n: rng.standard_normal(a.shape).astype(np.float32) for n, a in units.graph.stored.items()}
            assert (chosen.finish(HostParameters(weights), mask) == mask).all()


@pytest.mark.parametrize("name", WITHOUT_TRAINING)
def test_prune_takes_every_method(name: str, tiny_path: Path, tmp_path: Path) -> None:
    """The result is verified and half the channels are gone."""
    report = prune(tiny_path, tmp_path / "out.onnx", train=False, ratio=0.5, method=name)
    assert report.ratio == 0.5


def test_taylor_asks_for_labels_before_any_work(tiny_path: Path, tmp_path: Path) -> None:
    """Without training there are no gradients, and nothing is written."""
    with pytest.raises(RequestError, match=r"--method taylor .* labelled --data"):
        prune(tiny_path, tmp_path / "out.onnx", train=False, method="taylor")
    assert not (tmp_path / "out.onnx").exists()


def test_an_unknown_method_is_wrong_usage(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists what there is."""
    assert command(["prune", str(tiny_path), "--method", "magic"]) == 2
    message = capsys.readouterr().err
    assert all(name in message for name in METHODS)


@pytest.mark.needs_training
@pytest.mark.parametrize(("name", "schedule"), [("taylor", "iterative"), ("fpgm", "one-shot"), ("dnscp", "iterative")])
def test_methods_train(
    name: str, schedule: RankedSchedule, resnet_path: Path, train_data_path: Path, tmp_path: Path
) -> None:
    """Whole runs with labels: the target is met and nothing ever comes back."""
    report = prune(
        resnet_path, tmp_path / "out.onnx", data=train_data_path, method=name, schedule=schedule, ratio=0.3,
        epochs=1, finetune_epochs=0, batch_size=128,
    )  # fmt: skip
    assert report.ratio >= 0.3
    assert report.dropped > 0
    assert report.recovered == 0
