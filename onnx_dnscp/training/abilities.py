"""What a training engine can differentiate, as a training view has to know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Passage:
    """How gradients pass an operator.

    Attributes:
        through: Operands that get one; None is all of them.
        around: Operands that may vary without one: indices and conditions, which move the result in steps.
        results: Outputs that carry one, from the first on; None is all of them.
    """

    through: tuple[int, ...] | None = None
    around: tuple[int, ...] = ()
    results: int | None = None

    def lets_vary(self, position: int) -> bool:
        """Whether an operand may depend on what learns."""
        return self.through is None or position in self.through or position in self.around


@dataclass(frozen=True)
class Abilities:
    """Of one engine.

    Attributes:
        passage: How gradients pass a node of a training view, or None where they cannot.
        decomposed: Whether a node has to be spelled in others, where there is a rule for that.
    """

    passage: Callable[[onnx.NodeProto], Passage | None]
    decomposed: Callable[[onnx.NodeProto], bool]
