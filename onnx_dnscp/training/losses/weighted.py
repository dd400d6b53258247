"""Several losses at once: labels say what is right, the original says how sure to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.data.batch import Batch
from onnx_dnscp.training.losses.base import Loss
from onnx_dnscp.training.view import LOSS, TrainingView


class WeightedSum:
    """The sum of some losses, each times its weight.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2: a weighted average
    of the two objectives works better than either.

    Args:
        parts: (weight, loss) pairs.
    """

    def __init__(self, parts: Sequence[tuple[float, Loss]]) -> None:
        self.name = " + ".join(loss.name for _, loss in parts)
        self._parts = parts

    def attach(self, view: TrainingView, result: str = LOSS) -> None:
        """Add every loss, and their sum."""
        terms = []
        for number, (weight, loss) in enumerate(self._parts):
            own = f"{result}/part/{number}"
            loss.attach(view, own)
            factor = view.add_constant(f"{own}/weight", np.array(weight, dtype=np.float32))
            terms.append(view.add_node("Mul", [own, factor], f"{own}/weighted"))
        view.add_sum(terms, result)

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """What all of them need."""
        return {name: value for _, loss in self._parts for name, value in loss.feeds(batch).items()}
