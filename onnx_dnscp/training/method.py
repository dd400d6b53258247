"""The interface behind which pruning methods stand, and the record of what their masks did.

A method may add parameters, nodes and loss terms to the training view, look at weights and gradients after
every step, write masks, and ends by handing over the mask that becomes the plan. The pipeline knows no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.training.view import TrainingView


@dataclass(frozen=True)
class StepState:
    """What a method may look at after a training step.

    Attributes:
        step: Steps done, counting this one.
        num_steps: Steps of the whole phase.
        mask: (units,) the mask this step was trained with.
        weights: Stored tensor name to its current value (live; not to be modified).
        gradients: The same names to this step's gradients with respect to the masked weights.
    """

    step: int
    num_steps: int
    mask: Mask
    weights: Mapping[str, NDArray[Any]]
    gradients: Mapping[str, NDArray[Any]]


class Method(Protocol):
    """One way of choosing the units that go."""

    def extend_view(self, view: TrainingView) -> None:
        """Add parameters, nodes or loss terms to the training view, in place; most methods add nothing."""

    def begin(self, weights: Mapping[str, NDArray[Any]], num_steps: int) -> Mask:
        """The mask before the first of `num_steps` steps."""

    def after_step(self, state: StepState) -> Mask:
        """The mask for the next step."""

    def finish(self, weights: Mapping[str, NDArray[Any]], mask: Mask) -> Mask:
        """The final mask, which meets the target."""

    def state(self) -> dict[str, Any]:
        """What the masks to come depend on besides the weights: JSON values and arrays, for a checkpoint.

        It may share arrays with the method, so it holds until the next step.
        """

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; takes the place of `begin`."""


@dataclass(frozen=True)
class MaskEvent:
    """Units of one group that changed at one step, counted within the group.

    Attributes:
        step: Training steps done before the change; 0 is the initial selection.
        settling: True for the last change, which meets the target (and alignment) exactly and is no decision of
            the method's rule.
    """

    step: int
    group: int
    dropped: tuple[int, ...]
    recovered: tuple[int, ...]
    settling: bool = False


@dataclass
class MaskHistory:
    """Every drop and every recovery of a run."""

    events: list[MaskEvent] = field(default_factory=list)
    _counted: int = field(default=0, init=False, repr=False)
    _dropped: int = field(default=0, init=False, repr=False)
    _recovered: int = field(default=0, init=False, repr=False)

    def record(self, step: int, before: Mask, after: Mask, units: Units, *, settling: bool = False) -> None:
        """Note what changed between two masks."""
        for group in np.unique(units.group_of[before != after]):
            own = units.groups[group]
            was, now = (m[own.first : own.first + own.width] for m in (before, after))
            dropped, recovered = np.flatnonzero(was & ~now), np.flatnonzero(~was & now)
            self.events.append(MaskEvent(step, own.id, tuple(map(int, dropped)), tuple(map(int, recovered)), settling))

    @property
    def num_dropped(self) -> int:
        """Drops by the rule over the whole run; a unit that falls twice counts twice."""
        return self._totals()[0]

    @property
    def num_recovered(self) -> int:
        """Recoveries by the rule over the whole run."""
        return self._totals()[1]

    def _totals(self) -> tuple[int, int]:
        """Sums over all events; only those that are new are looked at, because every step asks."""
        if self._counted > len(self.events):
            self._counted, self._dropped, self._recovered = 0, 0, 0
        for event in self.events[self._counted :]:
            self._dropped += 0 if event.settling else len(event.dropped)
            self._recovered += 0 if event.settling else len(event.recovered)
        self._counted = len(self.events)
        return self._dropped, self._recovered
