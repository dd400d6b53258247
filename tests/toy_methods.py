"""Pruning methods that only tests know: one that learns gates of its own, and one that takes two rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_dnscp.masks.gates import melted
from onnx_dnscp.masks.methods import METHODS, MethodSettings
from onnx_dnscp.masks.registry import Registered
from onnx_dnscp.model.units import Mask
from onnx_dnscp.training.method import MasksOnly, Method, StepState
from onnx_dnscp.training.view import ADDED, TrainingView
from onnx_dnscp.training.weights import Weights

GATES = f"{ADDED}gates"


class Gated(MasksOnly):
    """Learns a factor for every unit under an L1 term, and removes the units with the smallest ones.

    Args:
        settings: What it is made from.
        strength: Of the L1 term.
    """

    def __init__(self, settings: MethodSettings, strength: float = 1e-2) -> None:
        self._units, self._budget = settings.units, settings.budget
        self._strength = strength

    def extend(self, view: TrainingView) -> Sequence[str]:
        """Gates that begin at 1, learn five times as fast, and do not decay; their L1 norm."""
        start = np.ones(self._units.num_units, dtype=np.float32)
        gates = view.add_parameter("gates", start, rate=5.0, weight_decay=0.0)
        view.add_gates(gates)
        norm = view.add_node("ReduceSum", [view.add_node("Abs", [gates], f"{gates}/size")], f"{gates}/norm", keepdims=0)
        strength = view.add_constant(f"{gates}/strength", np.array(self._strength, dtype=np.float32))
        return [view.add_node("Mul", [norm, strength], f"{gates}/term")]

    def first_mask(self, weights: Weights) -> Mask:
        """Everything stays at first."""
        return np.ones(self._units.num_units, dtype=bool)

    def after_step(self, state: StepState) -> Mask:
        """Gates move, masks do not."""
        return state.mask

    def finish(self, weights: Weights, mask: Mask) -> Mask:
        """The units with the largest gates stay."""
        return self._budget.final_mask(np.abs(weights[GATES]).astype(np.float64))

    def fold(self, learned: Weights) -> Mapping[str, NDArray[Any]]:
        """Melt the gates into the weights behind them."""
        return melted(self._units, learned, learned[GATES])

    def state(self) -> dict[str, Any]:
        """All is in the gates."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing is to be restored."""


@contextmanager
def registered(name: str, method: Registered) -> Iterator[str]:
    """Know a method by name while the block runs."""
    METHODS.add(name, method)
    try:
        yield name
    finally:
        METHODS.remove(name)


GATED = Registered(Gated, needs_labels=False, rounds=1)


def in_rounds(name: str, rounds: int) -> Registered:
    """A known method in several rounds."""

    def make(settings: MethodSettings) -> Method:
        return METHODS[name].make(settings)

    return Registered(make, METHODS[name].needs_labels, rounds)
