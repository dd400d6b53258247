"""Samples of one training or evaluation step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Attributes:
        inputs: Model input to array, batch first.
        labels: (batch, ...) int64 class numbers, or None.
        targets: Model output to what it should be, batch first, float32; empty where the data has none.
        indices: (batch,) int64 positions of the samples in their dataset; None where they come from none.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    indices: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """Number of samples; inputs without axes hold none."""
        return next((len(value) for value in self.inputs.values() if value.ndim), 1)
