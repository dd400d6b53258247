"""What a training engine must offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from onnx_dnscp.training.abilities import Abilities
from onnx_dnscp.training.optimizers import OptimizerSettings
from onnx_dnscp.training.ranks import Ranks
from onnx_dnscp.training.view import TrainingView
from onnx_dnscp.training.weights import Parameters, SlicedAxis, Vector

Feeds = Mapping[str, NDArray[Any]]
"""Model inputs, the loss's targets and, if the view is masked, the mask vector."""


@dataclass(frozen=True)
class StepResult:
    """One training step.

    Attributes:
        loss: The mean over the step's batches.
        gradient_norm: Of all gradients together, before clipping.
        derivatives: Of every axis that was asked about, the sum of W * dL/dW over each of its slices, W as it was
            before the step.
    """

    loss: float
    gradient_norm: float
    derivatives: tuple[Vector, ...] = ()


class Engine(Protocol):
    """Trains one view: forward, backward, the mean over all processes, and the update, where its weights are.

    Attributes:
        parameters: Learned tensors and running statistics by stored name, float32.
        trainable: The names among them that get gradients.
    """

    parameters: Parameters
    trainable: tuple[str, ...]

    @property
    def optimizer_state(self) -> Mapping[str, NDArray[Any]]:
        """Everything that an update depends on besides weights and gradients, by name."""

    def restore(self, weights: Mapping[str, NDArray[Any]], optimizer_state: Mapping[str, NDArray[Any]]) -> None:
        """Go on bit by bit as the engine would have that had these."""

    def gradients(self, feeds: Feeds) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss and each trainable tensor's gradient for one batch; running statistics in `parameters` move on.

        For a weight behind a mask the gradient is that of the *masked* weight (straight-through), so that silenced
        channels go on learning.
        """

    def step(self, batches: Iterable[Feeds], rate: float, derivatives: Sequence[SlicedAxis] = ()) -> StepResult:
        """Move the weights along the mean gradient of some batches.

        They stay where loss or gradients are not finite.

        Args:
            batches: Of equal size.
            rate: The learning rate.
            derivatives: Axes of trainable tensors to give sums of.
        """


class EngineFactory(Protocol):
    """Makes an engine for a view."""

    def __call__(
        self, view: TrainingView, *, optimizer: OptimizerSettings, threads: int, shards: int, ranks: Ranks
    ) -> Engine:
        """An engine that runs `shards` parts of a batch at a time, each on `threads` threads (0: its choice)."""


class EngineKind(NamedTuple):
    """A kind of engine.

    Attributes:
        make: Makes one.
        abilities: What it can differentiate; views are arranged for that.
    """

    make: EngineFactory
    abilities: Abilities
