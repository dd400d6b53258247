"""Methods that rank units by a criterion and switch the least important ones off, at once or step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from onnx_dnscp.masks.budget import Budget
from onnx_dnscp.masks.schedule import RAMP_SHARE, ramp
from onnx_dnscp.model.units import Mask
from onnx_dnscp.training.method import MasksOnly, Need, StepState
from onnx_dnscp.training.weights import Vector, Weights

RankedSchedule = Literal["one-shot", "iterative"]

ROUNDS = 10  # steps of the iterative schedule; each is followed by training
GATHER_SHARE = 0.1  # of the phase, in which a criterion of gradients looks on before a one-shot decision


class Criterion(Protocol):
    """How important a unit is.

    Attributes:
        needs: What it has to see of training steps before it can tell.
    """

    needs: frozenset[Need]

    def observe(self, state: StepState) -> None:
        """Look at a training step."""

    def scores(self, weights: Weights) -> Vector:
        """(units,) importance, comparable across groups; more is better."""


@runtime_checkable
class Remembers(Protocol):
    """A criterion that depends on the steps it has seen."""

    def state(self) -> dict[str, Any]:
        """What it has gathered; see `Method.state`."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


class Ranked(MasksOnly):
    """Switches off the units that a criterion ranks lowest. What is off stays off.

    Args:
        num_units: Of the model.
        budget: The target and its metric.
        criterion: Ranks the units.
        schedule: "one-shot" decides at the start (a criterion of gradients: after `GATHER_SHARE` of the phase);
            "iterative" goes to the target along the ramp in `ROUNDS` steps and ranks anew at each.
    """

    def __init__(self, num_units: int, budget: Budget, criterion: Criterion, schedule: RankedSchedule) -> None:
        self._num_units = num_units
        self._budget = budget
        self._criterion = criterion
        self._schedule = schedule
        self.needs = criterion.needs

    def first_mask(self, weights: Weights) -> Mask:
        """The final mask where it can be known, else everything stays on."""
        if self._schedule == "iterative" or self._criterion.needs:
            return np.ones(self._num_units, dtype=bool)
        return self._budget.final_mask(self._criterion.scores(weights))

    def after_step(self, state: StepState) -> Mask:
        """The next round's mask where a round is due."""
        self._criterion.observe(state)
        if self._schedule == "iterative":
            before, now = (_rounds_done(step, state.num_steps) for step in (state.step - 1, state.step))
            if now == before:
                return state.mask
            ratio = self._budget.target * ramp(now / ROUNDS)
            return self._budget.without_least(self._falling(state.weights, state.mask), ratio)
        if self._criterion.needs and state.step == max(1, round(GATHER_SHARE * state.num_steps)):
            return self._budget.final_mask(self._criterion.scores(state.weights))
        return state.mask

    def finish(self, weights: Weights, mask: Mask) -> Mask:
        """What is still missing goes; a one-shot decision stays as it is."""
        if self._schedule == "one-shot" and not mask.all():
            return mask
        return self._budget.final_mask(self._falling(weights, mask))

    def state(self) -> dict[str, Any]:
        """What the criterion has gathered."""
        return self._criterion.state() if isinstance(self._criterion, Remembers) else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Hand it back."""
        if isinstance(self._criterion, Remembers):
            self._criterion.restore(state)

    def _falling(self, weights: Weights, mask: Mask) -> Vector:
        """Scores in which every unit that is off ranks below every one that is on."""
        scores = self._criterion.scores(weights)
        return scores - np.where(mask, 0.0, np.ptp(scores) + 1.0)


def _rounds_done(step: int, num_steps: int) -> int:
    return min(ROUNDS, int(ROUNDS * step / (RAMP_SHARE * num_steps)))
