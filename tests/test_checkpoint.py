"""A checkpoint holds everything that a step depends on: training goes on from any step as if nothing had happened.

The engine is a stand-in whose gradients follow the weights and the batch, so that hundreds of steps take no time; with
the real one, `test_resume.py` does the same a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from budgets import budget_of

from models import load
from onnx_dnscp.data.batch import Batch
from onnx_dnscp.discovery.discover import discover
from onnx_dnscp.masks.methods import METHODS, MethodSettings
from onnx_dnscp.model.units import Units
from onnx_dnscp.training.checkpoint import PhaseState, load_state, save_state
from onnx_dnscp.training.engines.base import Feeds, StepResult
from onnx_dnscp.training.loop import Phase, train_with_masks
from onnx_dnscp.training.optimizers import (
    DEFAULT_CLIP,
    OptimizerName,
    OptimizerSettings,
    clip_gradients,
    make_optimizer,
)
from onnx_dnscp.training.progress import Progress
from onnx_dnscp.training.schedule import Schedule
from onnx_dnscp.training.stage import StageId
from onnx_dnscp.training.weights import HostParameters, Parameters, SlicedAxis

STEPS = 16


@pytest.fixture
def units(tiny_model: onnx.ModelProto) -> Units:
    """Ten in two groups."""
    return discover(load(tiny_model))


class Engine:
    """Pulls weights to where they were, and pushes them somewhere else with each batch; a statistic moves as well."""

    def __init__(self, units: Units, optimizer: OptimizerName) -> None:
        self._home = {name: np.array(value) for name, value in units.graph.stored.items() if value.dtype == np.float32}
        self.trainable = tuple(name for name in self._home if name != "b1")
        self._weights = {name: value.copy() for name, value in self._home.items()}
        self.parameters: Parameters = HostParameters(self._weights)
        self._optimizer = make_optimizer(OptimizerSettings(optimizer, momentum=0.9, weight_decay=0.01))

    @property
    def optimizer_state(self) -> Mapping[str, Any]:
        """Of the optimiser."""
        return self._optimizer.state

    def restore(self, weights: Mapping[str, Any], optimizer_state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.parameters.write(weights)
        self._optimizer.state.update(optimizer_state)

    def step(self, batches: Iterable[Feeds], rate: float, derivatives: Sequence[SlicedAxis] = ()) -> StepResult:
        """Of some batches."""
        losses, gradients = zip(*map(self.gradients, batches), strict=True)
        mean = {name: np.mean([g[name] for g in gradients], axis=0) for name in self.trainable}
        norm = clip_gradients(mean, DEFAULT_CLIP)
        self._optimizer.update(self._weights, mean, rate)
        return StepResult(sum(losses), norm)

    def gradients(self, feeds: Feeds) -> tuple[float, dict[str, Any]]:
        """Of one batch."""
        self._weights["b1"] *= np.float32(0.9)
        rng = np.random.default_rng(int(feeds["x"]))
        share = np.float32(feeds["dnscp//mask"].mean())
        gradients = {
            name: share * (self._weights[name] - self._home[name]) + 3 * rng.standard_normal(self._home[name].shape)
            for name in self.trainable
        }
        loss = sum(float(np.abs(gradient).sum()) for gradient in gradients.values()) + float(self._weights["b1"].sum())
        return loss, {name: gradient.astype(np.float32) for name, gradient in gradients.items()}


class Unwatched:
    """Nobody hears of the masks."""

    recovered = 0

    def moved(self, step: int, before: Any, after: Any, *, settling: bool = False) -> None:
        """Nothing."""

    def ratio(self, mask: Any) -> float:
        """None."""
        return 0.0

    def widths(self, mask: Any) -> tuple[()]:
        """None."""
        return ()


class NoLoss:
    """The engine has its own."""

    name = "none"

    def feeds(self, batch: Batch) -> dict[str, Any]:
        """Nothing."""
        return {}

    def attach(self, view: Any, result: str = "") -> None:
        """Nothing."""


def batches(start: int = 0) -> Iterator[Batch]:
    return (Batch({"x": np.array(float(number))}) for number in count(start))


@dataclass
class Run:
    """One training run, which may stop after some steps.

    Attributes:
        seen: Loss and gradient norm of every step.
        masks: For every step that follows.
    """

    units: Units
    optimizer: OptimizerName = "sgd"
    method: str = "dnscp"
    rule: str = "doc"
    seen: list[tuple[float, float]] = field(default_factory=list)
    masks: list[list[bool]] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)

    def train(self, path: Path, *, stop: int = STEPS, saved: PhaseState | None = None, start: int | None = None) -> Run:
        """From the beginning or from a state; write the state after step `stop` to `path`."""
        budget = budget_of(self.units, "channels", 0.5)
        rng = np.random.default_rng(5)
        settings = MethodSettings(
            self.units, budget, rng, schedule=None, rule=self.rule, c_rate=0.0, gamma=0.5, power=1.0
        )  # type: ignore[arg-type]
        phase = Phase(
            StageId(1, "train"), Engine(self.units, self.optimizer), NoLoss(),
            batches if start is None else lambda _: batches(start), Schedule(0.3, STEPS, 3), accumulate=2,
        )  # fmt: skip
        state = phase.begin(saved)

        class Stopped(Exception):  # noqa: N818
            pass

        def observe(now: PhaseState, progress: Progress) -> None:
            self.seen.append((progress.loss, progress.gradient_norm))
            self.masks.append(np.asarray(now.mask).tolist())
            if now.step == stop:
                save_state(path, now, {})
                raise Stopped

        method = METHODS[self.method].make(settings)
        first = method.first_mask(HostParameters(self.units.graph.stored))
        with pytest.raises(Stopped):
            train_with_masks(phase, state, self.units, method, first, Unwatched(), observe)
        self.weights = {name: value.copy() for name, value in state.weights.items()}
        return self

    def goes_on_like(self, whole: Run) -> bool:
        """Whether this is the rest of a whole run, bit by bit."""
        rest = len(self.seen)
        same = all(np.array_equal(value, whole.weights[name]) for name, value in self.weights.items())
        return same and (self.seen, self.masks) == (whole.seen[-rest:], whole.masks[-rest:])


CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw"},
    "patent": {"rule": "patent"},
    "tf2": {"rule": "tf2"},
    "random": {"method": "random"},
}


@pytest.mark.parametrize("case", list(CASES))
def test_training_goes_on_from_any_step(case: str, units: Units, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    whole = Run(units, **CASES[case]).train(tmp_path / "end.npz")
    for step in range(1, STEPS):
        Run(units, **CASES[case]).train(path, stop=step)
        assert Run(units, **CASES[case]).train(tmp_path / "end.npz", saved=load_state(path)[0]).goes_on_like(whole), (
            step
        )


def _other_weights(state: PhaseState) -> None:
    state.weights = {name: value * np.float32(1.000001) for name, value in state.weights.items()}


def _other_mask(state: PhaseState) -> None:
    assert state.mask is not None
    state.mask = np.roll(state.mask, 1)


def _other_draws(state: PhaseState) -> None:
    state.method["rng"] = np.random.default_rng(5).bit_generator.state  # as at the beginning


LOST: dict[str, Callable[[PhaseState], None]] = {
    "weights": _other_weights,
    "mask": _other_mask,
    "optimiser": lambda state: state.optimizer.clear(),
    "random state": _other_draws,
    "learning rate": lambda state: setattr(state, "step", state.step - 2),
}


@pytest.mark.parametrize("part", [*LOST, "data position"])
def test_no_part_of_a_state_may_be_lost(part: str, units: Units, tmp_path: Path) -> None:
    """The test above would notice."""
    path = tmp_path / "state.npz"
    whole = Run(units).train(tmp_path / "end.npz")
    assert len({tuple(mask) for mask in whole.masks}) > 3, "masks move"
    Run(units).train(path, stop=STEPS // 4)
    state, _ = load_state(path)
    LOST.get(part, lambda _: None)(state)
    start = 0 if part == "data position" else None
    assert not Run(units).train(tmp_path / "end.npz", saved=state, start=start).goes_on_like(whole)
