"""Random choice: the baseline that a criterion has to beat.

Source: Mittal, Bhardwaj, Khapra, Ravindran, "Recovering from Random Pruning: On the Plasticity of Deep Convolutional
Neural Networks", WACV 2018.
"""

from __future__ import annotations

import numpy as np

from onnx_dnscp.masks.registry import MethodSettings, method, ranked
from onnx_dnscp.training.method import Method, Need, StepState
from onnx_dnscp.training.weights import Vector, Weights


class RandomChoice:
    """Importance drawn once per unit."""

    needs: frozenset[Need] = frozenset()

    def __init__(self, num_units: int, rng: np.random.Generator) -> None:
        self._scores: Vector = rng.random(num_units)

    def observe(self, state: StepState) -> None:
        """Nothing is learned."""

    def scores(self, weights: Weights) -> Vector:
        """What was drawn."""
        return self._scores


@method("random")
def random(settings: MethodSettings) -> Method:
    """Units drawn at random go."""
    criterion = RandomChoice(settings.units.num_units, settings.rng)
    return ranked(settings, criterion)
