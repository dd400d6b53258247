"""What a loss must offer."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.training.view import LOSS, TrainingView


class Loss(Protocol):
    """A scalar to minimise."""

    name: str

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add nodes that compute the scalar tensor `result` to the view, and inputs for its targets, in place."""

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Values of the inputs that `attach` declared."""
