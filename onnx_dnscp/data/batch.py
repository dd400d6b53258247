"""Samples of one training or evaluation step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Attributes:
        inputs: Model input to array, batch first.
        labels: (batch, ...) int64 class numbers, or None.
    """

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
