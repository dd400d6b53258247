"""The interface behind which pruning methods stand, and the record of what their masks did.

A method may add parameters, nodes and loss terms to the training view, look at weights and derivatives after
every step, hands over masks, and ends with the one that becomes the plan. The pipeline knows no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.model.units import Mask, Units
from onnx_dnscp.training.view import TrainingView
from onnx_dnscp.training.weights import Vector, Weights

Need = Literal["derivatives"]
"""What a method can ask an engine for, beyond sums over weights."""


@dataclass(frozen=True)
class StepState:
    """What a method may look at after a training step.

    Attributes:
        step: Steps done, counting this one.
        num_steps: Steps of the whole phase.
        mask: (units,) the mask this step was trained with.
        weights: After the step, by stored tensor name; not to be modified.
        derivatives: (units,) of the loss by each unit's gate: the sum of W * dL/dW over all weights that read it, W as
            it was before the step, dL/dW that of the masked weight. None unless the method `needs` it.
    """

    step: int
    num_steps: int
    mask: Mask
    weights: Weights
    derivatives: Vector | None = None


class Method(Protocol):
    """One way of choosing the units that go; made once for a round."""

    @property
    def needs(self) -> frozenset[Need]:
        """What `after_step` looks at besides the weights."""

    def extend(self, view: TrainingView) -> Sequence[str]:
        """Add parameters and nodes to a view of the network, in place, before its loss is closed.

        Asked anew for every view, in the same way. Parameters are those of `TrainingView.add_parameter`.

        Returns:
            Scalar tensors that are added to the loss.
        """

    def first_mask(self, weights: Weights) -> Mask:
        """The mask before the first step."""

    def after_step(self, state: StepState) -> Mask:
        """The mask for the next step."""

    def finish(self, weights: Weights, mask: Mask) -> Mask:
        """The final mask, which meets the target."""

    def fold(self, learned: Weights) -> Mapping[str, NDArray[Any]]:
        """What the parameters of `extend` have learned, brought back into stored tensors.

        With these in the place of the old ones, and the parameters at their first values, the network computes the
        same.

        Args:
            learned: All that was trained, the parameters among it.

        Returns:
            Stored tensors that change.
        """

    def state(self) -> dict[str, Any]:
        """What the masks to come depend on besides the weights: JSON values and arrays, for a checkpoint.

        It may share arrays with the method, so it holds until the next step.
        """

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; follows `first_mask`, or takes its place."""


class MasksOnly:
    """A method that needs nothing but masks and weights: what such methods have in common."""

    needs: frozenset[Need] = frozenset()

    def extend(self, view: TrainingView) -> Sequence[str]:
        """Nothing is added."""
        return ()

    def fold(self, learned: Weights) -> Mapping[str, NDArray[Any]]:
        """Nothing beside the weights has learned."""
        return {}


@dataclass(frozen=True)
class MaskEvent:
    """Units of one group that changed at one step, counted within the group.

    Attributes:
        step: Training steps done before the change; 0 is the initial selection.
        settling: True for the last change, which meets the target (and alignment) exactly and is no decision of
            the method's rule.
        round: Of the run.
    """

    step: int
    group: int
    dropped: tuple[int, ...]
    recovered: tuple[int, ...]
    settling: bool = False
    round: int = 1


@dataclass
class MaskHistory:
    """Every drop and every recovery of a run."""

    events: list[MaskEvent] = field(default_factory=list)
    _counted: int = field(default=0, init=False, repr=False)
    _dropped: int = field(default=0, init=False, repr=False)
    _recovered: int = field(default=0, init=False, repr=False)

    def record(
        self, step: int, before: Mask, after: Mask, units: Units, *, settling: bool = False, round: int = 1
    ) -> None:
        """Note what changed between two masks."""
        for group in np.unique(units.group_of[before != after]):
            own = units.groups[group]
            was, now = before[own.slice], after[own.slice]
            dropped, recovered = np.flatnonzero(was & ~now), np.flatnonzero(~was & now)
            changed = (tuple(map(int, dropped)), tuple(map(int, recovered)))
            self.events.append(MaskEvent(step, own.id, *changed, settling, round))

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
