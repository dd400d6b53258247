"""What a training engine must offer; optimisers and schedules are the same for all engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from onnx_dnscp.training.view import TrainingView


class Engine(Protocol):
    """Computes losses and gradients of one training view.

    Attributes:
        weights: Learned tensors and running statistics by stored name: float32 arrays that the caller may edit in place
            between steps; the next step sees them.
        trainable: The names among them that get gradients.
    """

    weights: dict[str, NDArray[Any]]
    trainable: tuple[str, ...]

    def step(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[float, dict[str, NDArray[Any]]]:
        """Loss and gradients for one batch; running statistics in `weights` move on.

        Args:
            feeds: Model inputs, the loss's targets and, if the view is masked, the mask vector.

        Returns:
            The loss, and each trainable tensor's gradient. For a weight behind a mask it is the gradient with respect
            to the *masked* weight (straight-through), so that silenced channels go on learning.
        """


class EngineFactory(Protocol):
    """Makes an engine for a view."""

    def __call__(self, view: TrainingView, *, threads: int, shards: int) -> Engine:
        """An engine that runs `shards` parts of a batch at a time, each on `threads` threads (0: its choice)."""
