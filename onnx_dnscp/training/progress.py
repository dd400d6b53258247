"""What a run tells those who watch it, after every training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class LiveWidth(NamedTuple):
    """How many of a group's channels are on."""

    id: int
    name: str  # of the first node that reads it
    width: int
    kept: int


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        phase: "train" (masks move) or "fine-tune"; with the number of the round behind it from the second round on.
        step: Steps done in this phase.
        num_steps: Steps of this phase.
        loss: Of the last batch, or the mean over the batches of the last step.
        ratio: Pruned share so far, in the run's metric.
        recovered: Channels that came back so far.
        seconds_left: Of this phase, from the speed so far.
        learning_rate: Of the last step.
        gradient_norm: Of the last step, before clipping.
        accuracy: Of the network as it is, where it was measured after this step.
        groups: While masks move; for those who watch, no part of a run's record.
        run_seconds_left: With all that comes after this phase, if that can be said; no part of the record either.
    """

    phase: str
    step: int
    num_steps: int
    loss: float
    ratio: float
    recovered: int
    seconds_left: float
    learning_rate: float
    gradient_norm: float
    accuracy: float | None = None
    groups: tuple[LiveWidth, ...] = ()
    run_seconds_left: float | None = None

    def recorded(self) -> dict[str, Any]:
        """What belongs into the record of a run."""
        return {name: value for name, value in vars(self).items() if name not in ("groups", "run_seconds_left")}


Listener = Callable[[Progress], None]
"""Hears about every training step."""
