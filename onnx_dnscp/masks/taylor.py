"""First-order Taylor expansion: units whose removal changes the loss least go.

Source: Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance Estimation for Neural Network Pruning", CVPR 2019,
equations 8 and 9. Their gate behind a unit is the mask on its consumers here, so the sum of gradient times weight over
all consumers is the derivative of the loss by the unit's mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnx_dnscp.errors import RequestError
from onnx_dnscp.masks.registry import MethodSettings, method, ranked
from onnx_dnscp.model.units import Units
from onnx_dnscp.training.method import Method, Need, StepState
from onnx_dnscp.training.weights import Vector, Weights

MOMENTUM = 0.99  # of the running mean over steps: about the last hundred count


class Taylor:
    """Running mean over training steps of the squared derivative of the loss by each unit's mask."""

    needs: frozenset[Need] = frozenset({"derivatives"})

    def __init__(self, units: Units) -> None:
        self._mean = np.zeros(units.num_units)
        self._steps = 0

    def observe(self, state: StepState) -> None:
        """Add one step's squares."""
        assert state.derivatives is not None, "the criterion needs them"
        self._steps += 1
        share = max(1 - MOMENTUM, 1 / self._steps)  # a plain mean until there are enough steps
        self._mean += share * (state.derivatives**2 - self._mean)

    def scores(self, weights: Weights) -> Vector:
        """The running mean.

        Raises:
            RequestError: No step with a gradient has been seen.
        """
        if not self._mean.any():
            raise RequestError(
                "--method taylor ranks channels by training gradients, and there are none: it needs training (no "
                "--no-train) with labelled --data, as self-distillation starts with a gradient of zero. Choose another "
                "--method."
            )
        return self._mean.copy()

    def state(self) -> dict[str, Any]:
        """The running mean, and the steps it is of."""
        return {"steps": self._steps, "mean": self._mean}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._steps, self._mean = state["steps"], state["mean"]


@method("taylor", needs_labels=True)
def taylor(settings: MethodSettings) -> Method:
    """Units whose removal would change the loss least, to first order, go."""
    return ranked(settings, Taylor(settings.units))
