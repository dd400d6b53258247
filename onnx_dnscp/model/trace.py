"""What is known of a model at one input size: every tensor's shape and every integer tensor's value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Trace:
    """Sizes and integers of a model at one input size, inferred or seen in a run.

    Attributes:
        shapes: Tensor name to its shape, for stored tensors, graph inputs and all node outputs.
        integers: Tensor name to its value, for integer and bool tensors.
        batch: Size of the first axis of the inputs in this run.
    """

    shapes: Mapping[str, tuple[int, ...]]
    integers: Mapping[str, NDArray[Any]]
    batch: int

    def shapes_of(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Shapes of some tensors."""
        return {name: self.shapes[name] for name in names}
